"""Cases go the real way, and what comes of them is told as it is: passed, failed, or not applicable with a reason."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from metering import conformance
from metering.conformance import Case, Outcome, Status, runner
from metering.errors import BillingError
from metering.settings import Settings

CASES = Path(__file__).with_name("cases")


def test_cases_worked_by_hand_come_out_as_expected_and_wrong_ones_fail(
    deployed_database_url: str, tmp_path: Path
) -> None:
    """All cases take one way together; what a case is called says nothing of how it must come out."""
    cases = conformance.load(CASES)
    settings = Settings(home=tmp_path, values={"DATABASE_URL": deployed_database_url})
    outcomes = conformance.run(cases, settings)
    assert [outcome.case for outcome in outcomes] == cases
    not_as_meant = [told(outcome) for outcome in outcomes if outcome.status is not meant(outcome.case)]
    assert not_as_meant == []
    failed = {outcome.case.id: outcome for outcome in outcomes if outcome.status is Status.FAILED}
    assert [found.what for found in failed["p37"].differences] == ["tier 1 units"]
    assert failed["p36"].lines and failed["p36"].differences[0].got == 2
    apart = {outcome.case.id: outcome.reason for outcome in outcomes if outcome.status is Status.NOT_APPLICABLE}
    assert apart == {
        "p33": "the product knows no moon_phase",
        "p34": "the product has no model quantum (quantum)",
        "p35": "the case says that it is not portable",
        "a17": "the product has no aggregation median",
        "a74": "quantities have at most 12 decimals here",
        "a80": "the last event of a key counts there, and here the first one stands",
    }
    assert json.loads(json.dumps([outcome.as_json() for outcome in outcomes]))[0]["status"] == "passed"


def meant(case: Case) -> Status:
    """How a case of these files is meant to come out, as its title says it to people."""
    title = case.said["title"]
    if "fails" in title:
        return Status.FAILED
    return Status.NOT_APPLICABLE if title.startswith(("what nobody", "nor ", "no such")) else Status.PASSED


def told(outcome: Outcome) -> str:
    found = [f"{one.what}: {one.expected} expected, {one.got} found" for one in outcome.differences]
    return f"{outcome.case.id} {outcome.case.said['title']}: {outcome.status} {outcome.reason} {found}"


def test_cases_that_make_no_sense_never_pass_and_never_end_the_run(deployed_database_url: str, tmp_path: Path) -> None:
    cases = [Case(kind, said) for kind, said in NONSENSE]
    settings = Settings(home=tmp_path, values={"DATABASE_URL": deployed_database_url})
    for outcome in conformance.run(cases, settings):
        assert outcome.status is not Status.PASSED, outcome.case.said
        assert outcome.reason or outcome.differences, outcome.case.said


NONSENSE: list[tuple[str, dict[str, Any]]] = [
    ("pricing", {}),
    ("pricing", {"model": 7, "usage": [], "expected_total": {}}),
    ("pricing", {"model": "standard", "usage": "1", "expected_total": "1", "other": []}),
    ("pricing", {"model": "graduated", "usage": "1", "expected_total": "1", "tiers_normalized": [3]}),
    ("pricing", {"model": "standard", "usage": "1", "expected_total": "1", "other": {"unit_price": "NaN"}}),
    ("pricing", {"model": "standard", "usage": "1e40", "expected_total": "1", "other": {"unit_price": "1"}}),
    ("pricing", {"model": "standard_filtered", "expected_total": "1", "other": {"filters": ["eu"]}}),
    ("aggregation", {"aggregation": "sum", "period": "May"}),
    ("aggregation", {"aggregation": "sum", "period": None, "events": [{"value": "1"}], "expected": {"value": "1"}}),
    ("aggregation", {"aggregation": "sum", "period": None, "events": [], "expected": {"groups": [{"value": "1"}]}}),
    ("correction", {"model": "unit", "phases": "none"}),
    ("correction", {"model": "unit", "phases": [{}], "other": {}}),
]


def test_the_case_that_breaks_a_run_off_fails_alone() -> None:
    """A run that breaks off runs again in halves; what is left when too many did has failed with the reason."""
    cases = [Case("pricing", {"id": number}) for number in range(100)]

    def run_some(some: Sequence[Case]) -> list[Outcome]:
        if any(case.said["id"] in (17, 42) for case in some):
            raise BillingError("a numeric overflow.", "")
        return [Outcome(case, Status.PASSED) for case in some]

    outcomes = runner.in_halves(cases, run_some, lambda _: None)
    assert [outcome.case for outcome in outcomes] == cases
    failed = {outcome.case.said["id"]: outcome.reason for outcome in outcomes if outcome.status is Status.FAILED}
    assert failed == dict.fromkeys((17, 42), "the run broke off: a numeric overflow.")
    few = runner.in_halves(cases, run_some, lambda _: None, most_runs=4)
    assert len(few) == 100 and {"the run broke off: a numeric overflow.", ""} == {outcome.reason for outcome in few}


def test_one_file_is_enough(tmp_path: Path) -> None:
    assert {case.kind for case in conformance.load(CASES / "correction_cases.json")} == {"correction"}


def test_a_folder_without_cases_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(BillingError, match="There are no cases in"):
        conformance.load(tmp_path)
    (tmp_path / "pricing_cases.json").write_text("{]", encoding="utf-8")
    with pytest.raises(BillingError, match="can't be read"):
        conformance.load(tmp_path)
    with pytest.raises(BillingError, match="There is no"):
        conformance.load(tmp_path / "none")

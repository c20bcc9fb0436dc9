"""Cases go the real way, and what comes of them is told as it is: passed, failed, or not applicable with a reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metering import conformance
from metering.conformance import Case, Outcome, Status
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


def test_a_folder_without_cases_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(BillingError, match="There are no cases in"):
        conformance.load(tmp_path)
    (tmp_path / "pricing_cases.json").write_text("{]", encoding="utf-8")
    with pytest.raises(BillingError, match="can't be read"):
        conformance.load(tmp_path)
    with pytest.raises(BillingError, match="is no folder"):
        conformance.load(tmp_path / "none")

"""Keys follow from the fact alone, and waiting follows the service's wishes."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from email.utils import format_datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import usage_client
from usage_client.events import decode, derive_key, prepare
from usage_client.retry import RetryPolicy, parse_retry_after

AT = datetime(2026, 10, 25, 2, 30, tzinfo=UTC)


def test_the_same_fact_gives_the_same_key_however_it_is_written() -> None:
    keys = {
        prepare("e", Decimal("1.50"), team="acme", time=AT, properties={"a": "1", "b": "2"})[0],
        prepare("e", "1.5", team="acme", time=AT, properties={"b": "2", "a": "1"})[0],
        prepare(
            "e",
            "1.500",
            team="acme",
            time=AT.astimezone(timezone(timedelta(hours=5, minutes=45))),
            properties={"a": "1", "b": "2"},
        )[0],
    }
    assert len(keys) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"quantity": 2},
        {"team": "b"},
        {"unit": "x"},
        {"time": AT + timedelta(microseconds=1)},
        {"subject": "s"},
        {"properties": {"a": 1}},
    ],
)
def test_another_fact_gives_another_key(other: dict[str, object]) -> None:
    base: dict[str, object] = {"quantity": 1, "team": "a", "time": AT}
    assert prepare("e", **base)[0] != prepare("e", **{**base, **other})[0]  # type: ignore[arg-type]


def test_with_a_key_and_no_time_only_the_time_of_observing_changes() -> None:
    """So that a process that is started again and repeats a fact contradicts nothing."""
    first, again = (decode(prepare("report_made", idempotency_key="report-7")[1]) for _ in range(2))
    assert first.pop("observed_at") <= again.pop("observed_at")
    assert first == again == {"event": "report_made", "quantity": "1", "idempotency_key": "report-7"}
    assert "time" in decode(prepare("report_made")[1])


def test_a_key_is_the_same_in_another_process() -> None:
    program = (
        "from datetime import *; from usage_client.events import decode, derive_key, prepare;"
        "print(prepare('e', '1.50', team='acme', time=datetime(2026, 10, 25, 2, 30, tzinfo=UTC))[0])"
    )
    include = str(Path(usage_client.__file__).parents[1])
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": include, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == prepare("e", Decimal("1.5"), team="acme", time=AT)[0]


quantities = st.one_of(
    st.integers(-(10**20), 10**20),
    st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**20), max_value=10**20),
    st.text(max_size=10),
)
plain = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text())


zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), ZoneInfo("Europe/Berlin")])


@settings(max_examples=50, deadline=None)
@given(quantities, st.dictionaries(st.text(), plain, max_size=5), st.datetimes(timezones=zones))
def test_the_line_says_what_was_tracked_and_its_key_is_that_of_what_it_says(
    quantity: Decimal | int | str, properties: dict[str, object], moment: datetime
) -> None:
    try:
        key, line = prepare("e", quantity, team="acme", time=moment, properties=properties)
    except (UnicodeEncodeError, OverflowError):
        return  # half a character, or a moment at the edge of the calendar
    assert b"\n" not in line
    event = decode(line)
    assert event["idempotency_key"] == key == derive_key(event)
    assert event.get("properties", {}) == properties
    assert datetime.fromisoformat(event["time"]) == moment.astimezone(UTC)
    if not isinstance(quantity, str):
        assert Decimal(event["quantity"]) == quantity


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), object(), b"bytes", "\ud800", {1, 2}])
def test_what_would_spoil_a_batch_is_refused_by_itself(wrong: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        prepare("e", properties={"a": wrong})


def test_times_and_exact_numbers_among_the_properties_travel_as_text() -> None:
    _, line = prepare("e", properties={"cpus": Decimal("0.50"), "since": AT, "day": AT.date()})
    assert decode(line)["properties"] == {"cpus": "0.50", "since": "2026-10-25T02:30:00.000000Z", "day": "2026-10-25"}


def test_retry_after_is_read_in_seconds_and_as_a_date() -> None:
    assert parse_retry_after("7") == 7
    assert parse_retry_after(format_datetime(AT + timedelta(seconds=90), usegmt=True), AT) == 90
    assert parse_retry_after(format_datetime(AT - timedelta(seconds=90), usegmt=True), AT) == 0
    assert parse_retry_after("soon") is None
    assert parse_retry_after(None) is None


def test_waits_grow_with_jitter_up_to_the_longest_and_never_undercut_the_service() -> None:
    policy = RetryPolicy(first_wait=0.2, longest_wait=30)
    for attempt in range(1, 50):
        waits = {policy.wait(attempt) for _ in range(20)}
        assert len(waits) > 1
        assert all(0 < wait <= min(30, 0.2 * 2 ** (attempt - 1)) for wait in waits)
        assert policy.wait(attempt, "3") >= 3


def test_the_package_is_the_folder_itself_and_needs_httpx_alone() -> None:
    folder = Path(usage_client.__file__).parent
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["package-dir"] == {"usage_client": "."}
    assert [dependency.split(">")[0] for dependency in project["project"]["dependencies"]] == ["httpx"]
    for module in folder.glob("*.py"):
        assert "metering." not in module.read_text()

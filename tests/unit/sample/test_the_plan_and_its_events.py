"""The sample is the same everywhere, and its events say exactly what was planned."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.sample import bills_of_plan, catalog, make_plan, make_sample
from metering.sample.events import MILLION, Sample, _split, microseconds
from metering.sample.expected import billing_cycles
from metering.sample.plan import SEED
from metering.sample.teams import TEAMS

NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)


@pytest.fixture(scope="module")
def sample() -> Sample:
    return make_sample(NOW)


def test_the_same_moment_gives_the_same_events_on_every_machine(sample: Sample) -> None:
    again = make_sample(NOW)
    assert again.events == sample.events
    # The digest was written down once: another interpreter or machine must come to it too.
    digest = hashlib.sha256(repr(sample.events[:5000]).encode()).hexdigest()
    assert digest == "15a7638bfcd149578baee74b164b6322f30bd769128e6dbf214ee8c9cc5f26d8"


def test_the_sample_is_as_large_as_it_says(sample: Sample) -> None:
    assert 60_000 <= sample.sent <= 75_000
    assert sample.sent == sample.landed + sample.duplicate + sum(sample.quarantined.values())
    assert sample.landed == sample.plan.events
    assert 0.01 <= sample.duplicate / sample.sent <= 0.02
    assert set(sample.quarantined) == {
        "conflict", "unknown_event", "unknown_team", "negative", "not_a_number", "future",
    }  # fmt: skip


def test_what_is_sent_is_what_was_counted_on(sample: Sample) -> None:
    """As a careful receiver counts: the first of a key stands, its like is a duplicate, another a conflict."""
    teams = {team.key for team in TEAMS}
    first: dict[tuple[str, str], object] = {}
    outcome: Counter[str] = Counter()
    for event in sample.events:
        if event.team not in teams:
            outcome["unknown_team"] += 1
        elif event.event == "api_reqest":
            outcome["unknown_event"] += 1
        elif not Decimal(event.quantity).is_finite():
            outcome["not_a_number"] += 1
        elif Decimal(event.quantity) < 0:
            outcome["negative"] += 1
        elif datetime.fromisoformat(event.time) > NOW:
            outcome["future"] += 1
        elif (event.team, event.idempotency_key) not in first:
            first[event.team, event.idempotency_key] = event
            outcome["landed"] += 1
        else:
            outcome["duplicate" if first[event.team, event.idempotency_key] == event else "conflict"] += 1
    assert outcome == {"landed": sample.landed, "duplicate": sample.duplicate, **sample.quarantined}


def test_some_events_are_sent_days_after_newer_ones(sample: Sample) -> None:
    newest, late = "", 0
    for event in sample.events[:-100]:
        if event.time < newest and not event.idempotency_key.startswith("wrong/"):
            behind = datetime.fromisoformat(newest) - datetime.fromisoformat(event.time)
            late += behind.total_seconds() > 86_400
        elif event.time < "2027":
            newest = max(newest, event.time)
    assert late > 1000


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.datetimes(datetime(2025, 1, 1), datetime(2028, 12, 31)).map(
        lambda moment: moment.replace(minute=0, second=0, microsecond=0, tzinfo=UTC)
    ),
    st.integers(0, 99),
)
def test_events_add_up_to_the_plan_and_lie_in_their_time(now: datetime, seed: int) -> None:
    plan = make_plan(now, f"{SEED} {seed}")
    # A tenth of the plan is enough for one example; examples choose other tenths.
    for part in plan.usage[seed % 10 :: 10]:
        events = list(_split(part, SEED))
        assert len(events) == part.events
        scale = 1 if part.product.whole else MILLION
        assert sum((Decimal(event.quantity) for _, event in events), Decimal(0)) * scale == part.total
        start, end = microseconds(part.start), microseconds(part.end)
        assert all(start <= moment < end for moment, _ in events)
        assert len({event.idempotency_key for _, event in events}) == len(events)


def test_events_lie_on_the_very_edges_of_periods(sample: Sample) -> None:
    times: dict[str, set[str]] = defaultdict(set)
    for event in sample.events:
        times[event.team].add(event.time)
    assert "2026-10-01T00:00:00.000000Z" in times["acme"]
    assert "2026-09-30T23:59:59.999999Z" in times["acme"]
    assert "2026-09-30T18:15:00.000000Z" in times["annapurna"]


def test_period_totals_fit_into_what_stripe_adds_up_exactly(sample: Sample) -> None:
    for part in sample.plan.usage:
        assert len(str(part.total)) <= 15


@pytest.mark.parametrize(
    "now",
    [
        datetime(2026, 11, 1, 0, tzinfo=UTC),
        datetime(2027, 1, 31, 23, tzinfo=UTC),
        datetime(2028, 3, 29, 12, tzinfo=UTC),
    ],
)
def test_the_catalog_and_the_plan_agree_on_periods_at_any_turn_of_the_year(now: datetime) -> None:
    plan = make_plan(now)
    assert catalog(now).teams
    bills = {(bill.team, bill.period): bill for bill in bills_of_plan(plan)}
    for part in plan.usage:
        bill = bills[part.team.key, part.period.label]
        assert (bill.period_start, bill.period_end) == (part.period.start, part.period.end)


def test_months_of_other_lengths_have_their_own_hours() -> None:
    """A month in which clocks go back has an hour more; on Lord Howe Island half an hour, the other way."""
    from zoneinfo import ZoneInfo

    def hours(zone: str, starts: str) -> float:
        cycles = billing_cycles({"starts": starts}, ZoneInfo(zone), datetime.fromisoformat(starts + "T12:00:00Z"))
        return (cycles[0][1] - cycles[0][0]).total_seconds() / 3600

    assert hours("Europe/Berlin", "2026-10-01") == 745
    assert hours("America/New_York", "2026-11-01") == 721
    assert hours("Australia/Lord_Howe", "2026-10-01") == 743.5
    assert hours("Asia/Kathmandu", "2026-10-01") == 744

"""The slow oracle of the tests, given the events of the demo one by one, comes to what the demo holds its bills to."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from metering import sample
from metering.sample.events import SampleEvent
from metering.sample.expected import ExpectedBill
from metering.sample.prices import catalog_content

from ...integration.bills import oracle

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
METERS = {"api_request": "api_calls", "storage_sampled": "storage_gb_hours", "compute_used": "compute_hours"}
CENTS = {"USD": 2, "JPY": 0}


def _facts(now: datetime) -> tuple[dict[str, oracle.Facts], dict[str, str]]:
    """What is known of each team, and its currency."""
    content = catalog_content(now)
    teams = {team["team"]: team for team in content["teams"]}
    facts = {}
    for key, team in teams.items():
        facts[key] = oracle.Facts(team["time_zone"])
        plan = next(plan for plan in content["plans"] if plan["plan"] == team["subscription"]["plan"])
        facts[key].plans = [{"plan": plan["plan"], "effective": LONG_AGO, "recorded": LONG_AGO}]
        facts[key].versions = [
            {
                "plan": plan["plan"],
                "price": _of(price["meter"], price["match"]),
                "effective": version["effective_from"],
                "recorded": LONG_AGO,
                "model": version["model"],
                "per_period_hour": version["per_period_hour"],
                "tiers": [
                    (
                        Decimal(tier["up_to"]) if "up_to" in tier else None,
                        Decimal(tier.get("unit_amount", 0)),
                        Decimal(tier.get("flat_amount", 0)),
                    )
                    for tier in version["tiers"]
                ],
            }
            for price in plan["prices"]
            for version in price["versions"]
        ]
    return facts, {key: team["subscription"]["currency"] for key, team in teams.items()}


def _of(meter: str, dimensions: dict[str, str]) -> str:
    return f"{meter} {' '.join(dimensions.values())}"


def _first_of_each(events: list[SampleEvent]) -> list[SampleEvent]:
    """A key counts once: what comes later under it is a duplicate or a conflict. Wrong events never count."""
    first: dict[tuple[str, str], SampleEvent] = {}
    for event in events:
        if not event.idempotency_key.startswith("wrong/"):
            first.setdefault((event.team, event.idempotency_key), event)
    return list(first.values())


@pytest.mark.parametrize("now", [datetime(2026, 11, 22, 20, tzinfo=UTC), datetime(2027, 4, 1, 3, tzinfo=UTC)])
def test_the_oracle_agrees_with_every_bill_of_the_demo(now: datetime) -> None:
    made = sample.make_sample(now)
    facts, currencies = _facts(now)
    for event in _first_of_each(made.events):
        facts[event.team].events.append(
            {
                "price": _of(METERS[event.event], event.properties),
                "at": datetime.fromisoformat(event.time),
                "quantity": Decimal(event.quantity),
                "recorded": LONG_AGO,
                "withdrawn": None,
            }
        )
    bills = sample.bills_of_plan(made.plan, now)
    assert len(bills) > 90

    def total(bill: ExpectedBill) -> Decimal:
        known = facts[bill.team]
        known.periods = [(bill.period, bill.period_start, bill.period_end)]
        return oracle.total(known, bill.period, now, CENTS[currencies[bill.team]])

    assert {(bill.team, bill.period): total(bill) for bill in bills} == {
        (bill.team, bill.period): bill.total for bill in bills
    }
    assert sum(bill.total for bill in bills) > 0

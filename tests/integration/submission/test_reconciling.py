"""Stripe's totals are compared exactly, differences are named, and only the unexplained ones hold a team."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from metering.errors import BillingError
from metering.submission import client, reconciler

from .conftest import NOON, Billing, Emulator


def _foreign(billing: Billing, team: int, value: str, *, identifier: str = "foreign") -> None:
    """Somebody else writes to the account."""
    customer = billing.fetch("SELECT stripe_customer_id AS id FROM billing.stripe_customers WHERE team_id = %s", team)
    client.connect(billing.settings).api.v1.billing.meter_events.create(
        {
            "event_name": "billing_api_calls",
            "identifier": identifier,
            "timestamp": int(NOON.timestamp()) - 3600,
            "payload": {"stripe_customer_id": customer[0]["id"], "value": value},
        }
    )


def _on_hold(billing: Billing) -> list[int]:
    found = billing.fetch("SELECT team_id FROM billing.holds WHERE released_at IS NULL ORDER BY team_id")
    return [row["team_id"] for row in found]


def test_unexplained_drift_holds_its_team_until_it_is_gone(billing: Billing) -> None:
    billing.teams(3)
    billing.use_everywhere(3)
    billing.all()
    _foreign(billing, 2, "0.5")
    with pytest.raises(BillingError, match="t2, api_calls"):
        billing.reconcile()
    assert _on_hold(billing) == [2]
    billing.use_everywhere(3, plus="1")
    assert billing.plan()["planned"] == 12
    billing.submit()
    with pytest.raises(BillingError):
        billing.reconcile()
    _foreign(billing, 2, "-0.5", identifier="foreign, taken back")
    assert billing.reconcile()["equal"] == 4
    assert _on_hold(billing) == []
    billing.all()
    assert billing.at_stripe() == billing.targets()
    verdicts = billing.fetch("SELECT DISTINCT verdict FROM billing.stripe_observations")
    assert {row["verdict"] for row in verdicts} == {"equal", "unexplained", "held"}


def test_a_lagging_summary_settles_and_then_confirms(billing: Billing, emulator: Emulator) -> None:
    billing.teams(2)
    billing.use_everywhere(2)
    emulator.post("settings", {"summary_lag_seconds": 600})
    billing.all()
    assert billing.states() == {"accepted": 8}
    assert billing.reconcile()["settling"] == 4
    emulator.set_clock(NOON + timedelta(minutes=11))
    assert billing.resolve()["periods"]["equal"] == 4
    assert billing.states() == {"confirmed": 8}


def test_accepted_usage_that_never_shows_is_unexplained(billing: Billing, emulator: Emulator) -> None:
    billing.teams(1)
    billing.use(1, "5")
    billing.prepare()
    billing.plan()
    assert billing.submit()["accepted"] == 1
    # Somebody takes it out of Stripe, who reports nothing.
    sent = billing.fetch("SELECT identifier FROM billing.stripe_submissions")[0]["identifier"]
    client.connect(billing.settings).api.v1.billing.meter_event_adjustments.create(
        {"event_name": "billing_api_calls", "type": "cancel", "cancel": {"identifier": sent}}
    )
    assert billing.reconcile()["settling"] == 1
    emulator.set_clock(NOON + timedelta(hours=2))
    with pytest.raises(BillingError, match="t1"):
        billing.reconcile()


def test_what_surfaces_after_it_was_given_up_counts_again_and_is_corrected(
    billing: Billing, emulator: Emulator
) -> None:
    billing.teams(1)
    billing.use(1, "5")
    billing.all()
    billing.connection.execute("UPDATE billing.stripe_submissions SET state = 'missing'")
    billing.plan()
    billing.submit()
    assert billing.reconcile()["surfaced"] == 1
    billing.all()
    assert billing.at_stripe() == billing.targets()
    assert billing.reconcile() == {"periods": 1, "unread": 0, "equal": 1}
    assert emulator.events == 3


def test_what_waits_is_unsent_and_what_is_held_is_held(billing: Billing, emulator: Emulator) -> None:
    billing.teams(2)
    billing.use(1, "5", day=1)
    billing.use(1, "6")
    billing.use(2, "5", day=1)
    billing.use(2, "1234567890.1234567")
    emulator.set_clock(NOON - timedelta(hours=12))
    billing.all()
    assert billing.reconcile() == {"periods": 2, "unread": 0, "unsent": 1, "held": 1}


def test_one_period_that_cannot_be_read_keeps_no_other_from_being_read(billing: Billing) -> None:
    billing.teams(2)
    billing.use(1, "5")
    billing.use(2, "6")
    billing.prepare()
    billing.plan()
    billing.submit()
    billing.connection.execute("UPDATE billing.stripe_customers SET stripe_customer_id = 'cus_gone' WHERE team_id = 1")
    with pytest.raises(BillingError, match="t1"):
        billing.reconcile()
    assert billing.states() == {"accepted": 1, "confirmed": 1}


@pytest.mark.parametrize(
    ("wanted", "parts", "positions"),
    [("3", ["1", "2", "4"], (0, 1)), ("-2", ["1", "-2"], (1,)), ("8", ["1", "2"], None), ("1", [], None)],
)
def test_a_difference_is_explained_by_parts_that_make_it_up_exactly(
    wanted: str, parts: list[str], positions: tuple[int, ...] | None
) -> None:
    assert reconciler.subset_of_sum(Decimal(wanted), [Decimal(part) for part in parts]) == positions


def test_many_parts_are_only_bounded() -> None:
    parts = [Decimal(1)] * 20 + [Decimal(-5)]
    assert reconciler.can_sum_to(Decimal(20), parts)
    assert not reconciler.can_sum_to(Decimal(21), parts)
    assert not reconciler.can_sum_to(Decimal(-6), parts)

"""The gate on what is about to be billed, on a real PostgreSQL and by the real Great Expectations."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from metering.quality import GateError, gate_bills

# Great Expectations imports what Python will drop one day; that is its own affair.
pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning")

SEPTEMBER = datetime(2026, 9, 1, tzinfo=UTC)
AUGUST = datetime(2026, 8, 1, tzinfo=UTC)


def held(connection):
    rows = connection.execute(
        "SELECT team_key, hold_key FROM billing.holds JOIN billing.teams USING (team_id) WHERE released_at IS NULL"
    )
    return {(row["team_key"], row["hold_key"].removeprefix("bills:")) for row in rows}


def test_bills_that_fit_hold_nobody_and_their_totals_are_told(connection, landing, marts):
    marts.bill(1, "12.34")
    marts.bill(2, "500", currency="JPY")
    outcome = gate_bills(connection, landing.open_run())
    assert outcome["totals"] == {"USD": "12.34", "JPY": "500"}
    assert outcome["bills"] == 2
    assert held(connection) == set()
    assert set(outcome["failed"]) == {"first_bill"}


@pytest.mark.parametrize(
    ("check", "wrong"),
    [
        ("lines_make_total", {"total": Decimal("12.35")}),
        ("tiers_make_usage", {"tiers": Decimal("99.5")}),
        ("tiers_make_amount", {"cost": Decimal("12.3451")}),
        ("finer_than_currency", {"currency": "JPY", "cost": Decimal("12.34")}),
        ("negative_total", {"amount": "-5"}),
    ],
)
def test_a_bill_that_does_not_fit_holds_its_team_until_it_does(connection, landing, marts, check, wrong):
    marts.bill(1, **{"amount": "12.34", **wrong})
    marts.bill(2, "7.00")
    gate_bills(connection, landing.open_run())
    assert held(connection) == {("acme", check)}
    marts.bill(1, "12.34")
    assert gate_bills(connection, landing.open_run())["released"] == 1
    assert held(connection) == set()


def test_usage_without_a_price_holds_its_team_and_usage_outside_all_periods_warns(connection, landing, marts):
    marts.bill(1, "1.00")
    marts.bill(2, "1.00")
    connection.execute(
        "INSERT INTO intermediate.int_usage_unpriced VALUES (1, 1, '2026-07-01Z', 3, 'no price for these dimensions'),"
        " (2, 1, NULL, 4, 'no billing period')"
    )
    outcome = gate_bills(connection, landing.open_run())
    assert held(connection) == {("acme", "unpriced_usage")}
    assert outcome["failed"]["usage_without_period"] == ["zen: calls (4)."]


def test_what_moved_since_the_last_gate_and_since_the_last_period_warns(connection, landing, marts):
    marts.bill(1, "100.00", status="finalized")
    marts.bill(1, "100.00", start=AUGUST, end=SEPTEMBER)
    gate_bills(connection, landing.open_run())
    marts.bill(1, "102.00", start=AUGUST, end=SEPTEMBER)
    assert gate_bills(connection, landing.open_run())["failed"] == {}
    marts.bill(1, "105.00", start=AUGUST, end=SEPTEMBER, quantity=Decimal(151), tiers=Decimal(151))
    run = landing.open_run()
    failed = gate_bills(connection, run)["failed"]
    assert failed == {
        "amount_moved": ["acme: 2026-08 was 102 (105)."],
        "usage_moved": ["acme: 2026-08 calls was 100 (151)."],
    }
    # The same run again compares with the gate before it, and so finds the same.
    assert gate_bills(connection, run)["failed"] == failed
    assert held(connection) == set()


def test_a_check_that_can_not_be_made_is_an_error_and_no_hold(connection, landing, marts):
    marts.bill(1, "1.00")
    connection.execute("DROP TABLE marts.fct_rated_usage")
    with pytest.raises(GateError, match="could not make the check tiers_make"):
        gate_bills(connection, landing.open_run())
    assert held(connection) == set()

"""Usage that was sent by mistake is taken back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from metering import closing, withdrawals
from metering.errors import BillingError
from metering.withdrawals import Choice


def test_withdrawn_usage_leaves_open_bills_and_adjusts_final_ones(house):
    calls = house.meter("calls", "call")
    plan = house.plan("standard")
    house.version(house.price("standard/calls", plan, calls), "2020-01-01Z", "per_unit", [("0", None, "0.01", "0")])
    house.team("acme", plan, "2026-09-01")
    house.event("acme", "old", "call", "2026-09-10T00:00:00Z", "1000")
    house.event("acme", "mistake", "call", "2026-09-11T00:00:00Z", "500")
    house.event("acme", "day-1", "call", "2026-11-03T00:00:00Z", "70")
    house.event("acme", "day-2", "call", "2026-11-04T00:00:00Z", "7")
    house.aggregate()
    closing.close_periods(house.connection, timedelta(hours=6))

    by_key = Choice("acme", keys=["mistake"])
    assert [
        (row["month"], row["events"], row["quantity"]) for row in withdrawals.preview(house.connection, by_key)
    ] == [("2026-09", 1, 500)]
    assert withdrawals.withdraw(house.connection, by_key, "sent twice by the old sender") == 1
    assert withdrawals.withdraw(house.connection, by_key, "again") == 0
    assert [row["already"] for row in withdrawals.preview(house.connection, by_key)] == [1]
    day = Choice(
        "acme",
        event="call",
        occurred_from=datetime(2026, 11, 3, tzinfo=UTC),
        occurred_until=datetime(2026, 11, 4, tzinfo=UTC),
    )
    assert withdrawals.withdraw(house.connection, day, "load test") == 1
    house.aggregate()

    bills = house.bills()
    assert bills["acme", "2026-09"] == 15
    # What was billed too much in September comes off a later bill: in all, only what counts is billed.
    assert sum(bills.values()) == Decimal("10.07")


def test_a_withdrawal_of_what_is_not_known_changes_nothing(house):
    house.team("acme", house.plan("standard"), "2026-09-01")
    for choice, reason, said in (
        (Choice("nobody", keys=["a"]), "why", "There is no team 'nobody'"),
        (Choice("acme", keys=["never"]), "why", "1 of 1 keys never counted for acme: never"),
        (Choice("acme"), "why", "Nothing says which events"),
        (Choice("acme", event="call"), " ", "needs a reason"),
    ):
        with pytest.raises(BillingError, match=said):
            withdrawals.withdraw(house.connection, choice, reason)
    assert house.value("select count(*) from landing.event_withdrawals") == 0

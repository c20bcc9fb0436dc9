"""The marts that finance lives in, and bills under other prices, beside figures worked out by hand."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from metering import closing, credits
from metering.cli.app import app

from ..metering.conftest import House


def month(back: int) -> date:
    """The first day of a month so many before this one."""
    day = datetime.now(UTC).date().replace(day=1)
    for _ in range(back):
        day = (day - timedelta(days=1)).replace(day=1)
    return day


def test_marts_of_finance_say_what_was_earned_and_why_it_changed(
    house: House, monkeypatch: pytest.MonkeyPatch, deployed_database_url: str, tmp_path: Path
) -> None:
    first, second, now = month(2), month(1), month(0)
    calls = house.meter("calls", "call")
    plan = house.plan("standard")
    price = house.price("standard/calls", plan, calls)
    house.version(price, "2020-01-01Z", "per_unit", [("0", None, "0.10", "0")])
    house.version(price, f"{second}T00:00Z", "per_unit", [("0", None, "0.25", "0")])
    house.team("acme", plan, first.isoformat())
    house.team("newcomer", plan, second.isoformat())
    for team, day, quantity in (
        ("acme", first, "100"), ("acme", first + timedelta(days=3), "20"), ("acme", second, "200"),
        ("newcomer", second + timedelta(days=5), "10"),
    ):  # fmt: skip
        house.event(team, f"{team}-{day}", "call", f"{day}T12:00Z", quantity)
    credits.grant(
        house.connection,
        credits.Grant("newcomer", "welcome", "USD", Decimal(1), "a gift", datetime(2020, 1, 1, tzinfo=UTC), None),
        "test",
    )
    house.aggregate(finance=True)

    # 120 at 0.10, then 200 at 0.25: of 38 more, 30 is that each unit costs 0.15 more, 8 that there are 80 more at 0.10.
    changes = {
        (row["team_key"], row["month"], row["cause"]): row["amount"]
        for row in house.query("select * from marts.fct_revenue_change")
    }
    assert changes["acme", first, "new team"] == Decimal("12.00")
    assert (changes["acme", second, "price"], changes["acme", second, "usage"]) == (Decimal("30.00"), Decimal("8.00"))
    assert changes["newcomer", second, "new team"] == Decimal("1.50")  # 2.50, and the credit of 1
    assert changes["acme", now, "usage"] == Decimal("-50.00")

    earned = {
        row["day"]: (str(row["earned_amount"]), row["not_yet_billed_amount"])
        for row in house.query(
            "select * from marts.fct_revenue_earned_daily where team_key = 'acme' and period_start = %s"
            " and earned_amount <> 0", datetime(first.year, first.month, 1, tzinfo=UTC),
        )
    }  # fmt: skip
    assert earned == {first: ("10.00", Decimal(10)), first + timedelta(days=3): ("2.00", Decimal(2))}
    (credit,) = house.query("select * from marts.fct_credits")
    assert (credit["drawn_by_open_bills"], credit["deferred_amount"], credit["expired_amount"]) == (1, 0, 0)
    (revenue,) = house.query("select * from marts.fct_revenue_monthly where team_key = 'acme' and month = %s", second)
    assert (revenue["plan_key"], revenue["meter_key"], str(revenue["amount"])) == ("standard", "calls", "50.00")
    assert revenue["lines_not_converted"] == 1 and not revenue["is_final"]

    closing.close_periods(house.connection, timedelta(0))
    house.event("acme", "late", "call", f"{first}T13:00Z", "7")
    house.aggregate(finance=True)
    (adjustment,) = house.query("select * from marts.fct_adjustments")
    assert (adjustment["is_about"], str(adjustment["amount"]), adjustment["quantity"]) == (f"{first:%Y-%m}", "0.70", 7)
    assert adjustment["stands_on"] == f"{now:%Y-%m}" and adjustment["bill_status"] == "active"
    periods = house.query("select * from marts.fct_billing_periods where team_key = 'acme' order by period_start")
    assert [row["status"] for row in periods] == ["finalized", "finalized", "active"]
    assert periods[0]["first_day"] == first and periods[0]["last_day"] == second - timedelta(days=1)
    assert periods[0]["final_digest"] and str(periods[1]["total"]) == "50.00"
    assert house.query("select distinct is_reconciled from marts.fct_reconciliation_by_period") != []

    monkeypatch.setenv("DATABASE_URL", deployed_database_url)
    file = tmp_path / "prices.yaml"
    file.write_text(
        "meters:\n  - {meter: calls, name: calls, event: call, aggregation: sum, unit: unit}\n"
        "plans:\n  - plan: standard\n    name: standard\n    prices:\n      - price: standard/calls\n"
        "        name: standard/calls\n        meter: calls\n        currency: USD\n        versions:\n"
        f"          - {{effective_from: {second}T00:00:00Z, model: per_unit, charge_unit: unit,"
        " tiers: [{unit_amount: '0.50'}]}\n"
    )
    done = CliRunner().invoke(app, ["preview", "--price-file", str(file), "--format", "json"])
    assert done.exit_code == 0, (done.output, done.exception)
    # 200 and 10 units at 0.25 more, as adjustments on the bills that run.
    assert json.loads(done.stdout)["totals"] == {"USD": "52.50"}
    assert house.value("select count(*) from billing.price_versions") == 2
    alone = CliRunner().invoke(app, ["preview", "newcomer", "--format", "json"])
    assert json.loads(alone.stdout)["period"] == f"{now:%Y-%m}"

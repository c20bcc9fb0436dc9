"""The largest values there may be, and larger ones that came by another way: nobody else's metering stops for them."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from metering import closing, quality
from metering.ingestion.events import MOST

# Great Expectations imports what Python will drop one day; that is its own affair.
pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning")

AGGREGATIONS = ("sum", "min", "max", "average", "latest", "bucketed_max", "bucketed_sum", "weighted_sum")
AT = "2026-10-02T10:05:00Z"


def measuring(house, **more):
    """Each aggregation of the same readings at 1 a unit, for two teams."""
    plan = house.plan("all")
    for aggregation in AGGREGATIONS:
        parameters = {"bucket": "hour"} if aggregation.startswith("bucketed") else {}
        meter = house.meter(aggregation, "reading", aggregation, parameters=parameters | more.get("parameters", {}))
        price = house.price(f"all/{aggregation}", plan, meter)
        house.version(price, "2020-01-01Z", "graduated", more.get("tiers", [("0", None, "1", "0")]))
    for team in ("large", "small"):
        house.team(team, plan, "2026-09-01")


def quantities(house, team: str) -> dict[str, Decimal]:
    found = house.query(
        "select meter_key, quantity from marts.fct_bill_lines where team_id = %s and period_label = '2026-10'",
        house.teams[team],
    )
    return {row["meter_key"]: row["quantity"] for row in found}


def test_values_beyond_what_landing_takes_hold_their_team_and_nobody_else(house):
    measuring(house)
    house.event("large", "a", "reading", AT, "9" * 26, n="1e999")
    house.event("large", "b", "reading", AT, "9" * 26, n="-1e999")
    house.event("large", "c", "reading", AT, "5", n="7")
    house.event("small", "a", "reading", AT, "5", n="7")
    run = house.aggregate(finance=True)
    quality.gate_arrivals(house.connection, run)
    assert house.value("select team_id from billing.holds where released_at is null") == house.teams["large"]
    assert quantities(house, "small")["sum"] == 5
    assert {quantities(house, "large")[name] for name in ("sum", "min", "max", "bucketed_max")} == {5}
    # A meter that comes later and reads a property that landing has not looked at.
    for aggregation in AGGREGATIONS:
        house.meter(f"n {aggregation}", "reading", aggregation, value_property="n",
                    parameters={"bucket": "hour"} if aggregation.startswith("bucketed") else {})  # fmt: skip
    quality.gate_arrivals(house.connection, house.aggregate(finance=True))
    held = house.query("select distinct team_id from billing.holds where released_at is null")
    assert held == [{"team_id": house.teams["large"]}]


def test_the_largest_values_that_may_count_are_billed_by_the_highest_prices(house):
    most, amount = MOST, "99999999999999999999999999.999999999999"
    measuring(house, tiers=[("0", str(MOST), amount, amount), (str(MOST), None, amount, amount)])
    for number in range(200):
        house.event("large", str(number), "reading", AT, str(most))
    house.event("small", "a", "reading", AT, "5")
    house.aggregate(finance=True)
    assert quantities(house, "large")["sum"] == most * 200
    assert quantities(house, "small")["sum"] == 5
    wrong = "landed_minus_metered <> 0 or rated_minus_billed <> 0 or rated_minus_billed_amount <> 0"
    assert house.query(f"select from marts.fct_reconciliation where {wrong}") == []
    for view in ("fct_revenue", "fct_usage_minutely", "fct_revenue_earned_daily", "fct_reconciliation_by_period"):
        assert house.query(f"select * from marts.{view}")
    assert closing.close_periods(house.connection, timedelta(0))
    house.aggregate(finance=True)

"""Each way of aggregating, from events through quarter-hours to bills and local windows."""

from __future__ import annotations

from decimal import Decimal

from metering.reading.report import report
from metering.reading.teams import Team

AGGREGATIONS = ("count", "sum", "min", "max", "average", "latest", "bucketed_max", "bucketed_sum", "weighted_sum")
ONE_EACH = [("0", None, "1", "0")]


def measuring(house, zone="UTC", **unique):
    """A team on a plan that prices each aggregation of the same readings at 1 a unit; usage is told apart by region."""
    plan = house.plan("all")
    for aggregation in AGGREGATIONS:
        parameters = {"bucket": "hour"} if aggregation.startswith("bucketed") else {}
        meter = house.meter(
            aggregation, "reading", aggregation, dims=("region",), value_property="value", parameters=parameters
        )
        house.version(house.price(f"all/{aggregation}", plan, meter), "2020-01-01Z", "per_unit", ONE_EACH)
    meter = house.meter(
        "unique_count",
        "reading",
        "unique_count",
        dims=("region",),
        value_property="user",
        parameters={"operation_property": "operation"},
    )
    house.version(house.price("all/unique_count", plan, meter), "2020-01-01Z", "per_unit", ONE_EACH)
    house.team("acme", plan, "2026-09-01", zone=zone)


def quantities(house, period: str) -> dict[str, Decimal]:
    """What each meter measured in a period, by its lines."""
    return {
        row["meter_key"]: row["quantity"].normalize() + 0
        for row in house.query(
            "select meter_key, quantity from marts.fct_bill_lines where period_label = %s and kind = 'usage'",
            period,
        )
    }


def windows(house, unit: str, meter: str) -> list[tuple[str, Decimal]]:
    name = {"hour": "hourly", "day": "daily", "month": "monthly"}[unit]
    return [
        (str(row["at"]), row["quantity"].normalize() + 0)
        for row in house.query(
            f"select local_{unit} as at, quantity from marts.fct_usage_{name}"
            " join billing.meters using (meter_id) where meter_key = %s order by 1, 2",
            meter,
        )
    ]


def test_every_aggregation_is_what_its_name_says(house):
    measuring(house)
    readings = [
        # Two regions in one hour, the highest in a later one; out of order, as they may arrive.
        ("2026-10-02T10:50:00Z", "eu", "4", "ann", "add"),
        ("2026-10-02T10:05:00Z", "eu", "6", "bob", "add"),
        ("2026-10-02T10:20:00Z", "us", "2", "ann", "add"),
        ("2026-10-02T23:59:59.999999Z", "us", "9", "cleo", "add"),
        ("2026-10-03T00:00:00Z", "eu", "3", "bob", "remove"),
    ]
    for number, (at, region, value, user, operation) in enumerate(readings):
        house.event("acme", f"r{number}", "reading", at, value=value, region=region, user=user, operation=operation)
    house.aggregate(finance=True)

    found = quantities(house, "2026-10")
    assert found["count"] == 5
    assert found["sum"] == 24
    assert found["bucketed_sum"] == 24
    assert found["min"] == 2
    assert found["max"] == 9
    assert found["average"] == Decimal("4.8")
    assert found["latest"] == 3
    # By hour: 6 (of 6, 4 and 2), 9, 3.
    assert found["bucketed_max"] == 18
    # Ann twice but once, Cleo; Bob was removed.
    assert found["unique_count"] == 2
    # Each change counts for the share of October's seconds that follows it.
    seconds = Decimal(31 * 86400)
    since = [Decimal("2553000"), Decimal("2555700"), Decimal("2554800"), Decimal("2505600.000001"), Decimal("2505600")]
    level = sum(Decimal(value) * left for (_, _, value, _, _), left in zip(readings, since, strict=True)) / seconds
    assert abs(found["weighted_sum"] - level) < Decimal("1e-11")
    # The level stays: November has it from its first second on, without any event.
    assert quantities(house, "2026-11")["weighted_sum"] == 24
    assert quantities(house, "2026-11")["latest"] == 0

    # A report says the same, and never the sum of windows or slices of what doesn't add up.
    (period,) = report(house.connection, Team(house.teams["acme"], "acme"), period="2026-10", history=0).periods
    said = {usage.meter: usage for usage in period.usage}
    assert {meter: usage.quantity for meter, usage in said.items()} == found
    assert {usage.events for usage in said.values()} == {5}
    days = {meter: [(day.day.day, day.quantity) for day in usage.days] for meter, usage in said.items()}
    assert days["max"] == [(2, 9), (3, 3)]
    assert days["unique_count"] == [(2, 3), (3, 0)]
    assert days["bucketed_max"] == [(2, 15), (3, 3)]
    assert days["average"] == [(2, Decimal("5.25")), (3, 3)]
    assert days["weighted_sum"][-1] == (31, 24)
    slices = {meter: [(one.dimensions["region"], one.quantity) for one in said[meter].slices] for meter in said}
    assert slices["max"] == [("us", 9), ("eu", 6)]
    assert slices["average"] == [("us", Decimal("5.5")), ("eu", Decimal("4.333333333333"))]
    assert slices["latest"] == [("us", 9), ("eu", 3)]
    assert sum(quantity for _, quantity in slices["weighted_sum"]) - found["weighted_sum"] < Decimal("1e-11")

    assert windows(house, "hour", "max") == [
        ("2026-10-02 10:00:00", 2),
        ("2026-10-02 10:00:00", 6),
        ("2026-10-02 23:00:00", 9),
        ("2026-10-03 00:00:00", 3),
    ]
    assert windows(house, "day", "bucketed_max") == [
        ("2026-10-02 00:00:00", 6),
        ("2026-10-02 00:00:00", 11),
        ("2026-10-03 00:00:00", 3),
    ]
    hours = dict(windows(house, "hour", "weighted_sum")[2:])
    assert hours["2026-10-02 11:00:00"] in (2, 10)
    differences = house.query(
        "select * from marts.fct_reconciliation where landed_minus_metered <> 0"
        " or metered_minus_rated <> 0 or rated_minus_billed <> 0 or events_landed <> events_metered"
    )
    assert differences == []


def test_a_late_change_of_level_moves_every_window_and_period_after_it(house):
    measuring(house, zone="Asia/Kathmandu")
    house.event("acme", "up", "reading", "2026-09-30T18:15:00Z", value="10", user="ann")
    house.aggregate()
    before = windows(house, "day", "weighted_sum")
    assert before[:2] == [("2026-10-01 00:00:00", 10), ("2026-10-02 00:00:00", 10)]
    assert {value for _, value in before[:-1]} == {10}
    assert quantities(house, "2026-11")["weighted_sum"] == 10

    house.event("acme", "down", "reading", "2026-10-02T06:15:00Z", value="-4", user="ann")
    house.aggregate()
    after = windows(house, "day", "weighted_sum")
    assert after[:3] == [("2026-10-01 00:00:00", 10), ("2026-10-02 00:00:00", 8), ("2026-10-03 00:00:00", 6)]
    assert len(after) >= len(before) and {value for _, value in after[2:]} == {6}
    assert quantities(house, "2026-11")["weighted_sum"] == 6

    # Withdrawn, and all is as it was; a run over everything changes nothing more.
    house.connection.execute(
        "insert into landing.event_withdrawals (team_id, key_digest, occurred_at, recorded_at, reason)"
        " select team_id, key_digest, occurred_at, landing.record_now(), 'by mistake'"
        " from landing.usage_events where event_key = 'down'"
    )
    house.aggregate()
    # The zone's midnight may have passed since.
    assert windows(house, "day", "weighted_sum")[: len(before)] == before
    assert quantities(house, "2026-11")["weighted_sum"] == 10


def test_of_two_events_at_the_same_instant_the_one_recorded_last_is_the_latest(house):
    measuring(house)
    house.event("acme", "b", "reading", "2026-10-02T10:00:00Z", value="5", user="ann", operation="add")
    house.event("acme", "a", "reading", "2026-10-02T10:00:00Z", value="7", user="ann", operation="remove")
    house.aggregate()
    found = quantities(house, "2026-10")
    assert (found["latest"], found["unique_count"]) == (7, 0)

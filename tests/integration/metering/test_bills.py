"""From events to bills, through the real models."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from metering import closing
from metering.errors import BillingError

TIERS = [("0", "10000", "0", "0"), ("10000", "100000", "0.001", "0"), ("100000", None, "0.0008", "0")]


def test_usage_becomes_bills_and_late_usage_an_adjustment(house):
    calls = house.meter("calls", "call", dims=("endpoint",))
    plan = house.plan("standard")
    search = house.price("standard/search", plan, calls, match={"endpoint": "search"})
    house.version(search, "2020-01-01Z", "graduated", TIERS)
    other = house.price("standard/other", plan, calls)
    house.version(other, "2020-01-01Z", "per_unit", [("0", None, "0.01", "0")])
    house.version(other, "2026-09-16Z", "per_unit", [("0", None, "0.02", "0")])
    house.team("acme", plan, "2026-09-01", zone="Asia/Kathmandu")
    house.team("idle", plan, "2026-09-01")

    # Kathmandu is 5:45 ahead: 18:14:59 UTC on 31 August is still August there, 18:15 is September.
    house.event("acme", "before", "call", "2026-08-31T18:14:59Z", "1000000", endpoint="search")
    house.event("acme", "first", "call", "2026-08-31T18:15:00Z", "120000", endpoint="search")
    house.event("acme", "cheap", "call", "2026-09-15T23:59:00Z", "10", endpoint="upload")
    house.event("acme", "dear", "call", "2026-09-16T00:00:00Z", "10", endpoint="upload")
    house.aggregate(finance=True)

    bills = house.bills()
    # 90,000 at 0.001 and 20,000 at 0.0008; 10 at 0.01; 10 at 0.02.
    assert bills["acme", "2026-09"] == Decimal("106.3")
    assert bills["idle", "2026-09"] == 0
    unpriced = house.query("select reason, quantity from intermediate.int_usage_unpriced")
    assert [(row["reason"], row["quantity"]) for row in unpriced] == [("no billing period", Decimal(1000000))]

    closed = closing.close_periods(house.connection, timedelta(hours=6))
    assert closed["finalized"] == house.value(
        "select count(*) from billing.billing_periods where period_end + interval '6 hours' <= now()"
    )
    assert closing.close_periods(house.connection)["finalized"] == 0

    # Late: 1,000 more searches and one upload, after the bill is final.
    house.event("acme", "late-1", "call", "2026-09-20T12:00:00Z", "1000", endpoint="search")
    house.event("acme", "late-2", "call", "2026-09-20T12:00:00Z", "1", endpoint="upload")
    house.aggregate(finance=True)
    assert house.bills()["acme", "2026-09"] == Decimal("106.3")
    adjustments = house.query(
        "select period_label, line_key, quantity, amount, about_period_start from marts.fct_bill_lines"
        " where kind = 'adjustment' order by line_key"
    )
    current = house.value(
        "select max(period_label) from billing.billing_periods where team_id = %s", house.teams["acme"]
    )
    assert {row["period_label"] for row in adjustments} == {current}
    assert [(row["quantity"], row["amount"]) for row in adjustments] == [(1, Decimal("0.02")), (1000, Decimal("0.8"))]
    assert all("adjustment 2026-09 standard/" in row["line_key"] for row in adjustments)
    differences = house.query(
        "select * from marts.fct_reconciliation where landed_minus_metered <> 0 or metered_minus_rated <> 0"
        " or rated_minus_billed <> 0 or rated_minus_billed_amount <> 0"
    )
    assert differences == []


def test_any_order_and_any_backfill_give_the_same_tables(house):
    calls = house.meter("calls", "call")
    plan = house.plan("standard")
    house.version(house.price("standard/calls", plan, calls), "2020-01-01Z", "graduated", TIERS)
    house.team("acme", plan, "2026-10-01", zone="America/New_York")
    house.team("yen", plan, "2026-10-01", zone="Asia/Tokyo")
    tables = {
        "intermediate.int_usage_buckets": "team_id, meter_id, bucket_start, dimensions, recorded_from",
        "marts.fct_usage_hourly": "team_id, meter_id, hour_start, dimensions",
        "marts.fct_usage_daily": "team_id, meter_id, day_start, dimensions",
        "marts.fct_usage_monthly": "team_id, meter_id, month_start, dimensions",
        "marts.fct_rated_usage": "team_id, period_start, line_key, tier",
        "marts.fct_bill_lines": "team_id, period_start, line_key",
        "marts.fct_stripe_usage": "team_id, meter_id, window_start",
    }

    def snapshot() -> dict[str, list[str]]:
        return {
            table: [row["row"] for row in house.query(f"select t::text as row from {table} t order by {key}")]
            for table, key in tables.items()
        }

    # The hour that New York's clocks repeat on 1 November: 05:30 and 06:30 UTC are both 01:30 there.
    moments = ["2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z", "2026-10-31T12:00:00Z", "2026-11-01T04:00:00Z"]
    for number, moment in enumerate(moments):
        house.event("acme", f"event-{number}", "call", moment, str(10 ** (number + 1)))
    house.event("yen", "event-0", "call", "2026-11-01T05:30:00Z", "7")
    house.aggregate()
    before = snapshot()
    repeated = house.query("select hour_start from marts.fct_usage_hourly where local_hour = '2026-11-01T01:00:00'")
    assert len(repeated) == 2
    assert house.value("select quantity from marts.fct_usage_daily where local_day = '2026-10-31'") == 1000

    house.aggregate()
    assert snapshot() == before
    house.aggregate(datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))
    assert snapshot() == before
    house.aggregate(datetime(2026, 11, 1, 5, 37, tzinfo=UTC), datetime(2026, 11, 1, 6, 31, tzinfo=UTC))
    assert snapshot() == before

    # A withdrawn event leaves a closed version and no trace in the present.
    house.connection.execute(
        "insert into landing.event_withdrawals (team_id, key_digest, occurred_at, recorded_at, reason)"
        " select team_id, key_digest, occurred_at, landing.record_now(), 'sent by mistake'"
        " from landing.usage_events where event_key = 'event-2'"
    )
    house.aggregate()
    assert house.query("select * from marts.fct_usage_daily where local_day = '2026-10-31'") == []
    closed = house.query(
        "select quantity, recorded_from from intermediate.int_usage_buckets where recorded_to <> 'infinity'"
    )
    assert [row["quantity"] for row in closed] == [1000]

    # And the month as it stood before can still be asked for, through the same models.
    with house.connection.transaction():
        house.connection.execute(
            "select set_config('billing.as_of', %s, true)", (closed[0]["recorded_from"].isoformat(),)
        )
        total = house.value(
            "select sum(quantity) from intermediate.int_segments_rated where team_id = %s and period_label = '2026-10'",
            house.teams["acme"],
        )
    assert total == 1000


def test_a_run_that_failed_half_way_loses_nothing(house):
    from metering import runs

    calls = house.meter("calls", "call", aggregation="count")
    plan = house.plan("standard")
    house.version(house.price("standard/calls", plan, calls), "2020-01-01Z", "per_unit", [("0", None, "1", "0")])
    house.team("acme", plan, "2026-11-01")
    house.event("acme", "one", "call", "2026-11-02T00:00:00Z")
    runs.open_run(house.connection, "a run that is killed")
    with pytest.raises(BillingError, match="is not closed"):
        closing.close_periods(house.connection)
    house.event("acme", "two", "call", "2026-11-03T00:00:00Z")
    house.aggregate()
    assert house.bills()["acme", "2026-11"] == 2


def test_storage_is_charged_by_the_hours_of_the_month_and_amounts_are_rounded_once(house):
    storage = house.meter("storage", "storage_sample")
    plan = house.plan("storage")
    price = house.price("storage/gb-month", plan, storage)
    house.version(price, "2020-01-01Z", "per_unit", [("0", None, "0.10", "0")], per_period_hour=True)
    yen = house.price("storage/gb-month-jpy", plan, storage, currency="JPY")
    house.version(yen, "2020-01-01Z", "per_unit", [("0", None, "15", "0")], per_period_hour=True)
    house.team("berlin", plan, "2026-10-01", zone="Europe/Berlin")
    house.team("tokyo", plan, "2026-10-01", zone="Asia/Tokyo", currency="JPY")
    # October has 745 hours in Berlin and 744 in Tokyo: 100 GB all month are 100 GB-months in either.
    house.event("berlin", "a", "storage_sample", "2026-10-10T00:00:00Z", "74500")
    house.event("tokyo", "a", "storage_sample", "2026-10-10T00:00:00Z", "74450.5")
    house.aggregate()
    bills = house.bills()
    assert bills["berlin", "2026-10"] == 10
    # 74450.5 / 744 = 100.067876344086 GB-months at 15 yen = 1501.01…, rounded to 1501 yen.
    assert bills["tokyo", "2026-10"] == 1501


def test_a_failing_model_is_named_with_its_sql(house):
    from metering import transform

    house.connection.execute("alter table marts.fct_usage_hourly rename column quantity to something_else")
    with pytest.raises(BillingError, match=r"fct_usage_hourly.*compiled"):
        transform.build("tag:usage", house.settings)


def test_periods_follow_the_anchor_day_and_the_zone(house):
    plan = house.plan("standard")
    house.team("end", plan, "2026-01-31", zone="Europe/London", anchor=31)
    periods = house.query("select * from billing.periods_of('2026-01-31Z', null, 'Europe/London', 31, '2026-06-01Z')")
    assert [row["period_label"] for row in periods] == [
        "2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31"
    ]  # fmt: skip
    assert all(one["period_end"] == other["period_start"] for one, other in itertools.pairwise(periods))
    # 31 March is summer time in London: midnight there is 23:00 UTC of the day before.
    assert periods[2]["period_start"] == datetime(2026, 3, 30, 23, tzinfo=UTC)

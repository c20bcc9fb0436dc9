"""Hours, days, months and billing periods of every zone's clock: one after another, without a gap, none twice."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest

from metering.catalog.model import Subscription, Team

# Set at midnight (forward, back to the day before, back to midnight again), by half an hour, by two hours.
ODD = (
    "Africa/Cairo", "America/Santiago", "Asia/Beirut", "America/Asuncion", "America/Havana", "Atlantic/Azores",
    "America/Nuuk", "Australia/Lord_Howe", "Antarctica/Troll", "Europe/Berlin", "Asia/Kathmandu", "Pacific/Chatham",
)  # fmt: skip
# The quarter-hours around each change of a clock in five years. A window is all that shows the same on the
# clock without a break: its first quarter is where it begins, and the quarter after its last where it ends.
QUARTERS = """
    create temporary table quarters as
    with days as (
        select zones.name as zone, day,
            array_agg(moment at time zone zones.name - moment at time zone 'UTC' order by moment) as ahead
        from (select name from pg_timezone_names where name ~ '^[A-Z][a-z]+/' and name not like 'Etc/%') as zones
        cross join generate_series('2023-01-01Z'::timestamptz, '2028-01-01Z', interval '1 day') as day
        cross join lateral generate_series(day, day + interval '1 day', interval '6 hours') as moment
        where day at time zone zones.name - day at time zone 'UTC'
            <> (day + interval '1 day') at time zone zones.name - (day + interval '1 day') at time zone 'UTC'
        group by zones.name, day
    )
    select zone, day as change, quarter, quarter at time zone zone as shown,
        quarter at time zone zone - quarter at time zone 'UTC' as ahead
    -- Of zones whose clocks are set alike, one.
    from (select distinct on (day, ahead) zone, day from days order by day, ahead, zone) as changes
    cross join lateral generate_series(
        day - interval '26 hours', day + interval '50 hours', interval '15 minutes') as quarter
"""
SHOWN = {"hour": "date_trunc('hour', shown), ahead", "day": "date_trunc('day', shown)"}


def test_windows_of_every_clock_begin_and_end_where_it_shows_them(connection: psycopg.Connection[Any]) -> None:
    connection.execute(QUARTERS)
    for unit, shown in SHOWN.items():
        wrong = connection.execute(
            f"""
            with windows as (
                select zone, change, min(quarter) as starts, max(quarter) + interval '15 minutes' as ends,
                    array_agg(distinct billing.local_start('{unit}', quarter, zone)) as found,
                    row_number() over (partition by zone, change order by min(quarter)) as place,
                    row_number() over (partition by zone, change order by min(quarter) desc) as place_from_last
                from quarters
                group by zone, change, {shown}
            )
            select *, billing.local_end('{unit}', starts, zone) as found_end from windows
            where place > 1 and place_from_last > 1
                and (found <> array[starts] or billing.local_end('{unit}', starts, zone) <> ends)
            limit 5
            """
        ).fetchall()
        assert wrong == []
    (known,) = connection.execute("select count(*) as quarters, count(distinct zone) as zones from quarters").fetchall()
    assert known["quarters"] > 50_000 and known["zones"] > 30


@pytest.mark.parametrize("cycle", ["null, null", "5, date '2026-01-03'"])
def test_billing_periods_of_every_clock_follow_one_another_from_midnight_on(
    connection: psycopg.Connection[Any], cycle: str
) -> None:
    """Each begins with the first instant of its day, and a catalog file means the same by a date."""
    periods = connection.execute(
        f"""
        select zone, anchor, period_start, period_end,
            lag(period_end) over (partition by zone, anchor order by period_start) as end_before,
            period_start at time zone zone as shown,
            (period_start - interval '15 minutes') at time zone zone as shown_before
        from unnest(%s::text[]) as zone
        cross join unnest(array[1, 15, 26, 31]) as anchor
        cross join lateral billing.periods_of(
            billing.local_instant('2017-02-03', zone), null, zone, anchor, {cycle}, '2029-01-01Z')
        """,
        (list(ODD),),
    ).fetchall()
    assert len(periods) > 12 * 4 * 140
    for period in periods:
        assert period["end_before"] in (None, period["period_start"])
        assert period["shown_before"].date() < period["shown"].date()
        day = period["shown"].date()
        zone = period["zone"]
        team = Team(team="t", name="t", time_zone=zone)
        said = Subscription(plan="p", currency="USD", starts=day)
        assert team.moment(said.starts, said) == period["period_start"], (zone, day)


def test_days_that_begin_at_one_o_clock_or_twice_are_days(connection: psycopg.Connection[Any]) -> None:
    """Hours of a day by zone: 23 where midnight is left out, 25 where the hour before or after it is repeated."""
    days = {
        ("Africa/Cairo", date(2026, 4, 24)): 23, ("Africa/Cairo", date(2026, 10, 29)): 25,
        ("America/Santiago", date(2026, 9, 6)): 23, ("America/Santiago", date(2026, 4, 4)): 25,
        ("America/Havana", date(2026, 11, 1)): 25, ("America/Havana", date(2026, 3, 8)): 23,
        ("Atlantic/Azores", date(2026, 10, 25)): 25, ("Australia/Lord_Howe", date(2026, 4, 5)): 24.5,
        ("Antarctica/Troll", date(2026, 3, 29)): 22, ("Asia/Beirut", date(2026, 3, 29)): 23,
    }  # fmt: skip
    for (zone, day), hours in days.items():
        noon = datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo(zone))
        found = connection.execute(
            "select extract(epoch from billing.local_end('day', starts, %(zone)s) - starts) / 3600 as hours"
            " from billing.local_start('day', %(noon)s, %(zone)s) as starts",
            {"noon": noon, "zone": zone},
        ).fetchone()
        assert found is not None and found["hours"] == hours, (zone, day)

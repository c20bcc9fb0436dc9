"""Hours, days and months of the clocks of teams: 23 and 25 hours long, 30 and 45 minutes off; and minutes."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from metering import runs, transform

ZONES = {
    "berlin": ("Europe/Berlin", ["2026-03-29", "2026-10-25"]),  # 23 and 25 hours
    "newyork": ("America/New_York", ["2026-11-01"]),
    "kolkata": ("Asia/Kolkata", ["2026-10-25"]),  # 5:30
    "kathmandu": ("Asia/Kathmandu", ["2026-10-25"]),  # 5:45
    "chatham": ("Pacific/Chatham", ["2026-04-05", "2026-09-27"]),  # 12:45 and 13:45
    "lordhowe": ("Australia/Lord_Howe", ["2026-04-05", "2026-10-04"]),  # clocks change by half an hour
    "cairo": ("Africa/Cairo", ["2026-04-24", "2026-10-30"]),  # a day begins at one; one has an hour twice
    "santiago": ("America/Santiago", ["2026-04-05", "2026-09-06"]),  # the same, in the south
    "havana": ("America/Havana", ["2026-11-01"]),  # a month begins with an hour that is repeated
}
# A level that is raised and lowered, by hours since noon of the first of those days.
LEVELS = {"lordhowe": 1, "cairo": 0, "santiago": 1, "havana": 0}
CHANGES = [(-13, "10"), (-11.75, "2.5"), (-10.5, "-4"), (3, "1.125"), (700, "-9.625")]
LAND = Path(__file__).parent.parent / "backfill" / "land.sql"


def land_readings(house: Any) -> list[tuple[str, datetime, int]]:
    """One reading each quarter of an hour, of two numbers in turn, from noon before each day to noon after it."""
    readings = []
    for team, (zone, days) in ZONES.items():
        for day in days:
            noon = datetime.fromisoformat(f"{day}T12:00:00").replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
            moments = [noon + timedelta(minutes=15 * number) for number in range(-24 * 4 - 4, 24 * 4 + 4)]
            readings += [(team, moment, 1 + number % 7) for number, moment in enumerate(moments)]
    house.connection.execute(
        "create table public.to_land (team_id integer, occurred_at timestamptz, quantity numeric,"
        " event_name text default 'reading', properties jsonb default '{}', late boolean default false,"
        " key_digest uuid default gen_random_uuid())"
    )
    with house.connection.cursor().copy("copy public.to_land (team_id, occurred_at, quantity) from stdin") as copying:
        for team, moment, value in readings:
            copying.write_row((house.teams[team], moment, value))
    house.connection.execute(
        "select landing.ensure_months(array(select distinct date_trunc('month', occurred_at) from public.to_land))"
    )
    house.connection.execute(LAND.read_text(encoding="utf-8"), {"late": [False]})
    return readings


def test_windows_are_those_of_the_clocks_of_each_team_and_only_sums_add_up(house: Any) -> None:
    plan = house.plan("none")
    for aggregation in ("sum", "max", "average"):
        house.meter(aggregation, "reading", aggregation)
    house.meter("level", "change", "weighted_sum")
    for team, (zone, _) in ZONES.items():
        house.team(team, plan, "2026-01-01", zone=zone)
    readings = land_readings(house)
    changes = {team: change_levels(house, team, number) for team, number in LEVELS.items()}
    house.aggregate()

    expected: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for team, moment, value in readings:
        local = moment.astimezone(ZoneInfo(ZONES[team][0]))
        expected[team, "day", f"{local:%Y-%m-%d}"].append(value)
        expected[team, "month", f"{local:%Y-%m}-01"].append(value)
        hour = hour_of(moment, ZoneInfo(ZONES[team][0]))
        expected[team, "hour", f"{hour:%Y-%m-%dT%H:%MZ}"].append(value)
    found: dict[tuple[str, str, str], dict[str, Decimal]] = defaultdict(dict)
    for unit, mart in (("hour", "hourly"), ("day", "daily"), ("month", "monthly")):
        for row in house.query(
            f"select team_key, meter_key, {unit}_start as start, local_{unit} as local, quantity, event_count"
            f" from marts.fct_usage_{mart} join billing.teams using (team_id) join billing.meters using (meter_id)"
            f" where meter_key <> 'level' order by {unit}_start"
        ):
            local = row["start"].astimezone(ZoneInfo(ZONES[row["team_key"]][0]))
            assert local.replace(tzinfo=None) == row["local"]
            name = f"{local:%Y-%m-%d}" if unit != "hour" else f"{row['start']:%Y-%m-%dT%H:%MZ}"
            found[row["team_key"], unit, name][row["meter_key"]] = row["quantity"].normalize()
    assert found == {
        key: {
            "sum": Decimal(sum(values)).normalize(),
            "max": Decimal(max(values)),
            "average": round(Decimal(sum(values)) / len(values), 12).normalize(),
        }
        for key, values in expected.items()
    }
    lengths = Counter({key[2]: len(values) for key, values in expected.items() if key[:2] == ("berlin", "day")})
    assert (lengths["2026-03-29"], lengths["2026-10-25"]) == (23 * 4, 25 * 4)
    assert len(expected["lordhowe", "day", "2026-10-04"]) == 94  # 23 and a half hours
    assert len(expected["chatham", "day", "2026-04-05"]) == 100
    assert len(expected["cairo", "day", "2026-04-24"]) == 23 * 4
    assert len(expected["havana", "day", "2026-11-01"]) == 25 * 4
    levels_are_means_over_their_windows(house, changes)

    # Windows that are looked up one by one and windows that are read at once come out the same.
    def rows() -> list[Any]:
        return [
            house.query(f"select * from marts.fct_usage_{mart} order by {unit}_start, team_id, meter_id")
            for unit, mart in (("hour", "hourly"), ("day", "daily"), ("month", "monthly"))
        ]

    before = rows()
    house.connection.execute("update marts.fct_usage_hourly set quantity = -1")
    run = runs.open_run(house.connection, "test", datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))
    transform.build("tag:usage", house.settings, vars="{many_windows: 0, many_buckets: 0}")
    runs.close_run(house.connection, run)
    assert rows() == before


def hour_of(moment: datetime, zone: ZoneInfo) -> datetime:
    """Where the hour begins: one that the clock goes through twice, or leaves half-way, is told apart by its offset."""

    def shown(at: datetime) -> tuple[int, timedelta | None]:
        local = at.astimezone(zone)
        return local.hour, local.utcoffset()

    while shown(moment - timedelta(minutes=15)) == shown(moment):
        moment -= timedelta(minutes=15)
    return moment


def change_levels(house: Any, team: str, number: int) -> list[tuple[datetime, Fraction]]:
    zone, days = ZONES[team]
    noon = datetime.fromisoformat(f"{days[number]}T12:00:00").replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    found = [(noon + timedelta(hours=hours), Fraction(change)) for hours, change in CHANGES]
    for (moment, _), (hours, change) in zip(found, CHANGES, strict=True):
        house.event(team, f"level-{hours}", "change", moment.isoformat(), change)
    return found


def levels_are_means_over_their_windows(house: Any, changes: dict[str, list[tuple[datetime, Fraction]]]) -> None:
    """Windows follow one another, and each is what the level was in its time: so they add up over any other."""
    for unit, mart in (("hour", "hourly"), ("day", "daily"), ("month", "monthly")):
        rows = house.query(
            f"select team_key, {unit}_start as starts, quantity,"
            f" coalesce(lead({unit}_start) over (partition by team_key order by {unit}_start),"
            f" billing.local_end('{unit}', {unit}_start, time_zone)) as ends"
            f" from marts.fct_usage_{mart} join billing.teams using (team_id) join billing.meters using (meter_id)"
            " where meter_key = 'level'"
        )
        assert {row["team_key"] for row in rows} == set(changes)
        for row in rows:
            length = Fraction((row["ends"] - row["starts"]) // timedelta(seconds=1))
            held = sum(
                (change * Fraction(max(row["ends"] - max(moment, row["starts"]), timedelta()) // timedelta(seconds=1))
                 for moment, change in changes[row["team_key"]]),
                Fraction(0),
            )  # fmt: skip
            assert abs(Fraction(row["quantity"]) - held / length) <= Fraction(1, 10**12), (unit, row)


def test_minutes_are_fresh_and_right_for_every_aggregation(house: Any) -> None:
    aggregations = ("count", "sum", "min", "max", "average", "latest", "bucketed_max", "bucketed_sum", "weighted_sum")
    for aggregation in aggregations:
        bucket = {"parameters": {"bucket": "hour"}} if aggregation.startswith("bucketed") else {}
        house.meter(aggregation, "reading", aggregation, value_property="value", **bucket)
    unique = {"operation_property": "operation"}
    house.meter("unique_count", "reading", "unique_count", value_property="user", parameters=unique)
    house.team("acme", house.plan("none"), "2026-01-01", zone="Asia/Kathmandu")
    minute = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=2)
    long_ago = minute - timedelta(days=20)
    house.event("acme", "level", "reading", long_ago.isoformat(), value="100", user="zoe")
    house.aggregate()
    for number, (seconds, value, user, operation) in enumerate(
        [(0, "4", "ann", "add"), (30, "2", "bob", "add"), (45, "9", "bob", "remove"), (60, "3", "ann", "add")]
    ):
        at = minute + timedelta(seconds=seconds)
        house.event("acme", f"r{number}", "reading", at.isoformat(), value=value, user=user, operation=operation)

    # Nothing has been metered since: minutes are read from what has landed.
    ask = (
        "select meter_key, minute_start, local_minute, quantity, event_count from marts.fct_usage_minutely"
        " join billing.meters using (meter_id) where team_id = %s and minute_start >= %s and minute_start < %s"
        " order by minute_start"
    )
    rows = house.query(ask, house.teams["acme"], minute, minute + timedelta(minutes=3))
    found = {
        (row["meter_key"], (row["minute_start"] - minute) // timedelta(minutes=1)): row["quantity"].normalize() + 0
        for row in rows
    }
    first = {
        "count": 3, "sum": 15, "min": 2, "max": 9, "average": 5, "latest": 9, "bucketed_max": 9, "bucketed_sum": 15,
        "unique_count": 1, "weighted_sum": Decimal(100) + 4 + 1 + Decimal("2.25"),
    }  # fmt: skip
    second = {aggregation: 3 for aggregation in aggregations} | {"count": 1, "unique_count": 1, "weighted_sum": 118}
    assert found == {
        **{(name, 0): value for name, value in first.items()},
        **{(name, 1): value for name, value in second.items()},
        ("weighted_sum", 2): 118,
    }
    kathmandu = ZoneInfo("Asia/Kathmandu")
    assert {row["minute_start"].astimezone(kathmandu).replace(tzinfo=None) == row["local_minute"] for row in rows} == {
        True
    }
    # Minutes go back some days, and no further.
    oldest = house.value("select min(minute_start) from marts.fct_usage_minutely")
    assert timedelta(days=3) <= datetime.now(UTC) - oldest < timedelta(days=3, minutes=30)
    # A dashboard asks for one team and an hour: by the index of its events, and not by reading them all.
    plan = house.query("explain " + ask, house.teams["acme"], minute, minute + timedelta(hours=1))
    assert any("usage_events" in line["QUERY PLAN"] and "Index" in line["QUERY PLAN"] for line in plan)

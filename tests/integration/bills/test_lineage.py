"""From a line to its events, and back: they add up to it, whatever the meter does."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from metering import closing, moments
from metering.bills import Line, bill, lineage
from metering.cli.app import app
from metering.database import connect
from metering.errors import BillingError
from metering.settings import Settings

from ...conftest import database_from
from ..metering.conftest import House

TIERS = [("0", "40", "3", "0"), ("40", "90", "2", "0"), ("90", None, "1", "0")]
PERIOD, START = "2026-09", datetime(2026, 8, 31, 18, 15, tzinfo=UTC)  # of a zone at 5:45
METERS = {
    "summed": "sum", "counted": "count", "highest": "max", "lowest": "min", "newest": "latest",
    "people": "unique_count", "mean": "average", "level": "weighted_sum", "peaks": "bucketed_max",
}  # fmt: skip


@pytest.fixture(scope="module")
def url(postgres_server: str, deployed_template_database: str) -> Iterator[str]:
    """The address of a database for the file, which only its fixture and the last test change."""
    with database_from(postgres_server, deployed_template_database) as address:
        yield address


@pytest.fixture(scope="module")
def used(url: str, dbt_home: Path) -> Iterator[House]:
    """One team in Kathmandu, a meter of each kind, with two prices each: for the region north, and for all others."""
    with connect(url) as connection:
        house = House(connection, Settings(home=dbt_home, values={"DATABASE_URL": url}))
        fill(house)
        yield house


def fill(house: House) -> None:
    dice = random.Random(5)
    plan = house.plan("standard")
    for key, aggregation in METERS.items():
        more = {"value_property": "who"} if aggregation == "unique_count" else {}
        if aggregation == "unique_count":
            more["parameters"] = {"operation_property": "operation"}  # type: ignore[assignment]  # House takes anything
        if aggregation == "bucketed_max":
            more["parameters"] = {"bucket": "day"}  # type: ignore[assignment]  # House takes anything
        meter = house.meter(key, key, aggregation, ("region",), **more)
        for name, match in (("north", {"region": "north"}), ("others", {})):
            price = house.price(f"{key}/{name}", plan, meter, match=match)
            house.version(price, "2020-01-01Z", "graduated", TIERS)
            if name == "north":
                house.version(price, "2026-09-12Z", "graduated", TIERS)
    house.team("acme", plan, "2026-08-01", zone="Asia/Kathmandu")
    for number in range(270):
        key = dice.choice(list(METERS))
        at = START + timedelta(minutes=dice.randrange(-600, 31 * 24 * 60))
        said = {"region": dice.choice(["north", "south", "west"])}
        if key == "people":
            said |= {"who": f"user-{dice.randrange(6)}", "operation": dice.choice(["add", "add", "remove"])}
        quantity = str(Decimal(dice.randrange(1, 2000)).scaleb(-2))
        house.event("acme", f"key-{number}", key, at.isoformat(), quantity, **said)
    house.aggregate()


def lines(house: House) -> Iterator[tuple[str, Line]]:
    for line in bill(house.connection, "acme", PERIOD).lines:
        if line.kind == "usage":
            yield f"acme/{PERIOD}/{line.line}", line


def test_the_events_under_every_line_add_up_to_it_and_each_is_under_one(used: House) -> None:
    seen: dict[str, str] = {}
    kinds = set()
    for name, line in lines(used):
        events = [event for page in lineage.explain_all(used.connection, name, limit=7) for event in page.events]
        assert abs(sum((event.counts for event in events), Decimal(0)) - line.quantity) < Decimal("1e-11"), line
        assert not events or abs(events[-1].running - line.quantity) < Decimal("1e-11")
        assert [event.occurred_at for event in events] == sorted(event.occurred_at for event in events)
        if events:
            kinds.add(line.meter)
        for event in events:
            # What a level rests on is under the line of every stretch that it reaches.
            if line.meter != "level":
                assert event.key is not None and seen.setdefault(event.key, name) == name
    assert kinds == {*METERS}
    inside = used.value(
        "select count(*) from landing.usage_events where occurred_at >= %s and occurred_at < '2026-09-30T18:15Z'"
        " and event_name <> 'level'", START,
    )  # fmt: skip
    assert len(seen) == inside


def test_a_tier_has_the_events_that_fill_it(used: House) -> None:
    found = 0
    for name, line in lines(used):
        if line.meter not in ("summed", "counted") or len(line.tiers) < 2:
            continue
        found += 1
        for tier in line.tiers:
            events = lineage.explain(used.connection, name, tier=tier.tier, limit=1000).events
            # The first and the last may reach into the tiers beside it.
            inside = sum((
                min(event.running, tier.over + tier.quantity) - max(event.running - event.counts, tier.over)
                for event in events
            ), Decimal(0))  # fmt: skip
            assert inside == tier.quantity
    assert found


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("acme", "does not name a line"),
        ("acme/2026-09/nothing", "There was no line"),
        ("nobody/2026-09/x", "There is no team"),
        ("acme/1999-01/x", "had no billing period"),
    ],
)
def test_what_is_no_line_is_said_in_a_sentence(used: House, line: str, said: str) -> None:
    with pytest.raises(BillingError, match=said):
        lineage.explain(used.connection, line)


def test_a_place_or_tier_that_is_none_is_said_in_a_sentence(used: House) -> None:
    name, _ = next(found for found in lines(used) if found[1].meter == "highest")
    with pytest.raises(BillingError, match="is no place to go on from"):
        lineage.explain(used.connection, name, after="nonsense")
    with pytest.raises(BillingError, match="The line has no tier 9"):
        lineage.explain(used.connection, name, tier=9)


def test_a_page_is_read_by_key_and_not_past_its_end(used: House) -> None:
    with used.connection.transaction():
        recorded = used.value("select landing.record_now()")
        used.connection.execute(
            "insert into landing.usage_events (team_id, occurred_at, key_digest, event_key, event_name, quantity,"
            " properties, batch_id, recorded_at)"
            " select %s, %s::timestamptz + number * interval '30 seconds', gen_random_uuid(),"
            " 'more-' || number, 'summed', 0, '{}', min(batch_id), %s from landing.batches,"
            " generate_series(1, 60000) as number group by number",
            (used.teams["acme"], START, recorded),
        )
    used.connection.execute("analyze landing.usage_events")
    name, _ = next(found for found in lines(used) if found[1].meter == "summed" and "others" in found[0])
    plans: list[Any] = []

    class Explaining:
        """The connection, which is asked for the plan of the page's statement, too."""

        def __getattr__(self, attribute: str) -> Any:
            return getattr(used.connection, attribute)

        def execute(self, query: Any, values: Any = None, **more: Any) -> Any:
            if query is lineage.SQL["added"]:
                told = used.connection.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + query, values).fetchone()
                plans.append(told["QUERY PLAN"][0]["Plan"])
            return used.connection.execute(query, values, **more)

    connection: Any = Explaining()
    assert len(lineage.explain(connection, name, limit=5).events) == 5

    def scans(plan: Any) -> Iterator[Any]:
        if plan.get("Relation Name", "").startswith("usage_events"):
            yield plan
        for part in plan.get("Plans", []):
            yield from scans(part)

    (plan,) = plans
    read = [scan for scan in scans(plan) if scan["Actual Loops"]]
    assert read and all(scan["Node Type"].startswith("Index") for scan in read)
    assert sum(scan["Actual Rows"] * scan["Actual Loops"] for scan in read) < 100


def test_a_final_line_keeps_its_events_and_its_adjustment_has_those_that_came_or_went(house: House) -> None:
    plan = house.plan("standard")
    for key, aggregation in (("calls", "sum"), ("peak", "max"), ("people", "unique_count"), ("level", "weighted_sum")):
        more = {"value_property": "who"} if aggregation == "unique_count" else {}
        price = house.price(f"standard/{key}", plan, house.meter(key, key, aggregation, **more))
        house.version(price, "2020-01-01Z", "graduated", TIERS)
    house.team("acme", plan, "2026-08-01")
    for number, (key, quantity) in enumerate((("calls", "50"), ("calls", "8"), ("peak", "9"), ("peak", "4"),
                                              ("people", "1"), ("level", "6"))):  # fmt: skip
        house.event("acme", f"early-{number}", key, f"2026-08-10T12:0{number}Z", quantity, who="ann")
    house.aggregate()
    closing.close_periods(house.connection)
    kept = house.value("select max(as_of) from billing.finalized_bills")
    line = "acme/2026-08/standard/calls@2026-08-01T00:00Z"
    for number, (key, quantity) in enumerate((("calls", "7"), ("peak", "8"), ("people", "1"), ("level", "-2"))):
        house.event("acme", f"late-{number}", key, f"2026-08-11T13:0{number}Z", quantity, who="bob")
    house.query(
        "insert into landing.event_withdrawals (team_id, key_digest, occurred_at, recorded_at, reason)"
        " select team_id, key_digest, occurred_at, landing.record_now(), 'test' from landing.usage_events"
        " where event_key in ('early-1', 'early-2') returning 1"
    )
    house.aggregate()
    page = lineage.explain(house.connection, line)
    assert page.as_of == kept and page.line.quantity == 58
    assert [event.key for event in page.events] == ["early-0", "early-1"]
    assert sum((tier.quantity for tier in page.line.tiers), Decimal(0)) == 58
    assert [event.key for event in lineage.explain(house.connection, line, tier=2).events] == ["early-0", "early-1"]

    now = bill(house.connection, "acme")
    told = {}
    for adjustment in now.lines:
        if adjustment.kind == "adjustment" and adjustment.about_period == "2026-08":
            name = f"acme/{now.period}/{adjustment.line}"
            events = [event for part in lineage.explain_all(house.connection, name, limit=1) for event in part.events]
            assert abs(sum((event.counts for event in events), Decimal(0)) - adjustment.quantity) < Decimal("1e-11")
            told[adjustment.meter] = [(event.key, event.counts) for event in events if adjustment.meter != "level"]
            with pytest.raises(BillingError, match="An adjustment has no tiers"):
                lineage.explain(house.connection, name, tier=1)
    assert told == {
        "calls": [("early-1", -8), ("late-0", 7)],
        "peak": [("early-2", -9), ("late-1", 8)],
        "people": [("late-2", 1)],
        "level": [],
    }


def test_the_commands_print_bills_lines_differences_and_ways(
    used: House, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    before = moments.moment(json.loads(run("bill", "acme", PERIOD, "--format", "json"))["as_of"])
    name, line = next(found for found in lines(used) if found[1].meter == "summed")
    assert f"Total: {bill(used.connection, 'acme', PERIOD).total:,} USD" in run("bill", "acme", PERIOD)
    assert line.line in run("bill", "acme", PERIOD, "--format", "csv", "--as-of", before.isoformat())
    assert "counts" in run("explain", name, "--tier", "1", "--limit", "2")
    rows = run("explain", name, "--format", "csv").splitlines()
    key = rows[1].split(",")[2]
    assert json.loads(run("explain", name, "--format", "json"))["line"]["line"] == line.line
    assert f"acme/{PERIOD}/{line.line}" in run("trace", key).replace("\n", "")
    traced = json.loads(run("trace", key, "--json"))["meters"]
    times = [meter["bucket"]["metered_at"] for meter in traced] + [meter["rated"][0]["rated_at"] for meter in traced]
    assert times == sorted(times) and all(times)
    used.event("acme", "late", "summed", "2026-09-20T12:00Z", "1000", region="north")
    told = run("diff", "acme", PERIOD, "--from", before.isoformat())
    assert "usage summed: 1 event came (late)" in told and "difference" in told

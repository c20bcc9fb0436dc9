"""Events listed, exported and followed; periods compared step by step; and nobody sees what is another team's."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import pytest

from metering.submission import planner

from .conftest import World

COUNT = 61


@pytest.fixture(scope="module")
def start(world: World) -> datetime:
    """Where the running period of acme begins; usage lies in its first hour."""
    begin: datetime = world.period("acme")["period_start"]
    events = [
        {
            "team": "acme",
            "event": "call",
            "idempotency_key": f"req/{n}?ü=1",
            # Three at each moment: the order within one is the digest's.
            "time": (begin + timedelta(minutes=n // 3)).isoformat(),
            "quantity": f"{n}.25",
            "subject": f"user-{n % 2}",
            "properties": {"endpoint": "search" if n % 3 else "upload", "ratio": 0.1, "text": 'a "quoted", line\n'},
        }
        for n in range(COUNT)
    ]
    jobs = [
        {"team": "acme", "event": "job", "idempotency_key": f"job-{size}", "time": begin.isoformat(),
         "properties": {"hours": "1.5", "instance": size}}
        for size in ("large", "small")
    ]  # fmt: skip
    theirs = {"team": "globex", "event": "call", "idempotency_key": "theirs", "time": begin.isoformat()}
    assert world.send([*events, *jobs, theirs])["accepted"] == COUNT + 3
    return begin


def all_pages(world: World, limit: int, **params: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = world.get("/api/usage/events", team="acme", limit=limit, **params, **cursor)
        assert len(page["events"]) <= limit
        found += page["events"]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


def test_pages_hold_each_event_once_the_newest_first(world: World, start: datetime) -> None:
    whole = world.get("/api/usage/events", team="acme", limit=1000, **{"from": start.isoformat()})["events"]
    assert len(whole) == COUNT + 2
    assert [event["time"] for event in whole] == sorted((event["time"] for event in whole), reverse=True)
    for limit in (7, COUNT + 2, 1000):
        assert all_pages(world, limit, **{"from": start.isoformat()}) == whole
    event = next(event for event in whole if event["idempotency_key"] == "req/8?ü=1")
    assert {name: event[name] for name in ("event", "quantity", "subject", "properties")} == {
        "event": "call",
        "quantity": "8.25",
        "subject": "user-0",
        "properties": {"endpoint": "search", "ratio": 0.1, "text": 'a "quoted", line\n'},
    }


def test_filters_leave_out_what_they_say(world: World, start: datetime) -> None:
    since = {"from": start.isoformat()}
    whole = all_pages(world, 1000, **since)
    assert all_pages(world, 10, subject="user-1", **since) == [e for e in whole if e.get("subject") == "user-1"]
    assert all_pages(world, 10, event="job", **since) == [e for e in whole if e["event"] == "job"]
    world.house.connection.execute(
        "update billing.meters set filters = '{\"instance\": [\"large\"]}' where meter_key = 'jobs'"
    )
    assert [e["idempotency_key"] for e in all_pages(world, 10, meter="jobs", **since)] == ["job-large"]
    world.house.connection.execute("update billing.meters set filters = '{}' where meter_key = 'jobs'")
    assert all_pages(world, 10, meter="jobs", event="call", **since) == []
    five = {"from": (start + timedelta(minutes=5)).isoformat(), "until": (start + timedelta(minutes=6)).isoformat()}
    assert all_pages(world, 2, **five) == [
        e for e in whole if e["idempotency_key"] in {f"req/{n}?ü=1" for n in (15, 16, 17)}
    ]
    assert [e["quantity"] for e in all_pages(world, 10, key="req/8?ü=1")] == ["8.25"]
    assert all_pages(world, 10, key="req/8?ü=1", **five) == all_pages(world, 10, key="theirs") == []


def test_an_export_holds_all_events_exactly(world: World, start: datetime) -> None:
    params = {"team": "acme", "from": start.isoformat()}
    whole = all_pages(world, 1000, **{"from": start.isoformat()})
    lines = world.ask("/api/usage/events", params={**params, "format": "jsonl"})
    assert lines.headers["content-type"].startswith("application/x-ndjson")
    assert [json.loads(line) for line in lines.text.splitlines()] == whole
    table = world.ask("/api/usage/events", params={**params, "format": "csv"})
    assert table.headers["content-disposition"] == 'attachment; filename="usage-acme.csv"'
    rows = list(csv.DictReader(io.StringIO(table.text, newline="")))
    assert [row["idempotency_key"] for row in rows] == [event["idempotency_key"] for event in whole]
    assert [Decimal(row["quantity"]) for row in rows] == [Decimal(event["quantity"]) for event in whole]
    assert [json.loads(row["properties"]) for row in rows] == [event["properties"] for event in whole]
    nothing = {**params, "event": "none", "format": "csv"}
    assert world.ask("/api/usage/events", params=nothing).text.count("\n") == 1
    head = world.ask("/api/usage/events", method="HEAD", params={**params, "format": "csv"})
    assert head.status_code == 200 and head.content == b""


def test_an_export_of_many_pieces_is_whole(world: World) -> None:
    begin = world.period("globex", 3)["period_start"]
    count = 10_001
    world.send(
        [
            {"team": "globex", "event": "call", "idempotency_key": f"many-{n}", "time": begin.isoformat()}
            for n in range(10_000)
        ]
    )
    world.send([{"team": "globex", "event": "call", "idempotency_key": "many-last", "time": begin.isoformat()}])
    params = {"from": begin.isoformat(), "until": (begin + timedelta(days=1)).isoformat(), "format": "jsonl"}
    lines = world.ask("/api/usage/events", "globex", params=params).text.splitlines()
    assert len(lines) == len({json.loads(line)["idempotency_key"] for line in lines}) == count


def follow(world: World, key: str, **params: Any) -> dict[str, Any]:
    found: dict[str, Any] = world.get(f"/api/usage/events/{quote(key, safe='')}/trace", team="acme", **params)
    return found


def test_an_event_is_followed_to_stripe(world: World, start: datetime) -> None:
    key = "req/8?ü=1"
    (meter,) = follow(world, key)["meters"]
    assert (meter["meter"], meter["reached"], meter["rated"], meter["stripe"]) == ("calls", "landed", [], [])

    world.house.aggregate()
    traced = follow(world, key)
    (meter,) = traced["meters"]
    assert traced["event"]["source"] == "http" and meter["reached"] == "rated"
    # Events 0 to 44 lie in the first quarter-hour; two of three are searches.
    inside = [n for n in range(45) if n % 3]
    assert meter["bucket"]["value"] == "8.25" and meter["bucket"]["events"] == len(inside)
    assert Decimal(meter["bucket"]["quantity"]) == sum(Decimal(f"{n}.25") for n in inside)
    searches = sum(Decimal(f"{n}.25") for n in range(COUNT) if n % 3)
    assert {window["window"]: Decimal(window["quantity"]) for window in meter["usage"]} == dict.fromkeys(
        ("hour", "day", "month"), searches
    )
    (rating,) = meter["rated"]
    assert (
        rating["price"] == "standard/search" and sum(Decimal(tier["quantity"]) for tier in rating["tiers"]) == searches
    )
    (line,) = rating["bill_lines"]
    assert (line["line"], line["status"], Decimal(line["quantity"])) == (rating["line"], "active", searches)

    ledger(world)
    (window,) = follow(world, key)["meters"][0]["stripe"]
    calls = sum(Decimal(f"{n}.25") for n in range(COUNT))
    assert (Decimal(window["target"]), Decimal(window["on_its_way"])) == (calls, calls)
    assert [submission["state"] for submission in window["submissions"]] == ["pending"]
    assert follow(world, key)["meters"][0]["reached"] == "submitted"
    confirm(world)
    assert follow(world, key)["meters"][0]["reached"] == "confirmed"

    withdraw(world, key)
    gone = follow(world, key)
    assert gone["meters"] == [] and "withdrawn" in gone["note"] and gone["event"]["withdrawn_because"] == "test"
    unpriced = follow(world, "job-small")["meters"]
    assert [(m["meter"], m["reached"]) for m in unpriced] == [("compute", "metered"), ("jobs", "metered")]
    assert unpriced[0]["rated"][0]["price"] is None and unpriced[1]["rated"] == []


def test_each_difference_of_a_period_is_zero_or_explained(world: World, start: datetime) -> None:
    label = world.period("acme")["period_label"]

    def compared() -> tuple[str, dict[str, Any]]:
        said = world.get(f"/api/usage/periods/{label}/validate", team="acme")
        (period,) = said["periods"]
        return said["verdict"], {meter["meter"]: meter for meter in period["meters"]}

    def differing(meter: dict[str, Any]) -> dict[str, tuple[Decimal, str]]:
        differences = [d for d in meter["differences"] if d["verdict"] != "equal"]
        return {d["step"]: (Decimal(d["difference"]), d["verdict"]) for d in differences}

    world.house.aggregate()
    ledger(world)
    confirm(world)
    verdict, meters = compared()
    # Small instances have no price; Stripe gets the meter's whole quantity, and its total was never read.
    assert differing(meters["compute"]) == {
        "metered - rated": (Decimal("1.5"), "explained"),
        "billed - target": (Decimal("-1.5"), "explained"),
        "submitted - stripe": (Decimal("3"), "explained"),
    }
    assert differing(meters["jobs"]) == {} and verdict == "explained"
    observe(world)
    assert differing(compared()[1]["calls"]) == {}
    assert compared()[1]["calls"]["events_counted"] == compared()[1]["calls"]["events_calculated"] == COUNT - 1

    late = {"team": "acme", "event": "call", "time": start.isoformat(), "idempotency_key": "late", "quantity": 7}
    world.send([late | {"properties": {"endpoint": "search"}}])
    calls = compared()[1]["calls"]
    assert calls["waiting"] == {"events": 1, "quantity": "7"} and differing(calls) == {}
    world.house.aggregate()
    assert differing(compared()[1]["calls"]) == {"billed - target": (Decimal(7), "explained")}
    ledger(world)
    assert differing(compared()[1]["calls"]) == {"target - submitted": (Decimal(7), "explained")}
    confirm(world)
    calls = compared()[1]["calls"]
    assert differing(calls) == {"submitted - stripe": (Decimal(7), "explained")}
    assert "after Stripe's total was read" in calls["differences"][-1]["because"][0]
    observe(world)
    assert differing(compared()[1]["calls"]) == {}

    # A step that nobody can explain is said to be unexplained.
    world.house.connection.execute(
        "update marts.fct_bill_lines set quantity = quantity + 1 where meter_key = 'calls' and team_key = 'acme'"
        " and price_key = 'standard/search' and period_label = %s",
        (label,),
    )
    verdict, meters = compared()
    assert verdict == "unexplained" and differing(meters["calls"])["rated - billed"] == (Decimal(-1), "unexplained")


def ledger(world: World) -> None:
    """Plan what Stripe should have, as if customers and meters had been made there."""
    world.house.connection.execute(
        "insert into billing.stripe_customers (team_id, stripe_customer_id)"
        " select team_id, 'cus_' || team_id from billing.teams on conflict do nothing"
    )
    world.house.connection.execute(
        "insert into billing.stripe_meters (meter_id, stripe_meter_id, event_name)"
        " select meter_id, 'mtr_' || meter_id, meter_key from billing.meters on conflict do nothing"
    )
    planner.plan(world.house.connection, datetime.now().astimezone() + timedelta(days=1))


def confirm(world: World) -> None:
    """What the sender writes when Stripe has accepted and counted."""
    world.house.connection.execute(
        "update billing.stripe_submissions set state = 'confirmed', first_attempt_at = now(), accepted_at = now(),"
        " confirmed_at = now() where state = 'pending'"
    )


def observe(world: World) -> None:
    """What the reconciler writes when it has read that Stripe's totals equal the ledger."""
    world.house.connection.execute(
        "insert into billing.stripe_observations (team_id, meter_id, subscription_key, period_start, observed_at,"
        " stripe_quantity, ledger_quantity, open_quantity, target_quantity, verdict)"
        " select s.team_id, s.meter_id, 'main', p.period_start, clock_timestamp(), sum(s.quantity), sum(s.quantity), 0,"
        " sum(s.quantity), 'equal' from billing.stripe_submissions s join billing.billing_periods p"
        " on p.team_id = s.team_id and s.window_start >= p.period_start and s.window_start < p.period_end"
        " group by s.team_id, s.meter_id, p.period_start"
    )


def withdraw(world: World, key: str) -> None:
    world.house.connection.execute(
        "insert into landing.event_withdrawals (team_id, key_digest, occurred_at, recorded_at, reason)"
        " select team_id, key_digest, occurred_at, landing.record_now(), 'test' from landing.usage_events"
        " where event_key = %s",
        (key,),
    )


def reading(world: World) -> dict[str, dict[str, str]]:
    """Every route that reads, with what it needs."""
    label = world.period("acme")["period_label"]
    return {
        "/api/usage/report": {},
        "/api/usage/events": {},
        "/api/usage/events/theirs/trace": {},
        f"/api/usage/periods/{label}/validate": {},
    }


def test_a_key_of_one_team_sees_nothing_of_another(world: World, start: datetime) -> None:
    for path, params in reading(world).items():
        for named in ("globex", "nobody"):
            refused = world.ask(path, "acme", params={**params, "team": named})
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "foreign_team"), path
        own = world.ask(path, "acme", params=params)
        assert own.status_code == (404 if "theirs" in path else 200), path
        assert "globex" not in own.text and '"theirs"' not in own.text.replace("'theirs'", ""), path
        assert world.ask(path, "reader", params=params).status_code == own.status_code
        assert world.ask(path, "tracker", params=params).status_code == 403
        assert world.ask(path, "nobody", params=params).status_code == 401
    everything = {"from": "2000-01-01T00:00:00Z", "limit": 1000}
    assert "theirs" not in {
        e["idempotency_key"] for e in world.get("/api/usage/events", "acme", **everything)["events"]
    }
    assert world.get("/api/usage/events/theirs/trace", "globex")["event"]["event"] == "call"


def test_aggregation_takes_an_administrator_of_all_teams_and_an_airflow(world: World) -> None:
    for key, status, code in (
        ("reader", 403, "missing_scope"),
        ("acme", 403, "needs_any_team"),
        ("anyone", 404, "no_airflow"),
    ):
        for method, path in (("POST", "/api/usage/aggregate"), ("GET", "/api/usage/aggregate/manual__1")):
            reply = world.ask(path, key, method)
            assert (reply.status_code, reply.json()["error"]["code"]) == (status, code), (key, method)


@pytest.mark.parametrize(
    ("path", "params", "status", "code"),
    [
        ("/api/usage/events", {"from": "2026-10-01"}, 400, "wrong_parameter"),
        ("/api/usage/events", {"from": "2026-10-02T00:00:00Z", "until": "2026-10-01T00:00:00Z"}, 400, "empty_range"),
        ("/api/usage/events", {"from": "0001-01-01T00:00:00+14:00"}, 400, "wrong_parameter"),
        ("/api/usage/events", {"limit": "1001"}, 400, "wrong_parameter"),
        ("/api/usage/events", {"limit": "١"}, 400, "wrong_parameter"),
        ("/api/usage/events", {"cursor": "x"}, 400, "invalid_cursor"),
        ("/api/usage/events", {"cursor": "AX____________________________8"}, 400, "invalid_cursor"),
        ("/api/usage/events", {"cursor": "AX" + "_" * 32}, 400, "invalid_cursor"),
        ("/api/usage/events", {"meter": "none"}, 404, "unknown_meter"),
        ("/api/usage/events", {"format": "xml"}, 400, "wrong_parameter"),
        ("/api/usage/events", {"subject": "x" * 1001}, 400, "wrong_parameter"),
        ("/api/usage/events/no-such/trace", {}, 404, "unknown_key"),
        ("/api/usage/events/%00/trace", {}, 400, "wrong_parameter"),
        ("/api/usage/periods/1999-01/validate", {}, 404, "unknown_period"),
        ("/api/usage/periods/'%3B drop/validate", {}, 404, "unknown_period"),
    ],
)  # fmt: skip
def test_what_is_asked_wrongly_is_named(
    world: World, path: str, params: dict[str, str], status: int, code: str
) -> None:
    reply = world.ask(path, params={"team": "acme", **params})
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code), reply.text

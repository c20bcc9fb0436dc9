"""A report before metering says what the marts say after it."""

from __future__ import annotations

import random
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from metering import closing, runs

from .conftest import World

SEED = 20261025


def some_events(world: World, number: str, count: int = 300) -> list[dict[str, Any]]:
    """Events of both teams within the running and the previous period, in no order."""
    chance = random.Random(f"{SEED} {number}")
    events = []
    for index in range(count):
        team = chance.choice(["acme", "acme", "globex"])
        period = world.period(team, chance.choice([0, 0, 0, 1]))
        span = min(period["period_end"], datetime.now(UTC)) - period["period_start"]
        moment = period["period_start"] + span * chance.random()
        event = {"team": team, "idempotency_key": f"{number}-{index}", "time": moment.isoformat()}
        if chance.random() < 0.7:
            endpoint = chance.choice(["search", "search", "upload", "export"])
            quantity = str(Decimal(chance.randrange(1, 40_000)) / 100)
            event |= {"event": "call", "quantity": quantity, "properties": {"endpoint": endpoint}}
        else:
            hours = Decimal(chance.randrange(1, 10**6)) / 10**6
            event |= {
                "event": "job",
                "properties": {"hours": str(hours), "instance": chance.choice(["large", "small"])},
            }
        events.append(event)
    return events


def reports(world: World) -> dict[str, Any]:
    """What both teams' reports say of the running period, and one of the period before."""
    found = {}
    for team, period in (("acme", None), ("acme", world.period("acme", 1)["period_label"]), ("globex", None)):
        asked = {"team": team, "max_age": 0} | ({"period": period} if period else {})
        found[f"{team} {period}"] = world.get("/api/usage/report", **asked)["periods"]
    return found


def test_a_report_says_before_metering_what_the_marts_say_after_it(world: World) -> None:
    assert world.send(some_events(world, "first"))["accepted"] == 300
    # Before anything was ever metered.
    unmetered = reports(world)
    world.house.aggregate()
    assert reports(world) == unmetered
    assert closing.close_periods(world.house.connection, timedelta(0))["finalized"]

    # Late usage of periods that are final, a withdrawal and a meter that is new, none of them metered.
    assert world.send(some_events(world, "second"))["accepted"] == 300
    withdraw(world, "first-0", "second-1")
    world.house.meter("bytes", "call")
    fresh = reports(world)
    assert fresh != unmetered
    assert Decimal(fresh["acme None"][0]["cost"]["adjustments"]) != 0
    assert {meter["meter"] for meter in fresh["acme None"][0]["usage"]} == {"bytes", "calls", "compute", "jobs"}

    # A run that has taken all of it up and died before it built anything changes nothing for the reader.
    runs.open_run(world.house.connection, "test")
    assert reports(world) == fresh
    world.house.aggregate()
    assert reports(world) == fresh
    for team in ("acme", "globex"):
        (period,) = fresh[f"{team} None"]
        bill = world.house.query(
            "select total, adjustments from marts.fct_bills where team_key = %s and period_label = %s",
            team,
            period["period"],
        )[0]
        assert (
            Decimal(period["cost"]["total"]) == bill["total"] == sum(Decimal(row["amount"]) for row in period["lines"])
        )
        assert Decimal(period["cost"]["adjustments"]) == bill["adjustments"]
        for meter in period["usage"]:
            days = sum(Decimal(day["quantity"]) for day in meter["days"])
            slices = sum(Decimal(one["quantity"]) for one in meter["slices"])
            assert days == slices == Decimal(meter["quantity"]) and meter["events"] > 0
        for line in period["lines"]:
            if line["kind"] == "usage":
                assert sum(Decimal(tier["quantity"]) for tier in line["tiers"]) == Decimal(line["charge_quantity"])
        assert {(row["meter"], row["dimensions"]["instance"]) for row in period["unpriced"]} == {("compute", "small")}


def withdraw(world: World, *keys: str) -> None:
    world.house.connection.execute(
        "insert into landing.event_withdrawals (team_id, key_digest, occurred_at, recorded_at, reason)"
        " select team_id, key_digest, occurred_at, landing.record_now(), 'test' from landing.usage_events"
        " where event_key = any(%s)",
        (list(keys),),
    )


def test_a_report_lists_earlier_bills(world: World) -> None:
    report = world.get("/api/usage/report", team="acme", history=2)
    assert [past["period"] for past in report["history"]] == [
        world.period("acme", 1)["period_label"],
        world.period("acme", 2)["period_label"],
    ]
    newest = report["history"][0]
    assert newest["status"] == "finalized"
    assert sum(Decimal(meter["amount"]) for meter in newest["meters"]) == Decimal(newest["total"])


def test_a_report_is_never_older_than_it_says_and_holds_all_that_was_acknowledged_before(world: World) -> None:
    start = world.period("globex")["period_start"]

    def event(key: str) -> dict[str, Any]:
        return {"team": "globex", "event": "call", "idempotency_key": key, "time": start.isoformat(), "quantity": 1}

    def quantity(report: dict[str, Any]) -> Decimal:
        return next(Decimal(m["quantity"]) for m in report["periods"][0]["usage"] if m["meter"] == "calls")

    before = world.get("/api/usage/report", team="globex", max_age=0)
    acknowledged: list[datetime] = []
    stop = threading.Event()

    def keep_sending() -> None:
        while not stop.is_set():
            world.send([event(f"live-{len(acknowledged)}")])
            acknowledged.append(datetime.now(UTC))

    sender = threading.Thread(target=keep_sending)
    sender.start()
    try:
        for max_age in (0, 1, 0, 1, 1, 0):
            asked = datetime.now(UTC)
            report = world.get("/api/usage/report", team="globex", max_age=max_age)
            as_of = datetime.fromisoformat(report["as_of"])
            assert as_of >= asked - timedelta(seconds=max_age)
            counted = quantity(report) - quantity(before)
            assert counted >= sum(moment < as_of for moment in [*acknowledged])
    finally:
        stop.set()
        sender.join()
    reply = world.ask("/api/usage/report", params={"team": "globex", "max_age": 60})
    again = world.ask("/api/usage/report", params={"team": "globex", "max_age": 60})
    assert again.content == reply.content and int(again.headers["age"]) <= 60
    assert again.headers["cache-control"].startswith("private, max-age=")


def test_what_is_remembered_is_not_told_to_another_team(world: World) -> None:
    mine = world.get("/api/usage/report", "acme", max_age=60)
    theirs = world.get("/api/usage/report", "globex", max_age=60)
    assert (mine["team"], theirs["team"]) == ("acme", "globex") and mine["periods"] != theirs["periods"]
    world.get("/api/usage/report", team="globex", max_age=60)
    refused = world.ask("/api/usage/report", "acme", params={"team": "globex", "max_age": 60})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "foreign_team")


def test_what_is_asked_wrongly_is_named(world: World) -> None:
    for params, status, code in (
        ({}, 400, "missing_team"),
        ({"team": "nobody"}, 404, "unknown_team"),
        ({"team": "acme", "period": "1999-01"}, 404, "unknown_period"),
        ({"team": "acme", "subscription": "other"}, 404, "unknown_period"),
        ({"team": "acme", "history": "-1"}, 400, "wrong_parameter"),
        ({"team": "acme", "teem": "acme"}, 400, "unknown_parameter"),
        ({"team": "ac\0me"}, 400, "wrong_parameter"),
    ):
        reply = world.ask("/api/usage/report", params=params)
        assert (reply.status_code, reply.json()["error"]["code"]) == (status, code), params

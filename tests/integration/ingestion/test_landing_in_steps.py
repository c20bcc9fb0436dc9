"""Landing in steps: events of two writers side by side, their keys one after the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import DictRow

from metering.ingestion import landing as landing_module
from metering.ingestion.body import Body
from metering.ingestion.catalog import Catalog
from metering.ingestion.events import Sorted
from metering.ingestion.landing import Landing
from metering.ingestion.validation import Judge

Connection = psycopg.Connection[DictRow]


@pytest.fixture
def landings(database_url: str, catalog: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Landing, Landing]]:
    monkeypatch.setattr(landing_module, "FEW", 0)
    first, second = Landing.connect(database_url), Landing.connect(database_url)
    yield first, second
    first.close()
    second.close()


def judged(landing: Landing, quantity: int, *keys: str) -> Sorted:
    whole: list[dict[str, Any]] = [
        {
            "team": "acme",
            "event": "call",
            "time": "2026-10-05T12:00:00Z",
            "quantity": quantity,
            "idempotency_key": key,
        }
        for key in keys
    ]
    body = Body.parse(json.dumps(whole).encode())
    return Judge(Catalog.load(landing.connection)).sort_body(body)


def stored(connection: Connection) -> dict[str, int]:
    rows = connection.execute("SELECT event_key, quantity::integer FROM landing.usage_events").fetchall()
    keys = connection.execute("SELECT count(*) AS keys FROM landing.event_keys").fetchone()
    assert keys is not None and keys["keys"] == len(rows)
    return {row["event_key"]: row["quantity"] for row in rows}


def test_nothing_is_there_before_the_keys_are_claimed(
    landings: tuple[Landing, Landing], connection: Connection
) -> None:
    first, second = landings
    one, two = judged(first, 1, "a", "b"), judged(second, 2, "c")
    steps = first.land_in_steps("file:x", one.facts, []), second.land_in_steps("file:x", two.facts, [])
    assert steps[0] and steps[1]
    next(steps[0])
    next(steps[1])
    next(steps[1])
    next(steps[0])
    assert stored(connection) == {}
    assert next(steps[0], "over") == "over"
    assert stored(connection) == {"a": 1, "b": 1}
    assert next(steps[1], "over") == "over"
    assert stored(connection) == {"a": 1, "b": 1, "c": 2}
    assert [fact.verdict for fact in (*one.facts, *two.facts)] == ["accepted"] * 3


def test_whoever_backs_out_leaves_nothing_and_may_begin_again(
    landings: tuple[Landing, Landing], connection: Connection
) -> None:
    landing, _ = landings
    sorted_ = judged(landing, 1, "a")
    for _ in range(2):
        steps = landing.land_in_steps("file:x", sorted_.facts, [])
        assert steps
        next(steps)
        next(steps)
        steps.close()
        assert stored(connection) == {}
    landing.land("file:x", sorted_.facts, [])
    assert stored(connection) == {"a": 1}
    batches = connection.execute("SELECT accepted FROM landing.batches").fetchall()
    assert [batch["accepted"] for batch in batches] == [1]


def test_a_key_that_was_claimed_meanwhile_refuses_all_and_is_then_looked_up(
    landings: tuple[Landing, Landing], connection: Connection
) -> None:
    first, second = landings
    late = judged(second, 2, "a", "b")
    steps = second.land_in_steps("file:x", late.facts, [])
    assert steps
    next(steps)
    first.land("http", judged(first, 1, "a").facts, [])
    next(steps)
    with pytest.raises(psycopg.errors.UniqueViolation):
        next(steps)
    assert stored(connection) == {"a": 1}
    # From here on keys are looked up first, which is not done ahead of anyone.
    assert second.land_in_steps("file:x", late.facts, []) is None
    kept = second.land("file:x", late.facts, [])
    assert [reject.reason for reject in kept] == ["conflict"]
    assert stored(connection) == {"a": 1, "b": 2}


def test_no_horizon_passes_what_is_written_and_not_yet_claimed(
    landings: tuple[Landing, Landing], connection: Connection
) -> None:
    landing, other = landings
    steps = landing.land_in_steps("file:x", judged(landing, 1, "a").facts, [])
    assert steps
    next(steps)
    other.connection.execute("SET statement_timeout = '200ms'")
    with pytest.raises(psycopg.errors.QueryCanceled):
        other.connection.execute("SELECT landing.take_horizon()")
    next(steps)
    next(steps, None)
    other.connection.execute("SET statement_timeout = '30s'")
    row = other.connection.execute("SELECT landing.take_horizon() AS horizon").fetchone()
    recorded = connection.execute("SELECT max(recorded_at) AS recorded_at FROM landing.usage_events").fetchone()
    assert row and recorded and recorded["recorded_at"] < row["horizon"]

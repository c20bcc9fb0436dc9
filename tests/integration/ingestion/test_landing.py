"""The landing: what is written, once, whoever writes at the same time."""

from __future__ import annotations

import json
import threading
from collections import Counter
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg.rows import DictRow

from metering.ingestion import binary
from metering.ingestion import landing as landing_module
from metering.ingestion.body import Body
from metering.ingestion.catalog import Catalog
from metering.ingestion.events import Sorted
from metering.ingestion.landing import Landing
from metering.ingestion.validation import Judge

Connection = psycopg.Connection[DictRow]
TIME = "2026-10-05T12:00:00Z"


def judged(catalog: Catalog, *events: dict[str, Any]) -> Sorted:
    whole = [{"team": "acme", "event": "call", "time": TIME, **event} for event in events]
    body = Body.parse(json.dumps(whole).encode())
    return Judge(catalog).sort(body.events, body)


def land(landing: Landing, *events: dict[str, Any]) -> list[str]:
    """Land events and return what became of each."""
    result = judged(Catalog.load(landing.connection), *events)
    landing.land("http", result.facts, result.rejects)
    return [fact.verdict for fact in result.facts]


@pytest.fixture(params=[0, landing_module.FEW], ids=["by COPY", "by one statement"])
def landing(database_url: str, catalog: None, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    """A way in, for many events and for few: what holds of the one holds of the other."""
    monkeypatch.setattr(landing_module, "FEW", request.param)
    opened = Landing.connect(database_url)
    yield opened
    opened.close()


def test_an_event_is_stored_exactly_as_it_was_sent(landing: Landing, connection: Connection) -> None:
    hostile = "a\\b\tc\nd\re'\"; DROP TABLE x; -- ü \\N \\. \u2028"
    event = {
        "idempotency_key": hostile,
        "quantity": "12345678901234567890.123456789012",
        "unit": "call",
        "time": "2026-10-05T17:45:00.123456789+05:45",
        "subject": hostile,
        "properties": {hostile: hostile, "n": 1.5, "flag": True, "nothing": None, "zero": "\\u0000"},
    }
    assert land(landing, event) == ["accepted"]
    row = connection.execute("SELECT * FROM landing.usage_events").fetchone()
    assert row is not None
    assert row["event_key"] == hostile and row["subject"] == hostile and row["unit"] == "call"
    assert row["quantity"] == Decimal("12345678901234567890.123456789012")
    assert row["occurred_at"].isoformat() == "2026-10-05T12:00:00.123456+00:00"
    assert row["properties"] == event["properties"]
    batch = connection.execute("SELECT * FROM landing.batches").fetchone()
    assert batch is not None
    assert (batch["accepted"], batch["duplicates"], batch["quarantined"], batch["source"]) == (1, 0, 0, "http")
    assert batch["recorded_at"] == row["recorded_at"] and batch["batch_id"] == row["batch_id"]
    assert batch["first_occurred_at"] == batch["last_occurred_at"] == row["occurred_at"]


def test_few_events_and_many_are_stored_alike(
    landing: Landing, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [
        {
            "idempotency_key": f"key-{n}",
            "team": "acme" if n % 3 else "globex",
            "quantity": str(Decimal(n * 7919) / 10 ** (n % 8)),
            "unit": "call" if n % 2 else None,
            "subject": "ü" * n if n % 5 else None,
            "time": f"2026-{8 + n % 3:02d}-05T12:00:{n:02d}Z",
            "properties": {"n": n, "text": "x" * n * 40} if n % 4 else {},
        }
        for n in range(40)
    ]
    columns = "team_id, occurred_at, key_digest, event_key, event_name, quantity::text, unit, subject, properties::text"
    select = f"SELECT {columns} FROM landing.usage_events ORDER BY event_key"
    stored = []
    for few in (0, 1000):
        monkeypatch.setattr(landing_module, "FEW", few)
        connection.execute("TRUNCATE landing.usage_events, landing.event_keys, landing.batches")
        assert set(land(landing, *events)) == {"accepted"}
        claimed = connection.execute("SELECT * FROM landing.event_keys ORDER BY key_digest").fetchall()
        batch = connection.execute(
            "SELECT accepted, duplicates, quarantined, first_occurred_at, last_occurred_at FROM landing.batches"
        ).fetchall()
        stored.append((connection.execute(select).fetchall(), claimed, batch))
        assert set(land(landing, *events[:10])) == {"duplicate"}
    assert stored[0] == stored[1] and len(stored[0][0]) == 40


def test_a_key_counts_once_and_other_content_is_a_conflict(landing: Landing, connection: Connection) -> None:
    verdicts = land(
        landing,
        {"idempotency_key": "a", "quantity": 1},
        {"idempotency_key": "a", "quantity": "1.0"},
        {"idempotency_key": "a", "quantity": 2},
        {"idempotency_key": "b"},
        {"idempotency_key": "a", "team": "globex", "quantity": 2},
    )
    assert verdicts == ["accepted", "duplicate", "quarantined", "accepted", "accepted"]
    # Again, in another month, and with the conflict first: what stands, stands.
    again = land(
        landing,
        {"idempotency_key": "a", "quantity": 2},
        {"idempotency_key": "a", "quantity": 1},
        {"idempotency_key": "b", "time": "2026-08-01T00:00:00Z"},
    )
    assert again == ["quarantined", "duplicate", "quarantined"]
    held = connection.execute(
        "SELECT reason, field, status, times_seen, payload FROM landing.quarantined_events ORDER BY payload"
    ).fetchall()
    assert {row["reason"] for row in held} == {"conflict"}
    assert sorted(row["times_seen"] for row in held) == [1, 2]
    assert all(json.loads(row["payload"])["event"] == "call" for row in held)
    count = connection.execute("SELECT count(*) AS n, sum(quantity) AS q FROM landing.usage_events").fetchone()
    assert count == {"n": 3, "q": Decimal(4)}


def test_what_cannot_count_is_held_once_however_often_it_is_sent(landing: Landing, connection: Connection) -> None:
    for _ in range(3):
        land(landing, {"idempotency_key": "x", "quantity": -1}, {"idempotency_key": "y", "team": "nobody"})
    held = connection.execute(
        "SELECT team_id, reason, field, times_seen, line FROM landing.quarantined_events ORDER BY reason"
    ).fetchall()
    assert [(row["reason"], row["field"], row["times_seen"]) for row in held] == [
        ("negative_quantity", "quantity", 3),
        ("unknown_team", "team", 3),
    ]
    assert held[1]["team_id"] == 0


def test_an_event_that_postgresql_will_not_store_stops_no_other(landing: Landing, connection: Connection) -> None:
    result = judged(Catalog.load(connection), *({"idempotency_key": str(number)} for number in range(9)))
    one = binary.numeric_field("1")
    result.facts.rows[4] = result.facts.rows[4].replace(one, one[:-2] + b"\x7f\xff")  # no group of four digits
    kept = landing.land("http", result.facts, [])
    assert [reject.reason for reject in kept] == ["unstorable"]
    assert Counter(fact.verdict for fact in result.facts) == {"accepted": 8, "quarantined": 1}
    assert result.facts[4].verdict == "quarantined"
    assert _count(connection, "usage_events") == _count(connection, "event_keys") == 8


def test_a_month_whose_partition_has_gone_is_made_again(landing: Landing, connection: Connection) -> None:
    land(landing, {"idempotency_key": "a"})
    connection.execute("ALTER TABLE landing.usage_events DETACH PARTITION landing.usage_events_2026_10")
    connection.execute("DROP TABLE landing.usage_events_2026_10")
    assert land(landing, {"idempotency_key": "b"}, {"idempotency_key": "a"}) == ["accepted", "duplicate"]


def test_writers_of_the_same_keys_in_any_order_count_each_once(
    database_url: str, catalog: None, connection: Connection
) -> None:
    known = Catalog.load(connection)
    verdicts: Counter[str] = Counter()
    failures: list[BaseException] = []

    def write(number: int) -> None:
        landing = Landing.connect(database_url)
        try:
            for turn in range(6):
                order = range(300) if (turn + number) % 2 else reversed(range(300))
                events = ({"idempotency_key": f"{turn}-{key}"} for key in order)
                wrong = ({"idempotency_key": f"{turn}-{key}", "quantity": -1} for key in order)
                result = judged(known, *events, *wrong)
                landing.land("http", result.facts, result.rejects)
                verdicts.update(fact.verdict for fact in result.facts)
        except BaseException as error:
            failures.append(error)
        finally:
            landing.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert verdicts == {"accepted": 1800, "duplicate": 3 * 1800}
    assert _count(connection, "usage_events") == _count(connection, "event_keys") == 1800


def test_no_event_is_recorded_behind_a_horizon_that_has_been_taken(
    landing: Landing, database_url: str, connection: Connection
) -> None:
    """Whoever reads everything up to a horizon reads everything that was recorded up to it."""
    stop = threading.Event()
    late: list[int] = []

    def read() -> None:
        with psycopg.connect(database_url, autocommit=True) as reader:
            while not stop.is_set():
                horizon = reader.execute("SELECT landing.take_horizon()").fetchone()
                below = "SELECT count(*) FROM landing.usage_events WHERE recorded_at <= %s"
                first = reader.execute(below, horizon).fetchone()
                second = reader.execute("SELECT count(*), pg_sleep(0.01) FROM landing.batches").fetchone()
                assert second is not None
                if reader.execute(below, horizon).fetchone() != first:
                    late.append(1)

    thread = threading.Thread(target=read)
    thread.start()
    for turn in range(30):
        land(landing, *({"idempotency_key": f"{turn}-{number}"} for number in range(50)))
    stop.set()
    thread.join()
    assert not late


def _count(connection: Connection, table: str) -> int:
    rows = {
        "usage_events": "SELECT count(*) AS n FROM landing.usage_events",
        "event_keys": "SELECT count(*) AS n FROM landing.event_keys",
    }
    found = connection.execute(rows[table]).fetchone()
    assert found is not None
    return int(found["n"])

"""Two processes that write the pieces of a file at once come to what one comes to, whoever else is at work."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import DictRow

from metering.files import import_file, importer
from metering.ingestion.landing import FEW, Landing

Connection = psycopg.Connection[DictRow]
PIECE = FEW + 50


@pytest.fixture
def landing(database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch) -> Landing:
    monkeypatch.setattr(importer, "WORTH_IT", 0)
    connection.execute("INSERT INTO billing.teams (team_key, team_name, time_zone) VALUES ('acme', 'Acme', 'UTC')")
    connection.execute(
        "INSERT INTO billing.meters (meter_key, meter_name, event_name, aggregation, unit)"
        " VALUES ('calls', 'Calls', 'call', 'sum', 'call')"
    )
    return Landing(connection)


def write(path: Path, keys: list[int]) -> dict[str, int]:
    """A file with these keys, each row of another quantity; returns what the first row of each key says."""
    first: dict[str, int] = {}
    with path.open("w") as file:
        file.write("team,event,quantity,time,idempotency_key\n")
        for row, key in enumerate(keys):
            first.setdefault(f"key-{key}", row)
            file.write(f"acme,call,{row},2026-{9 + row % 2:02d}-01T00:00:00Z,key-{key}\n")
    return first


def counted(connection: Connection) -> dict[str, int]:
    rows = connection.execute("SELECT event_key, quantity::integer FROM landing.usage_events").fetchall()
    return {row["event_key"]: row["quantity"] for row in rows}


def test_the_first_of_two_rows_counts_wherever_the_second_is(
    landing: Landing, connection: Connection, database_url: str, tmp_path: Path
) -> None:
    chance = random.Random(7)
    keys = [*range(12 * PIECE)]
    for _ in range(5):  # keys that come again in the next piece, or many pieces later
        place = chance.randrange(2 * PIECE, len(keys))
        keys[place] = chance.randrange(place - PIECE, place)
        keys[chance.randrange(place, len(keys))] = chance.randrange(PIECE)
    path = tmp_path / "usage.csv"
    first = write(path, keys)
    tally = import_file(landing, path, piece=PIECE, url=database_url)
    assert counted(connection) == first
    assert (tally.read, tally.accepted, tally.quarantined) == (len(keys), len(first), len(keys) - len(first))
    totals = connection.execute("SELECT sum(accepted) AS accepted, count(*) AS pieces FROM landing.batches").fetchone()
    assert totals == {"accepted": len(first), "pieces": 12}


def test_nobody_waits_for_ever_while_horizons_and_tables_are_taken(
    landing: Landing, connection: Connection, database_url: str, tmp_path: Path
) -> None:
    """Metering takes horizons, archiving takes the table of events; pieces that wait for one another must not wait for
    them in turn.
    """
    keys = [*range(20 * PIECE)]
    for piece in range(4, 20, 5):
        keys[piece * PIECE + 3] = piece  # has counted: its piece lands alone, and who opened after it backs out
    path = tmp_path / "usage.csv"
    first = write(path, keys)
    over, taken = threading.Event(), [0, 0]

    def take(place: int, *statements: str) -> None:
        with psycopg.connect(database_url, autocommit=True) as other:
            while not over.is_set():
                with other.transaction():
                    for statement in statements:
                        other.execute(statement)
                taken[place] += 1
                over.wait(0.01)

    others = [
        threading.Thread(target=take, args=(0, "SELECT landing.take_horizon()")),
        threading.Thread(target=take, args=(1, "LOCK TABLE landing.usage_events IN ACCESS EXCLUSIVE MODE")),
    ]
    for thread in others:
        thread.start()
    try:
        tally = import_file(landing, path, piece=PIECE, url=database_url)
    finally:
        over.set()
        for thread in others:
            thread.join()
    assert tally.accepted == len(first) and tally.quarantined == len(keys) - len(first)
    assert counted(connection) == first
    assert min(taken) > 0

"""Files land by the same code as what comes over HTTP: good rows count, bad ones are kept, nothing counts twice."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import DictRow

from metering import catalog
from metering.errors import BillingError
from metering.files import Mapping, import_file
from metering.files import mapping as mapping_module
from metering.ingestion.landing import Landing
from metering.settings import PROJECT_ROOT

Connection = psycopg.Connection[DictRow]
AZURE = PROJECT_ROOT.parent / "shared" / "data" / "azure_llm_inference_conv_2023.csv"
MAP = Path(mapping_module.__file__).parent / "maps" / "azure_llm_inference.yaml"
HEADER = "team,event,quantity,time,idempotency_key,properties.region\n"


@pytest.fixture
def landing(database_url: str, connection: Connection) -> Landing:
    connection.execute("INSERT INTO billing.teams (team_key, team_name, time_zone) VALUES ('acme', 'Acme', 'UTC')")
    connection.execute(
        "INSERT INTO billing.meters (meter_key, meter_name, event_name, aggregation, unit)"
        " VALUES ('calls', 'Calls', 'call', 'sum', 'call')"
    )
    return Landing(connection)


def write(tmp_path: Path, content: str | bytes, name: str = "usage.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def good(number: int) -> str:
    return f"acme,call,{number}.50,2026-10-01T00:00:00Z,key-{number},eu\n"


def test_good_rows_land_and_bad_ones_are_kept_with_their_line(
    landing: Landing, connection: Connection, tmp_path: Path
) -> None:
    content = HEADER.encode() + good(1).encode() + b"acme,call,1\n" + good(2).encode()
    content += b"acme,call,many,2026-10-01T00:00:00Z,a,eu\n" + b"\xff,call,1,2026-10-01T00:00:00Z,b,eu\n"
    content += b"nobody,call,1,2026-10-01T00:00:00Z,c,eu\n" + b"acme,call,,2026-10-01T00:00:00Z,d,eu\n"
    content += b"acme,call,1\n" + good(1).encode()
    path = write(tmp_path, content)
    tally = import_file(landing, path, piece=3)
    assert (tally.read, tally.accepted, tally.duplicate, tally.quarantined) == (9, 2, 1, 6)
    expected = [
        (3, "invalid_row"),
        (5, "invalid_quantity"),
        (6, "invalid_encoding"),
        (7, "unknown_team"),
        (8, "invalid_quantity"),
        (9, "invalid_row"),
    ]
    assert [(line, reason) for line, reason, _ in tally.examples] == expected
    held = connection.execute("SELECT * FROM landing.quarantined_events ORDER BY line").fetchall()
    assert [(row["line"], row["reason"]) for row in held] == expected
    assert {row["source"] for row in held} == {"file:usage.csv"}
    # Whose a row is can be read although its quantity can't.
    assert [row["team_id"] for row in held] == [0, 1, 0, 0, 1, 0]
    assert held[0]["payload"] == "acme,call,1" and held[2]["payload"].startswith("\\xff,call")
    assert json.loads(held[1]["payload"])["quantity"] == "many"
    total = connection.execute(
        "SELECT sum(quantity) AS q, min(properties::text) AS p FROM landing.usage_events"
    ).fetchone()
    assert total == {"q": Decimal("4.0"), "p": '{"region": "eu"}'}

    again = import_file(landing, path, again=True)
    assert (again.accepted, again.duplicate, again.quarantined) == (0, 3, 6)
    seen = connection.execute("SELECT DISTINCT times_seen FROM landing.quarantined_events").fetchall()
    assert seen == [{"times_seen": 2}]


def test_json_lines_land_with_and_without_a_map(landing: Landing, connection: Connection, tmp_path: Path) -> None:
    event = '{"team": "acme", "event": "call", "quantity": 0.1, "time": "2026-10-01T00:00:00Z", "properties": {"a": 1}}'
    path = write(tmp_path, gzip.compress(f"{event}\nbroken\n{event}\n".encode()), "usage.jsonl.gz")
    tally = import_file(landing, path)
    assert (tally.accepted, tally.duplicate, tally.quarantined) == (1, 1, 1)
    map_path = write(
        tmp_path,
        "{time: {column: at, zone: UTC}, team: {value: acme}, event: {value: call}, quantity: n, properties: {n: n}}",
        "requests.yaml",
    )
    rows = write(tmp_path, '{"at": 1790812800, "n": 12345678901234567890.5}\n{"at": "soon", "n": 1}\n', "usage.jsonl")
    tally = import_file(landing, rows, Mapping.load(map_path))
    assert (tally.accepted, tally.quarantined) == (1, 1)
    row = connection.execute(
        "SELECT quantity, properties::text AS p FROM landing.usage_events ORDER BY quantity DESC"
    ).fetchone()
    assert row == {"quantity": Decimal("12345678901234567890.5"), "p": '{"n": 12345678901234567890.5}'}


def test_a_line_that_is_too_long_is_kept_apart_and_the_others_land(
    landing: Landing, connection: Connection, tmp_path: Path
) -> None:
    good = '{"team": "acme", "event": "call", "idempotency_key": "%s", "time": "2026-10-01T00:00:00Z"}'
    long = '{"team": "acme", "event": "call", "subject": "' + "x" * 20_000_000 + '"}'
    path = write(tmp_path, "\n".join([good % "a", long, good % "b", long]), "usage.jsonl")
    tally = import_file(landing, path)
    assert (tally.accepted, tally.quarantined) == (2, 2)
    held = connection.execute("SELECT * FROM landing.quarantined_events ORDER BY line").fetchall()
    assert [(row["line"], row["reason"]) for row in held] == [(2, "line_too_long"), (4, "line_too_long")]
    assert all(len(row["payload"]) < 1100 and row["payload"].startswith('{"team"') for row in held)
    assert import_file(landing, path, again=True).accepted == 0


def test_a_file_with_a_header_alone_is_said(landing: Landing, tmp_path: Path) -> None:
    with pytest.raises(BillingError, match="a header and no rows"):
        import_file(landing, write(tmp_path, HEADER))


def test_what_was_landed_before_a_damaged_end_stays_and_counts_once(
    landing: Landing, connection: Connection, tmp_path: Path
) -> None:
    whole = (HEADER + "".join(good(number) for number in range(6_000))).encode()
    packed = gzip.compress(whole)
    with pytest.raises(BillingError, match="damaged or ends too early"):
        import_file(landing, write(tmp_path, packed[: len(packed) // 2], "usage.csv.gz"), piece=1000)
    landed = connection.execute("SELECT count(*) AS n FROM landing.usage_events").fetchone()
    assert landed is not None and 0 < landed["n"] < 6_000
    tally = import_file(landing, write(tmp_path, packed, "usage.csv.gz"))
    assert (tally.accepted, tally.duplicate) == (6_000 - landed["n"], landed["n"])


def test_the_command_shows_what_became_of_a_file_and_fails_where_nothing_counts(
    landing: Landing, database_url: str, tmp_path: Path
) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "DATABASE_URL": database_url, "PYTHONPATH": str(PROJECT_ROOT / "include")}
        command = [sys.executable, "-m", "metering.cli.ingest", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    path = write(tmp_path, HEADER + good(1) + "acme,call,x,2026-10-01T00:00:00Z,a,eu\n")
    done = run(str(path))
    assert done.returncode == 0, done.stderr
    assert "invalid_quantity" in done.stdout and "is not a number" in done.stdout
    nothing = run(str(write(tmp_path, HEADER + "acme,call,x,2026-10-01T00:00:00Z,a,eu\n", "bad.csv")))
    assert nothing.returncode == 1 and "invalid_quantity" in nothing.stdout
    missing = run(str(tmp_path / "none.csv"))
    assert missing.returncode == 1 and "does not exist" in missing.stderr and "Traceback" not in missing.stderr


@pytest.mark.skipif(not AZURE.exists(), reason="the Azure LLM inference trace is not beside this checkout")
def test_the_azure_trace_meets_its_facts(connection: Connection) -> None:
    mapping = Mapping.load(MAP)
    assert mapping.catalog is not None
    catalog.apply(connection, catalog.Catalog.load(mapping.catalog))
    tally = import_file(Landing(connection), AZURE, mapping)
    assert (tally.read, tally.accepted, tally.duplicate, tally.quarantined) == (19_366, 19_366, 0, 0)
    facts = connection.execute(
        "SELECT extract(hour FROM occurred_at)::int AS hour, count(*) AS requests,"
        " count(DISTINCT occurred_at) AS moments,"
        " sum((properties ->> 'context_tokens')::numeric)::int AS context,"
        " sum((properties ->> 'generated_tokens')::numeric)::int AS generated,"
        " min(occurred_at) AS first, max(occurred_at) AS last, count(DISTINCT team_id) AS teams"
        " FROM landing.usage_events GROUP BY ROLLUP (1) ORDER BY 1"
    ).fetchall()
    assert [(row["hour"], row["context"], row["generated"]) for row in facts] == [
        (18, 18_444_477, 3_138_185),
        (19, 3_917_393, 950_480),
        (None, 22_361_870, 4_088_665),
    ]
    whole = facts[-1]
    assert (whole["requests"], whole["teams"]) == (19_366, 12)
    assert facts[0]["moments"] + facts[1]["moments"] == 19_366
    assert whole["first"] == datetime(2023, 11, 16, 18, 15, 46, 680590, tzinfo=UTC)
    assert whole["last"] == datetime(2023, 11, 16, 19, 14, 8, 402527, tzinfo=UTC)
    again = import_file(Landing(connection), AZURE, mapping, again=True)
    assert (again.accepted, again.duplicate) == (0, 19_366)

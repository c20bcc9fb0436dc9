"""An import that is killed goes on from its last committed place, and nothing counts twice or is lost."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from psycopg.rows import DictRow

from metering.errors import BillingError
from metering.files import Mapping, import_file
from metering.files import mapping as mapping_module
from metering.ingestion.landing import Landing
from metering.settings import PROJECT_ROOT

Connection = psycopg.Connection[DictRow]
ROWS = 70_000


@pytest.fixture
def landing(database_url: str, connection: Connection) -> Landing:
    connection.execute("INSERT INTO billing.teams (team_key, team_name, time_zone) VALUES ('acme', 'Acme', 'UTC')")
    connection.execute(
        "INSERT INTO billing.meters (meter_key, meter_name, event_name, aggregation, unit)"
        " VALUES ('calls', 'Calls', 'call', 'sum', 'call'), ('hits', 'Hits', 'http_request', 'count', 'request')"
    )
    return Landing(connection)


def csv_of(rows: int) -> bytes:
    lines = (f"acme,call,{n % 7}.5,2026-10-0{1 + n % 9}T00:00:00Z,key-{n}\n" for n in range(rows))
    return ("team,event,quantity,time,idempotency_key\n" + "".join(lines)).encode()


def start(url: str, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "DATABASE_URL": url, "PYTHONPATH": str(PROJECT_ROOT / "include")}
    command = [sys.executable, "-m", "metering.cli.ingest", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(url: str, *arguments: str) -> str:
    process = start(url, *arguments)
    said, complaint = process.communicate(timeout=120)
    assert process.returncode == 0, complaint
    return said


def value(connection: Connection, statement: str) -> object:
    row = connection.execute(statement).fetchone()
    assert row is not None
    (found,) = row.values()
    return found


def test_a_killed_import_goes_on_and_every_row_counts_once(
    landing: Landing, connection: Connection, database_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "usage.csv.gz"
    path.write_bytes(gzip.compress(csv_of(ROWS), 1))
    kills, begun = 0, time.monotonic()
    while kills < 2 and time.monotonic() - begun < 60:
        position = value(connection, "SELECT coalesce(max(position), 0) FROM landing.file_imports")
        process = start(database_url, str(path))
        while process.poll() is None:
            if value(connection, "SELECT coalesce(max(position), 0) FROM landing.file_imports") != position:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
            time.sleep(0.02)
        process.communicate()
    before = connection.execute("SELECT * FROM landing.file_imports").fetchone()
    assert kills == 2 and before is not None and before["finished_at"] is None and before["read"] >= 40_000

    path = path.rename(tmp_path / "renamed.csv.gz")
    said = run(database_url, str(path))
    assert f"Went on after line {before['lines']:,}, where it was interrupted" in said
    counts = connection.execute(
        "SELECT count(*) AS events, sum(quantity) AS quantity FROM landing.usage_events"
    ).fetchone()
    assert counts == {"events": ROWS, "quantity": sum(n % 7 for n in range(ROWS)) + ROWS // 2}
    after = connection.execute("SELECT * FROM landing.file_imports").fetchone()
    assert after is not None and after["finished_at"] and (after["read"], after["lines"]) == (ROWS, ROWS + 1)
    # At most what was committed and not yet noted each time is read again, and found to be there.
    assert after["accepted"] + after["duplicates"] == ROWS and after["duplicates"] <= kills * 20_000

    assert "was read before" in run(database_url, str(path)).lower()
    batches = value(connection, "SELECT count(*) FROM landing.batches")
    assert ["duplicate", f"{ROWS:,}"] in (line.split() for line in run(database_url, str(path), "--again").splitlines())
    assert value(connection, "SELECT count(*) FROM landing.batches") != batches
    assert value(connection, "SELECT count(*) FROM landing.usage_events") == ROWS


@pytest.mark.parametrize("kind", ["csv", "jsonl", "log", "parquet"])
def test_every_format_goes_on_at_the_right_row(
    landing: Landing, connection: Connection, tmp_path: Path, kind: str
) -> None:
    """The import ends where a piece can't land, as when PostgreSQL goes away; the next one reads only what is left."""
    mapping = None
    keys = [f"key-{n}" for n in range(100)]
    moment = "2026-10-01T00:00:00Z"
    path = tmp_path / f"usage.{kind}"
    if kind == "csv":
        path.write_text("team,event,time,idempotency_key\n" + "".join(f'acme,call,{moment},"{key}"\n' for key in keys))
    elif kind == "jsonl":
        path.write_text("".join(f'{{"team":"acme","event":"call","time":"{moment}","idempotency_key":"{key}"}}\n'
                                for key in keys))  # fmt: skip
    elif kind == "log":
        mapping = Mapping.load(Path(mapping_module.__file__).parent / "maps" / "access_log.yaml")
        path.write_text('192.0.2.1 - acme [01/Oct/2026:00:00:00 +0000] "GET / HTTP/1.1" 200 1\n' * len(keys))
    else:
        rows = {"team": ["acme"] * 100, "event": ["call"] * 100, "time": [moment] * 100, "idempotency_key": keys}
        pq.write_table(pa.table(rows), path, row_group_size=33)

    class Stop(Exception):
        pass

    def stop(*_: object) -> None:
        raise Stop

    with pytest.raises(Stop):
        import_file(landing, path, mapping, piece=30, progress=stop)
    tally = import_file(landing, path, mapping, piece=30)
    assert tally.resumed_at == (31 if kind == "csv" else 30)
    assert (tally.read, tally.accepted, tally.duplicate, tally.quarantined) == (70, 70, 0, 0)
    assert value(connection, "SELECT count(*) FROM landing.usage_events") == 100
    again = import_file(landing, path, mapping, piece=17, again=True)
    assert (again.accepted, again.duplicate) == (0, 100)


def test_another_map_reads_the_file_from_its_beginning(landing: Landing, tmp_path: Path) -> None:
    path = tmp_path / "usage.csv"
    path.write_bytes(csv_of(10))
    assert import_file(landing, path).accepted == 10
    fields = {"time": "time", "team": "team", "event": "event", "quantity": "quantity", "key": "idempotency_key"}
    other = import_file(landing, path, Mapping.model_validate({**fields, "key_prefix": "other-"}))
    assert (other.accepted, other.finished_before) == (10, False)


def test_a_file_is_imported_by_one_process_at_a_time(
    landing: Landing, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from metering.files import place

    monkeypatch.setattr(place, "_PATIENCE", 0.3)
    path = tmp_path / "usage.csv"
    path.write_bytes(csv_of(10))
    inside, done = threading.Event(), threading.Event()

    def hold(*_: object) -> None:
        inside.set()
        done.wait(20)

    def other() -> None:
        with_own = Landing.connect(database_url)
        import_file(with_own, path, progress=hold)
        with_own.close()

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(20)
    with pytest.raises(BillingError, match="is being imported by another process"):
        import_file(landing, path)
    done.set()
    thread.join()
    assert import_file(landing, path).finished_before


def test_many_files_are_imported_and_what_is_wrong_with_one_stops_no_other(
    landing: Landing, connection: Connection, database_url: str, tmp_path: Path
) -> None:
    for name, rows in (("a.csv", 10), ("b.csv", 20)):
        (tmp_path / name).write_bytes(csv_of(rows))
    (tmp_path / "aa.csv").write_text("colour\nred\n")
    process = start(database_url, str(tmp_path))
    said, complaint = process.communicate(timeout=60)
    assert process.returncode == 1 and "has no column 'team'" in complaint
    assert [line.split()[1:5] for line in said.splitlines() if ".csv" in line] == [
        ["10", "10", "0", "0"], ["20", "10", "10", "0"],
    ]  # fmt: skip
    assert value(connection, "SELECT count(*) FROM landing.usage_events") == 20


def test_two_processes_land_a_file_in_its_order_and_count_what_one_counts(
    landing: Landing, connection: Connection, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from metering.files import importer

    monkeypatch.setattr(importer, "WORTH_IT", 0)
    path = tmp_path / "usage.csv"
    # Each key comes twice, with another content: the first counts, though another process has the second.
    rows = [f"acme,call,{n},2026-10-01T00:00:00Z,key-{n % 500}\n" for n in range(1000)]
    rows[7] = "acme,call,1\n"
    path.write_text("team,event,quantity,time,idempotency_key\n" + "".join(rows))
    tally = import_file(landing, path, piece=100, url=database_url)
    assert (tally.read, tally.accepted, tally.duplicate, tally.quarantined) == (1000, 500, 0, 500)
    assert tally.reasons == {"conflict": 499, "invalid_row": 1}
    assert tally.examples[0] == (9, "invalid_row", "The row has 3 columns; the header has 5.")
    counted = value(connection, "SELECT sum(quantity) FROM landing.usage_events")
    assert counted == sum(range(500)) - 7 + 507
    assert value(connection, "SELECT read FROM landing.file_imports WHERE finished_at IS NOT NULL") == 1000


@pytest.mark.parametrize("by_processes", [False, True])
def test_an_import_that_is_asked_to_stop_goes_on_without_a_duplicate(
    landing: Landing,
    connection: Connection,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    by_processes: bool,
) -> None:
    from metering.files import importer

    monkeypatch.setattr(importer, "WORTH_IT", 0)
    path = tmp_path / "usage.csv"
    path.write_bytes(csv_of(1000))
    url = database_url if by_processes else None
    asked = iter([False] * 4 + [True])
    with pytest.raises(importer.Interrupted):
        import_file(landing, path, piece=100, url=url, stop=lambda: next(asked))
    place = connection.execute("SELECT read, duplicates, finished_at FROM landing.file_imports").fetchone()
    assert place == {"read": 400, "duplicates": 0, "finished_at": None}
    assert value(connection, "SELECT count(*) FROM landing.usage_events") == 400
    tally = import_file(landing, path, piece=100, url=url)
    assert (tally.read, tally.accepted, tally.resumed_at) == (600, 600, 401)


def test_two_processes_land_what_came_before_a_damage(
    landing: Landing, connection: Connection, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from metering.files import importer

    monkeypatch.setattr(importer, "WORTH_IT", 0)
    path = tmp_path / "usage.jsonl.gz"
    line = '{{"team":"acme","event":"call","time":"2026-10-01T00:00:00Z","idempotency_key":"key-{}"}}\n'
    # Two members, the second of which ends too early; the first has three pieces and a half.
    packed = [gzip.compress("".join(line.format(n) for n in range(a, b)).encode()) for a, b in ((0, 350), (350, 700))]
    path.write_bytes(packed[0] + packed[1][:20])
    with pytest.raises(BillingError, match="damaged or ends too early"):
        import_file(landing, path, piece=100, url=database_url)
    assert value(connection, "SELECT count(*) >= 350 FROM landing.usage_events") is True


def test_what_goes_wrong_in_a_process_of_the_import_is_told_and_the_place_is_kept(
    landing: Landing, connection: Connection, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from metering.files import importer

    monkeypatch.setattr(importer, "WORTH_IT", 0)
    path = tmp_path / "usage.csv"
    path.write_bytes(csv_of(1000))

    def end_the_processes(*_: object) -> None:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'billing-ingest'"
        )

    with pytest.raises(BillingError, match="stopped answering"):
        import_file(landing, path, piece=100, url=database_url, progress=end_the_processes)
    place = connection.execute("SELECT read, finished_at FROM landing.file_imports").fetchone()
    assert place is not None and 100 <= place["read"] < 1000 and place["finished_at"] is None
    tally = import_file(landing, path, piece=100, url=database_url)
    assert tally.read == 1000 - place["read"]
    assert value(connection, "SELECT count(*) FROM landing.usage_events") == 1000

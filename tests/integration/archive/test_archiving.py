"""A month leaves the table for files that are proved to hold it; nothing of it is lost, and nothing counts twice."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest

from metering import archive, runs
from metering.archive import files, months
from metering.database import connect
from metering.errors import BillingError

from .conftest import House, event


def test_what_is_in_the_files_is_what_was_in_the_table(used: House) -> None:
    rows = used.connection.execute(
        "SELECT * FROM landing.usage_events WHERE occurred_at < '2025-02-01Z' ORDER BY team_id, occurred_at, key_digest"
    ).fetchall()
    month = used.archive()
    assert month.state == "detached" and month.folder is not None and month.manifest is not None
    folder = Path(month.folder)
    manifest = json.loads((folder / "_manifest.json").read_text())
    assert manifest == month.manifest
    assert (manifest["rows"], manifest["quantity"]) == (len(rows), str(sum(row["quantity"] for row in rows)))
    assert {name: found["rows"] for name, found in manifest["events"].items()} == {
        name: sum(row["event_name"] == name for row in rows) for name in ("call", "storage")
    }
    table = pq.read_table(folder)
    for column in ("team_id", "occurred_at", "event_key", "quantity", "unit", "subject", "batch_id", "recorded_at"):
        assert table.column(column).to_pylist() == [row[column] for row in rows], column
    assert [json.loads(text) for text in table.column("properties").to_pylist()] == [row["properties"] for row in rows]
    assert archive.verify(used.connection, month) == manifest
    assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name]


def test_a_month_that_comes_back_is_the_same_row_for_row_dropped_or_not(used: House) -> None:
    before = used.events()
    month = used.archive()
    assert len(used.events()) == len(before) - month.rows > 0
    archive.restore(used.connection, month)
    assert used.events() == before and used.find().state == "restored"

    month = used.archive()
    archive.drop(used.connection, month)
    assert used.value("SELECT to_regclass('landing.archived_events_2025_01') IS NULL")
    archive.restore(used.connection, used.find())
    assert used.events() == before
    # It is a partition as it was before: new events land in it, by the same key and with the same indexes.
    (fact,), kept = used.land(event(1000, at="2025-01-15T00:00:00Z"))
    assert (fact.verdict, kept) == ("accepted", [])
    indexes = "SELECT count(*) FROM pg_indexes WHERE tablename = 'usage_events_2025_01'"
    assert used.value(indexes) == used.value(indexes.replace("_01", "_02"))


def test_an_event_of_an_archived_month_is_a_duplicate_and_a_new_one_waits_in_quarantine(used: House) -> None:
    used.archive()
    batch = [event(5), event(1000, at="2025-01-15T00:00:00Z"), event(1001, at="2025-02-15T00:00:00Z")]
    facts, kept = used.land(*batch)
    assert [fact.verdict for fact in facts] == ["duplicate", "quarantined", "accepted"]
    assert [reject.reason for reject in kept] == ["archived_month"]
    assert "Its month 2025-01 is archived; run `./billing archive restore 2025-01`" in kept[0].message
    facts, kept = used.land(event(5, quantity=7))
    assert [reject.reason for reject in kept] == ["conflict"]

    archive.restore(used.connection, used.find())
    facts, kept = used.land(*batch)
    assert [fact.verdict for fact in facts] == ["duplicate", "accepted", "duplicate"]


def test_a_month_that_is_not_closed_stays(used: House) -> None:
    used.connection.execute("UPDATE billing.billing_periods SET status = 'active', finalized_at = NULL"
                            " WHERE period_label = '2025-02' AND team_id = 2")  # fmt: skip
    # In India, February began in January.
    for name in ("2025-01", "2025-02"):
        with pytest.raises(BillingError, match="the bill of delhi for 2025-02 is not final"):
            used.archive(name)
    assert [month.month for month in archive.candidates(used.connection, 1)] == ["2025-03"]
    assert archive.candidates(used.connection, 1000) == archive.candidates(used.connection, 0) == []


def test_a_month_of_which_something_waits_to_be_metered_stays(used: House) -> None:
    used.land(event(1000, at="2025-01-15T00:00:00Z"))
    with pytest.raises(BillingError, match="events of it wait to be metered"):
        used.archive()
    run = runs.open_run(used.connection, "test")
    with pytest.raises(BillingError, match="quarter-hours of it wait"):
        used.archive()
    runs.close_run(used.connection, run)
    used.connection.execute(
        "INSERT INTO billing.holds (team_id, hold_key, gate, reason) VALUES (1, 'x', 'arrivals', 'x')"
    )
    with pytest.raises(BillingError, match="acme is on hold"):
        used.archive()
    used.connection.execute("UPDATE billing.holds SET released_at = now()")
    assert used.archive().state == "detached"


@pytest.mark.parametrize(
    ("metered", "said"), [(False, "events of it wait to be metered"), (True, "events of it came while it was")]
)
def test_an_event_that_comes_while_its_month_is_being_archived_keeps_it_in_place(
    used: House, monkeypatch: pytest.MonkeyPatch, metered: bool, said: str
) -> None:
    before, load = used.events(), files.load

    def late(*arguments: Any) -> None:
        load(*arguments)
        with connect(used.settings.database_url) as other:
            House(other, used.settings).land(event(1000, at="2025-01-15T00:00:00Z"))
            if metered:
                runs.close_run(other, runs.open_run(other, "test"))

    monkeypatch.setattr(files, "load", late)
    with pytest.raises(BillingError, match=said):
        used.archive()
    assert len(used.events()) == len(before) + 1 and used.find().state == "in place"


def test_files_that_are_not_what_they_were_are_noticed_and_nothing_is_dropped(used: House) -> None:
    month = used.archive()
    assert month.folder is not None
    (path,) = Path(month.folder).glob("*.parquet")
    good = path.read_bytes()
    path.write_bytes(good[:100] + b"x" + good[101:])
    for act in (archive.verify, archive.drop):
        with pytest.raises(BillingError, match="is not what its manifest says"):
            act(used.connection, month)
    path.unlink()
    with pytest.raises(BillingError, match="can't be read"):
        archive.drop(used.connection, month)
    assert used.find().state == "detached"
    # What the database still has can come back all the same.
    archive.restore(used.connection, month)
    month = used.archive()
    archive.drop(used.connection, month)
    shutil.move(month.folder, f"{month.folder}.away")
    with pytest.raises(BillingError, match="can't be read"):
        archive.restore(used.connection, used.find())
    assert used.find().state == "dropped"
    shutil.move(f"{month.folder}.away", month.folder)
    archive.restore(used.connection, used.find())


def test_a_row_that_changed_on_the_way_is_noticed_before_anything_is_taken_away(
    used: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, make = used.events(), files._table

    def spoil(rows: list[bytes]) -> Any:
        return make([row.replace(b"/1", b"/2", 1) for row in rows])

    monkeypatch.setattr(files, "_table", spoil)
    with pytest.raises(BillingError, match="is not what was archived: checksum"):
        used.archive()
    assert used.events() == before and used.find().state == "in place"


Act = Callable[[House, months.Month], object]
ACTS: dict[str, Act] = {
    "archive": lambda house, month: archive.archive(house.connection, month, house.settings.archive),
    "drop": lambda house, month: archive.drop(house.connection, month),
    "restore": lambda house, month: archive.restore(house.connection, month),
}


def _act_until(act: str, settings: Any, step: int) -> None:
    """In a process of its own: do it, and be killed at the given step, before or after it is done."""
    taken = 0

    def counted(function: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal taken
            taken += 1
            if taken == step:
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*arguments, **named)
            taken += 1
            if taken == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    with connect(settings.database_url) as connection:
        house = House(connection, settings)
        month = house.find()
        psycopg.Connection.execute = counted(psycopg.Connection.execute)  # type: ignore[method-assign]
        Path.rename = counted(Path.rename)  # type: ignore[method-assign]
        shutil.rmtree = counted(shutil.rmtree)  # type: ignore[assignment]
        files.sync = counted(files.sync)
        files.load = counted(files.load)
        ACTS[act](house, month)


def _until_the_server_has_noticed(house: House) -> None:
    """That its client is dead: until then it may hold the turn."""
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    while house.value(others):
        time.sleep(0.01)


def test_killed_at_any_step_nothing_is_lost_and_it_can_be_run_again(used: House) -> None:
    """Archived, dropped and restored, each killed before and after each of its steps until it comes through."""
    before = used.events()
    processes = multiprocessing.get_context("fork")
    kills = 0
    for act, after in (("archive", "detached"), ("drop", "dropped"), ("restore", "restored")):
        for step in range(1, 200):
            process = processes.Process(target=_act_until, args=(act, used.settings, step))
            process.start()
            process.join(60)
            _until_the_server_has_noticed(used)
            month = used.find()
            if process.exitcode == 0:
                break
            assert process.exitcode == -signal.SIGKILL
            kills += 1
            if month.archived:
                assert len(used.events()) == len(before) - month.rows
                assert used.value("SELECT to_regclass('landing.archived_events_2025_01') IS NOT NULL") == (
                    month.state == "detached"
                )
                archive.verify(used.connection, month)
            else:
                assert used.events() == before
            if month.state == after:
                break
        assert used.find().state == after
    assert kills > 30
    assert used.events() == before

"""What has died is named, whether anything else still runs or not; what was never started is no failure."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from metering.processes import status, supervisor
from metering.processes.ports import free_port
from metering.processes.supervisor import Component
from metering.settings import Settings

NAP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")  # they are meant to outlive us
def test_each_component_that_died_is_named_with_what_to_do(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, values={})
    fresh = status.collect(settings)
    assert (fresh["late"], fresh["remedy"]) == ([], "Nothing runs: start it with ./billing up")

    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "postmaster.pid").write_text(f"1\n{tmp_path}\n1000000000\n5499\n\n127.0.0.1\n 1 1\n")
    records = {
        name: supervisor.start(settings, Component(name, name, NAP)) for name in ("ingestion", "stripe-emulator")
    }
    try:
        records["ingestion"].process().kill()  # type: ignore[union-attr]  # it runs
        while records["ingestion"].process():
            pass
        found = status.collect(settings)
        named = [sentence.partition(" does not run")[0] for sentence in found["late"]]
        assert {"postgres", "ingestion"} < {*named}, "also the database"
        assert "stripe-emulator" not in named
        died = {part["name"] for part in found["components"] if part["died"]}
        assert died == {"postgres", "ingestion"}
        assert f"see {tmp_path}/logs/ingestion.log" in " ".join(found["late"])
        assert "./billing up" in found["remedy"]
    finally:
        for name in records:
            supervisor.stop(settings, name, 5)
    (tmp_path / "postgres" / "postmaster.pid").unlink()
    assert status.collect(settings)["late"] == [], "what was stopped has not died"


def test_what_a_component_writes_is_for_its_owner_alone(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, values={})
    write = [sys.executable, "-c", "open('made', 'w').close()"]
    supervisor.run_to_end(settings, Component("writer", "the writer", write))
    for path in (tmp_path / "made", tmp_path / "logs" / "writer.log"):
        assert path.stat().st_mode & 0o777 == 0o600


LEAVING = """
import signal, socket, sys, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
def leave(*_):
    listener.close()
    time.sleep(0.5)
    sys.exit()
signal.signal(signal.SIGTERM, leave)
print("listens", flush=True)
time.sleep(60)
"""


@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_what_was_asked_to_end_is_waited_for_and_does_not_count_as_running(tmp_path: Path) -> None:
    settings, port = Settings(home=tmp_path, values={}), free_port()
    part = Component("leaver", "the leaver", [sys.executable, "-c", LEAVING, str(port)], port=port)
    record = supervisor.start(settings, part)
    supervisor.wait_ready(part, record, 20)
    try:
        assert supervisor.stays(settings, part)
        record.process().terminate()  # type: ignore[union-attr]  # it runs
        assert not supervisor.stays(settings, part)
        assert not record.process()
    finally:
        supervisor.stop(settings, "leaver", 5)


def test_status_ends_with_what_it_found(tmp_path: Path) -> None:
    found = status.collect(Settings(home=tmp_path, values={}))
    assert status.exit_code(found) == 3
    found["components"][0]["running"] = True
    assert status.exit_code({**found, "remedy": None}) == 0
    assert status.exit_code({**found, "remedy": None, "late": ["Usage waits."]}) == 1

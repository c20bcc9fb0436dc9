"""The emulator as a process: its state, its clock, and what it says when it cannot start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

from .conftest import INCLUDE, Account, Emulator


def start(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "metering.stripe_emulator", *options],
        env={**os.environ, "PYTHONPATH": str(INCLUDE)},
        capture_output=True,
        text=True,
        timeout=20,
    )


def test_state_survives_a_killed_process(tmp_path: Path, refusal) -> None:
    first = Emulator(tmp_path / "state.sqlite")
    first.clock(Account.now)
    account = Account(first)
    account.send("25", "e1", key="k")
    first.process.send_signal(signal.SIGKILL)
    first.process.wait(10)
    first.stop()

    second = Emulator(tmp_path / "state.sqlite", "--api-key", "sk_test_suite")
    try:
        clock = second.admin("GET", "clock")
        assert clock["moved"]
        assert 0 <= clock["now"] - Account.now < 60
        account.client, account.emulator = second.client(), second
        assert account.total() == 25
        assert account.send("25", "e1", key="k").last_response.headers["idempotent-replayed"] == "true"
        assert "already exists" in str(refusal(account.send, "25", "e1"))
        assert second.http.post("/emulator/reset").status_code == 403
        assert refusal(second.client("sk_test_other").v1.customers.list).http_status == 401
        occupied = start("--port", "0", "--state", str(tmp_path / "state.sqlite"))
        assert occupied.returncode == 1
        assert "Another emulator is using the state file" in occupied.stderr
    finally:
        assert second.stop() == 0


def test_what_is_in_the_way_is_said_in_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = start("--port", str(port), "--state", str(tmp_path / "state.sqlite"))
    (tmp_path / "file").write_text("not a database, but long enough to be taken for one" * 100)
    broken = start("--port", "0", "--state", str(tmp_path / "file"))
    unwritable = start("--port", "0", "--state", str(tmp_path / "file" / "state.sqlite"))
    for result, said in ((refused, f"Port {port}"), (broken, "not a state file"), (unwritable, "cannot be written")):
        assert result.returncode == 1
        assert said in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_help_has_an_example() -> None:
    shown = start("--help")
    assert shown.returncode == 0
    assert "example:" in shown.stdout


def test_the_clock_moves_ticks_and_comes_back(emulator) -> None:
    emulator.clock(1_767_225_600)
    reply = emulator.http.get("/v1/customers", auth=("sk_test_a", ""))
    assert 0 <= parsedate_to_datetime(reply.headers["date"]).timestamp() - 1_767_225_600 < 30
    assert emulator.admin("POST", "clock", {"now": None})["moved"] is False
    assert abs(emulator.admin("GET", "clock")["now"] - time.time()) < 5
    assert emulator.http.post("/emulator/clock", json={"now": "tomorrow"}).status_code == 400


def test_state_is_counted(account) -> None:
    account.send("1", "e1")
    account.send("1", "e2", customer="cus_unknown")
    assert account.emulator.admin("GET", "state") == {
        "customers": 1,
        "meters": 1,
        "meter_events": 2,
        "meter_events_refused": 1,
        "meter_events_cancelled": 0,
    }
    assert account.emulator.admin("GET", "health")["ok"]

"""The emulator as a process: its state, its clock, and what it says when it cannot start."""

from __future__ import annotations

import resource
import signal
import socket
import sqlite3
import time
from contextlib import closing
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from metering.stripe_emulator.__main__ import main

from .conftest import Account, Emulator


def test_state_survives_a_killed_process(tmp_path: Path, refusal, capsys) -> None:
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
        assert main(["--port", "0", "--state", str(tmp_path / "state.sqlite")]) == 1
        assert "Another emulator is using the state file" in capsys.readouterr().err
        a_disk_that_is_full_loses_nothing(account, refusal)
    finally:
        assert second.stop() == 0


def a_disk_that_is_full_loses_nothing(account: Account, refusal) -> None:
    """No file of the process may grow for a while: what could not be kept was not acknowledged."""
    process = account.emulator.process.pid
    soft, hard = resource.prlimit(process, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    error = refusal(account.send, "5", "e2", key="k2")
    resource.prlimit(process, resource.RLIMIT_FSIZE, (soft, hard))
    assert error.http_status == 500
    assert "could not be written" in str(error)
    assert account.total() == 25
    account.send("5", "e2", key="k2")
    assert account.total() == 30


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("file", "file is not a state file of this emulator. Give another --state."),
        ("file/state.sqlite", "cannot be written (File exists). Give a --state in a folder you may write to."),
        ("old", "The state file has version 99, this emulator writes 2. Give another --state."),
    ],
)
def test_a_state_file_in_the_way_is_said_in_a_sentence(tmp_path: Path, capsys, state: str, said: str) -> None:
    (tmp_path / "file").write_text("not a database, but long enough to be taken for one" * 100)
    with closing(sqlite3.connect(tmp_path / "old")) as old:
        old.execute("PRAGMA user_version = 99")
    assert main(["--port", "0", "--state", str(tmp_path / state)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(said)


def test_a_port_in_use_is_said_in_a_sentence(tmp_path: Path, capsys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--port", str(port), "--state", str(tmp_path / "state.sqlite")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"Port {port} of 127.0.0.1 cannot be used (Address already in use). Stop what uses it")


def test_help_has_an_example(capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "example:" in capsys.readouterr().out


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
        "subscriptions": 0,
        "invoices": 0,
        "invoices_draft": 0,
        "events": 0,
        "deliveries_due": 0,
    }
    assert account.emulator.admin("GET", "health")["ok"]

"""A lock file: one process holds it, others are told who, and its death frees it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from metering.errors import BillingError
from metering.processes import lock
from metering.settings import PROJECT_ROOT

HOLD = """
import sys, time
from pathlib import Path
from metering.processes import lock
with lock.held(Path(sys.argv[1]), lambda holder: None):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock"


@pytest.fixture
def other(path: Path) -> Iterator[subprocess.Popen[str]]:
    environment = {"PYTHONPATH": str(PROJECT_ROOT / "include")}
    command = [sys.executable, "-P", "-c", HOLD, str(path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_who_comes_second_is_told_who_holds_it_and_may_refuse(path: Path, other: subprocess.Popen[str]) -> None:
    def refuse(holder: str) -> None:
        raise BillingError(f"Taken by {holder}.")

    with pytest.raises(BillingError, match=rf"Taken by process {other.pid}\."), lock.held(path, refuse):
        pass
    other.kill()
    other.wait()
    with lock.held(path, refuse):
        assert path.read_text() != str(other.pid)


def test_who_waits_for_it_can_give_up(path: Path, other: subprocess.Popen[str]) -> None:
    told: list[str] = []
    given_up = threading.Event()
    threading.Timer(0.3, given_up.set).start()
    with pytest.raises(BillingError, match="no longer waited for"), lock.held(path, told.append, given_up):
        pass
    assert told == [f"process {other.pid}"]

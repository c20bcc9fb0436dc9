"""One running system for all acceptance tests of a session: really started, and really stopped at its end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from metering import settings as settings_module
from metering.processes.ports import free_port
from metering.settings import PROJECT_ROOT, Settings

PORTS = ("POSTGRES", "AIRFLOW", "INGESTION", "STRIPE_EMULATOR")


@dataclass(frozen=True)
class Installation:
    """A home of its own on ports of its own, and the command line to use it with."""

    home: Path
    environment: dict[str, str]
    said: str = ""
    """What `up` printed."""

    def billing(self, *arguments: str, timeout: float = 300, **more: str) -> subprocess.CompletedProcess[str]:
        """Call the command line with this installation's environment, and `more`."""
        return subprocess.run(
            [sys.executable, "-P", "-m", "metering.cli", *arguments],
            env={**os.environ, **self.environment, **more},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def begun(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin a call of the command line; its outputs are pipes."""
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "metering.cli", *arguments],
            env={**os.environ, **self.environment},
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return settings_module.load({**os.environ, **self.environment})

    def status(self) -> dict[str, Any]:
        """What `status --json` tells."""
        return dict(json.loads(self.billing("status", "--json").stdout))

    def processes(self) -> dict[str, int]:
        """The process number of each component that runs."""
        return {part["name"]: part["pid"] for part in self.status()["components"] if part["running"]}


def new_installation() -> Installation:
    """A home and free ports; nothing is started."""
    home = Path(tempfile.mkdtemp(prefix="billing acceptance "))
    environment = {f"BILLING_{name}_PORT": str(free_port()) for name in PORTS}
    environment |= {"BILLING_HOME": str(home / "home"), "PYTHONPATH": str(PROJECT_ROOT / "include")}
    return Installation(home / "home", environment)


@pytest.fixture
def installation() -> Iterator[Installation]:
    """An installation that has never run; whatever a test starts in it is stopped."""
    made = new_installation()
    yield made
    made.billing("down")
    shutil.rmtree(made.home.parent)


@pytest.fixture(scope="session")
def running_system() -> Iterator[Installation]:
    """The whole system, started once: `up` must succeed, and at the end `down` must leave nothing."""
    made = new_installation()
    try:
        up = made.billing("up")
        assert up.returncode == 0, up.stderr
        yield Installation(made.home, made.environment, up.stdout + up.stderr)
        processes = made.processes()
        down = made.billing("down")
        assert down.returncode == 0, down.stderr
        assert all(name in down.stdout for name in processes), down.stdout
        assert not [name for name, pid in processes.items() if _alive(pid)]
        assert not any(part["running"] for part in made.status()["components"])
        again = made.billing("down")
        assert (again.returncode, again.stdout) == (0, "Nothing was running.\n")
        assert (made.home / "postgres" / "PG_VERSION").exists(), "what is stored stays"
    finally:
        made.billing("down")
        shutil.rmtree(made.home.parent)


def _alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False

"""The real ingestion service as a process, to be killed at will."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx

from metering.processes.ports import free_port
from metering.settings import PROJECT_ROOT


class Service:
    """One process of the service, always on the same port."""

    def __init__(self, database_url: str, log: Path) -> None:
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self._log = log
        self._environment = {
            **os.environ, "DATABASE_URL": database_url, "PYTHONPATH": str(PROJECT_ROOT / "include"),
            "BILLING_HOME": str(log.parent),
        }  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, if it does not run; don't wait for it."""
        if self._process is None or self._process.poll() is not None:
            with self._log.open("ab") as output:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "metering.ingestion", "--port", str(self.port)],
                    env=self._environment,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )

    def wait_ready(self, seconds: float = 60) -> None:
        """Wait until it says that it can commit."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self._process is not None
            assert self._process.poll() is None, self.log()
            try:
                if httpx.get(f"{self.address}/health", timeout=5, trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"The service is not ready:\n{self.log()}")

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """kill -9, in the middle of whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def log(self) -> str:
        """The end of its log."""
        return self._log.read_text(errors="replace")[-4000:]

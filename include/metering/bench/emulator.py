"""The Stripe emulator as a process of its own, with its admin routes, for what is measured and tried against it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import urllib3

from metering.errors import BillingError


class Emulator:
    """A running emulator that keeps its state in `home`. Its clock stands where the clock of `set_clock` was put."""

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        """Plan one; `environment` is what its process is told."""
        self._state = home / "stripe.sqlite"
        # It tells of each client that left in the middle, and here they are killed.
        self._log = (home / "emulator.log").open("wb")
        self._environment = dict(environment)
        self._pool = urllib3.PoolManager(maxsize=4, timeout=10.0, retries=False)
        self.url: str

    def __enter__(self) -> Self:
        """Start it on a free port."""
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "metering.stripe_emulator",
                "--port",
                "0",
                "--state",
                str(self._state),
                "--allow-reset",
            ],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=self._environment,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if " at " not in line:
            self._process.wait(10)
            raise BillingError("The Stripe emulator did not start.", "See whether `./billing up` does.")
        self.url = line.split(" at ")[1].split(",")[0]
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        """Stop it."""
        self._pool.clear()
        self._process.terminate()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._log.close()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def get(self, path: str) -> Any:
        """Ask one of the emulator's own routes."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: object) -> Any:
        """Tell one of the emulator's own routes something."""
        return self._ask("POST", path, body)

    def clear_faults(self) -> None:
        """No more faults."""
        self._ask("DELETE", "faults", None)

    def set_clock(self, moment: datetime) -> None:
        """Put the clock of Stripe's side somewhere; it goes on from there."""
        self.post("clock", {"now": int(moment.timestamp())})

    def _ask(self, method: str, path: str, body: object) -> Any:
        reply = self._pool.request(
            method, f"{self.url}/emulator/{path}", body=None if body is None else json.dumps(body).encode()
        )
        if reply.status != 200:
            raise BillingError(f"The emulator says {reply.status}: {reply.data.decode(errors='replace')[:300]}", "")
        return json.loads(reply.data)

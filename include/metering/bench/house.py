"""A house for one measurement: a PostgreSQL and a service of its own in a temporary home, gone when it is over."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import psutil
import psycopg
from psycopg.rows import DictRow

from metering import database, migrate, statements
from metering.bench.workload import EVENT, TEAMS
from metering.errors import BillingError
from metering.ingestion.keys import create_api_key
from metering.processes import postgres
from metering.processes.ports import free_port
from metering.settings import PROJECT_ROOT

SQL = statements.beside(__file__, "bench")
PATIENCE = 60
"""Seconds that the service may take to be ready."""


@dataclass(frozen=True)
class Memory:
    """Resident memory of a process and those that it has started, in bytes, while something was measured."""

    start: int
    peak: int
    end: int


class House:
    """PostgreSQL as in production (`fsync`, `synchronous_commit`), migrated, with teams, a meter and an API key."""

    def __init__(self, *, service: bool = True, processes: int = 1, durable: bool = True) -> None:
        """Plan a house; without `service`, the ingestion service, of so many processes, and its needs are left out.

        Where speed is not measured and no power is cut, it need not be `durable`: then commits don't wait for the disk.
        """
        self._configuration = {} if durable else {"fsync": "off", "full_page_writes": "off", "shared_buffers": "128MB"}
        self._with_service = service
        self._processes = processes
        self.home: Path
        self.url: str
        self.connection: psycopg.Connection[DictRow]

    def __enter__(self) -> Self:
        """Start PostgreSQL and the service."""
        self.home = Path(tempfile.mkdtemp(prefix="billing-bench-"))
        self._service: subprocess.Popen[bytes] | None = None
        try:
            port, password = free_port(), secrets.token_urlsafe(12)
            postgres.start(self.home / "postgres", port, password, configuration=self._configuration)
            server = postgres.url(port, password)
            self.url = postgres.url(port, password, "billing")
            postgres.ensure_database(server, "billing")
            migrate.migrate(self.url)
            self.connection = database.connect(self.url, application="billing-bench")
            if self._with_service:
                self.connection.execute(SQL["make_teams"], {"teams": TEAMS})
                self.connection.execute(SQL["make_meter"], {"event": EVENT})
                self.key = create_api_key(self.connection)
                self._start_service()
        except BaseException:
            self._clear()
            raise
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        """Stop both, and leave nothing behind."""
        self._clear()

    @property
    def environment(self) -> dict[str, str]:
        """What programs of this house are told."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BILLING_")}
        return {
            **kept,
            "BILLING_HOME": str(self.home),
            "DATABASE_URL": self.url,
            "PYTHONPATH": str(PROJECT_ROOT / "include"),
        }

    def empty(self) -> None:
        """Empty the tables, and let PostgreSQL write what it has to."""
        self.connection.execute(SQL["empty"])
        self.connection.execute(SQL["settle"])

    def landed(self) -> dict[str, Any]:
        """How many events, keys and accepted events of batches there are."""
        return database.one(self.connection, SQL["landed"])

    def watch_service(self) -> Watch:
        """Watch the service's memory."""
        assert self._service is not None
        return Watch(self._service.pid)

    def _start_service(self) -> None:
        self.port = free_port()
        log = self.home / "service.log"
        with log.open("wb") as output:
            self._service = subprocess.Popen(
                [
                    *(sys.executable, "-m", "metering.ingestion"),
                    *("--port", str(self.port), "--processes", str(self._processes)),
                ],
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and self._service.poll() is None:
            try:
                if httpx.get(f"http://127.0.0.1:{self.port}/health").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)
        said = log.read_text(errors="replace").strip().splitlines()[-1:] or ["It said nothing."]
        raise BillingError(f"The ingestion service did not start: {said[0]}", "See whether `./billing up` does.")

    def _clear(self) -> None:
        if self._service is not None and self._service.poll() is None:
            self._service.terminate()
            try:
                self._service.wait(30)
            except subprocess.TimeoutExpired:
                self._service.kill()
                self._service.wait()
        if hasattr(self, "connection"):
            self.connection.close()
        postgres.stop(self.home / "postgres")
        shutil.rmtree(self.home, ignore_errors=True)


class Watch:
    """Reads the resident memory of a process, and of those that it has started, ten times a second."""

    def __init__(self, pid: int) -> None:
        """Begin to watch."""
        self._process = psutil.Process(pid)
        self._start = self._peak = self._end = self._resident()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def end(self) -> Memory:
        """Stop watching, and tell."""
        self._over.set()
        self._thread.join()
        self._look_once()
        return Memory(self._start, self._peak, self._end)

    def _look(self) -> None:
        while not self._over.wait(0.1):
            self._look_once()

    def _look_once(self) -> None:
        resident = self._resident()
        if resident:  # a process that has ended has none
            self._end, self._peak = resident, max(self._peak, resident)

    def _resident(self) -> int:
        found = 0
        with contextlib.suppress(psutil.Error):
            for process in (self._process, *self._process.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    found += int(process.memory_info().rss)
        return found

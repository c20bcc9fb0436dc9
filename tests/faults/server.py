"""A PostgreSQL server of its own, durable as the product sets it up, to be killed at will."""

from __future__ import annotations

import ctypes
import random
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import psycopg

from metering.errors import BillingError
from metering.processes import postgres

PATIENCE = 60.0
SMALL = {"shared_buffers": "64MB", "max_connections": "60", "max_wal_size": "256MB"}


PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans(yes: bool) -> None:
    """Have processes whose parent ended become children of this one, on Linux.

    A killed server is gone once its parent has taken note of it. That is the first process of the system, some of which
    take seconds; here it is us.
    """
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, int(yes), 0, 0, 0)


class Server:
    """The server of a data directory: started, killed with -9 in the middle of its work, and started again."""

    def __init__(self, home: Path, port: int, password: str, *, log: Path, **configuration: str) -> None:
        self.data, self.port, self.password, self.log = home / "postgres", port, password, log
        self.configuration = {**SMALL, **configuration}

    @property
    def url(self) -> str:
        return postgres.url(self.port, self.password, "billing")

    @property
    def runs(self) -> bool:
        return postgres.running(self.data) is not None

    def copy_from(self, prepared: Path) -> None:
        """Begin with a copy of the data directory of a server that was stopped, with its owner."""
        subprocess.run(["cp", "-a", str(prepared), str(self.data)], check=True)
        # What a power cut may take is what the server wrote, not what we copied.
        subprocess.run(["sync", "-f", str(self.data)], check=True)

    def start(self) -> None:
        """Start it unless it runs, and wait until it has recovered and takes connections."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                postgres.start(self.data, self.port, self.password, log=self.log, configuration=self.configuration)
                psycopg.connect(self.url, connect_timeout=5).close()
                return
            except (BillingError, psycopg.OperationalError):
                # What a killed server leaves behind needs a moment to notice: until then its memory is in use.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def kill(self, rng: random.Random) -> str:
        """kill -9 the postmaster, a client's backend or any other of its processes; return its title."""
        family = self.family()
        backends = [process for process in family[1:] if " billing " in _title(process)]
        victim = rng.choice([family[:1], backends or family[1:], family[1:]])
        process = rng.choice(victim or family[:1])
        title = _title(process)
        process.kill()
        if process == family[0]:
            psutil.wait_procs([process], timeout=PATIENCE)
        return title

    def kill_all(self, family: Sequence[psutil.Process] = ()) -> None:
        """kill -9 every process of it (or of a `family` known before) at once, and wait until none is left."""
        family = family or self.family()
        for process in family:
            _kill(process)
        psutil.wait_procs(family, timeout=PATIENCE)

    def stop(self) -> None:
        """Stop it in peace, if it runs."""
        postgres.stop(self.data)

    def remove(self) -> None:
        """End it and remove its data."""
        self.kill_all()
        shutil.rmtree(self.data, ignore_errors=True)

    def family(self) -> list[psutil.Process]:
        """Its processes, the postmaster first; none where it does not run."""
        found = postgres.running(self.data)
        try:
            postmaster = psutil.Process(found.pid) if found else None
            return [postmaster, *postmaster.children(recursive=True)] if postmaster else []
        except psutil.NoSuchProcess:
            return []


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()).strip()
    except psutil.Error:
        return ""


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return

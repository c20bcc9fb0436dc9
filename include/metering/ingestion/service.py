"""What all operations of the service share: connections, the door, the queue, the catalog, the bodies in hand."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator

from starlette.applications import Starlette

from metering.ingestion.access import Door
from metering.ingestion.catalog import Catalog
from metering.ingestion.landing import Landing
from metering.ingestion.logs import Throttle, log
from metering.ingestion.metrics import Metrics
from metering.ingestion.queue import AT_ONCE, GroupCommit
from metering.ingestion.request_body import Bodies
from metering.ingestion.worker import Unavailable, Worker
from metering.reading.crew import Crew
from metering.reading.remembered import Remembered

PROVEN_SECONDS = 1.0
"""How long it is believed that events can be committed, or can't."""
FAILED_SECONDS = 5.0
"""How long a failure to commit events is believed to go on, where none were committed since."""


class Service:
    """What the operations share."""

    def __init__(self, url: str, *, max_waiting: int | None = None, metrics: Metrics | None = None) -> None:
        """Land events in the database at `url`; by default nobody collects `metrics`."""
        self.metrics = metrics or Metrics()
        self.lander = Worker(url, "billing-ingestion", connections=AT_ONCE)
        self.reader = Worker(url, "billing-ingestion-reader")
        # What takes long, or what many ask for, never keeps those waiting who send.
        self.readers = Crew(url, "billing-reading", hands=3)
        self.menders = Crew(url, "billing-quarantine", hands=1)
        self.reports = Remembered()
        self.door = Door(self.reader)
        self.queue = GroupCommit(self.lander, **({} if max_waiting is None else {"max_waiting": max_waiting}))
        self.bodies = Bodies()
        self.refusals = Throttle()
        self._catalog: Catalog | None = None
        self._catalog_lock = asyncio.Lock()
        self._proven: tuple[float, str | None] | None = None
        self._proving = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Run the group commit as long as the service runs."""
        landing = asyncio.create_task(self.queue.run())
        gauges = {
            "queue.events": lambda: float(self.queue.waiting),
            "bodies.bytes": lambda: float(self.bodies.bytes_held),
        }
        log(logging.INFO, "started")
        try:
            async with self.metrics.running(gauges):
                yield
        finally:
            landing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await landing
            await self.lander.close()
            await self.reader.close()
            await self.readers.close()
            await self.menders.close()
            log(logging.INFO, "stopped")

    async def catalog(self, max_age: float) -> Catalog:
        """The teams and meters as they were at most `max_age` seconds ago; raises `Unavailable`."""
        if self._catalog is None or self._catalog.age > max_age:
            async with self._catalog_lock:
                if self._catalog is None or self._catalog.age > max_age:
                    self._catalog = await self.reader.run(lambda landing: Catalog.load(landing.connection))
        return self._catalog

    def catalog_now(self, max_age: float) -> Catalog | None:
        """The same, where it is at hand."""
        return self._catalog if self._catalog is not None and self._catalog.age <= max_age else None

    async def obstacle(self) -> str | None:
        """Why events can't be committed, or None where they can, as of a second ago at most."""
        failed_at = self.queue.failed_at
        if failed_at is not None and time.monotonic() - failed_at < FAILED_SECONDS:
            # A small proof may go through where events don't: on a disk with room for the log and none for tables.
            return "PostgreSQL could not commit events a moment ago."
        async with self._proving:
            if self._proven is None or time.monotonic() - self._proven[0] > PROVEN_SECONDS:
                self._proven = (time.monotonic(), await self._failure())
        return self._proven[1]

    async def _failure(self) -> str | None:
        try:
            await self.reader.run(Landing.prove_commit)
        except Unavailable as error:
            return str(error)
        return None

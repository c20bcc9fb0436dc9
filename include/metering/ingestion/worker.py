"""Connections on threads of their own, for a program that otherwise never waits.

The landing code is the same for the service and for files, and plain; the service runs it here, so that requests are
decoded while PostgreSQL works. A connection that broke is opened again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

import psycopg

from metering.errors import BillingError
from metering.ingestion.landing import Landing
from metering.ingestion.logs import log

Result = TypeVar("Result")

RETRY_AFTER = 2
"""Seconds after which a sender may try again when PostgreSQL was away."""


class Unavailable(Exception):
    """PostgreSQL can't be reached or can't commit; what was asked for may or may not have been committed."""


class _Slot:
    """A place for one connection."""

    landing: Landing | None = None


class Worker:
    """Runs functions on a few connections, one at a time on each; a connection that broke is opened again."""

    def __init__(self, url: str, application: str, *, connections: int = 1) -> None:
        """Connect to `url`, up to so many times, when first needed."""
        self._url = url
        self._application = application
        self._threads = ThreadPoolExecutor(connections, thread_name_prefix=application)
        self._slots = [_Slot() for _ in range(connections)]
        self._free: SimpleQueue[_Slot] = SimpleQueue()
        for slot in self._slots:
            self._free.put(slot)

    async def run(self, function: Callable[[Landing], Result]) -> Result:
        """Run `function` on a connection; raises `Unavailable`.

        Where the connection breaks, `function` is run once more on a new one: it must be safe to run again.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, function)

    async def close(self) -> None:
        """Wait for what runs and close the connections."""
        await asyncio.to_thread(self._threads.shutdown)
        for slot in self._slots:
            _drop(slot)

    def _run(self, function: Callable[[Landing], Result]) -> Result:
        slot = self._free.get()
        try:
            return self._run_on(slot, function)
        finally:
            self._free.put(slot)

    def _run_on(self, slot: _Slot, function: Callable[[Landing], Result]) -> Result:
        fresh = slot.landing is None
        while True:
            try:
                return function(self._open(slot))
            except BillingError as error:
                raise Unavailable(str(error)) from error
            except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction) as error:
                broken = slot.landing is None or slot.landing.connection.closed
                log(logging.WARNING, "database_failed", error=error, connection_lost=bool(broken), state=error.sqlstate)
                _drop(slot)
                if fresh or not broken:
                    raise Unavailable("PostgreSQL can't commit at the moment.") from error
                fresh = True

    def _open(self, slot: _Slot) -> Landing:
        if slot.landing is None or slot.landing.connection.closed:
            slot.landing = Landing.connect(self._url, self._application)
        return slot.landing


def _drop(slot: _Slot) -> None:
    if slot.landing is not None:
        slot.landing.close()
        slot.landing = None

"""A connection on a thread of its own, for a program that otherwise never waits.

The landing code is the same for the service and for files, and plain; the service runs it here, so that requests are
decoded while PostgreSQL works. A connection that broke is opened again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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


class Worker:
    """Runs functions one after the other on one connection, reopened when it broke."""

    def __init__(self, url: str, application: str) -> None:
        """Connect to `url` when first needed."""
        self._url = url
        self._application = application
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=application)
        self._landing: Landing | None = None

    async def run(self, function: Callable[[Landing], Result]) -> Result:
        """Run `function` on the connection; raises `Unavailable`.

        Where the connection breaks, `function` is run once more on a new one: it must be safe to run again.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, function)

    async def close(self) -> None:
        """Wait for what runs and close the connection."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._drop)
        self._thread.shutdown()

    def _run(self, function: Callable[[Landing], Result]) -> Result:
        fresh = self._landing is None
        while True:
            try:
                landing = self._open()
                return function(landing)
            except BillingError as error:
                raise Unavailable(str(error)) from error
            except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction) as error:
                broken = self._landing is None or self._landing.connection.closed
                log(logging.WARNING, "database_failed", error=error, connection_lost=bool(broken), state=error.sqlstate)
                self._drop()
                if fresh or not broken:
                    raise Unavailable("PostgreSQL can't commit at the moment.") from error
                fresh = True

    def _open(self) -> Landing:
        if self._landing is None or self._landing.connection.closed:
            self._landing = Landing.connect(self._url, self._application)
        return self._landing

    def _drop(self) -> None:
        if self._landing is not None:
            self._landing.close()
            self._landing = None

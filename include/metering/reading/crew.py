"""A few connections, each on a thread of its own, that do what may take long; who asks takes the next that is free."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TypeVar, cast

import psycopg
from psycopg.rows import DictRow

from metering.errors import BillingError
from metering.ingestion.landing import Landing
from metering.ingestion.logs import log
from metering.ingestion.replies import Refusal
from metering.ingestion.worker import Worker

Result = TypeVar("Result")

MAX_WAITING = 64
"""Requests that may wait for a connection."""


class Crew:
    """A bounded number of workers, and of those who wait for one."""

    def __init__(self, url: str, application: str, *, hands: int) -> None:
        """Connect to `url`, when first needed, `hands` times."""
        self._workers = [Worker(url, application) for _ in range(hands)]
        self._idle: asyncio.LifoQueue[Worker] = asyncio.LifoQueue()
        for worker in self._workers:
            self._idle.put_nowait(worker)
        self._waiting = 0

    async def run(
        self, function: Callable[[psycopg.Connection[DictRow]], Result], *, has_begun: bool = False
    ) -> Result:
        """Run `function` on a connection in autocommit mode, which must be safe to do twice: see `Worker.run`.

        Raises what `function` raises, `Refusal` where too many wait (never of a reply that `has_begun`) or it takes
        longer than a statement may, `Unavailable` where PostgreSQL is away.
        """
        return await self.land(lambda landing: function(landing.connection), has_begun=has_begun)

    async def land(self, function: Callable[[Landing], Result], *, has_begun: bool = False) -> Result:
        """The same, for a function that lands events."""
        if self._waiting >= MAX_WAITING and not has_begun:
            raise Refusal(429, "busy", "Too many questions wait for an answer. Ask again.", retry_after=1)
        self._waiting += 1
        try:
            worker = await self._idle.get()
        finally:
            self._waiting -= 1
        try:
            result, mistake = await worker.run(lambda landing: _attempt(function, landing))
        finally:
            self._idle.put_nowait(worker)
        if mistake is not None:
            raise mistake
        return cast(Result, result)

    async def close(self) -> None:
        """Wait for what runs and close the connections."""
        for worker in self._workers:
            await worker.close()


def _attempt(function: Callable[[Landing], Result], landing: Landing) -> tuple[Result | None, BillingError | None]:
    """The result, or what is wrong with the question: raised on the worker's thread, that would mean an outage."""
    try:
        return function(landing), None
    except BillingError as mistake:
        return None, mistake
    except psycopg.errors.QueryCanceled:
        message = "The answer took too long to find. Ask for a shorter time, or for less at once."
        raise Refusal(503, "too_slow", message, retry_after=10) from None
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
        log(logging.ERROR, "not_deployed", error=error)
        message = "What this is read from has not been built yet; whoever runs the system has to deploy it."
        raise Refusal(503, "not_deployed", message, retry_after=10) from None

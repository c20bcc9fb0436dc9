"""Group commit: all requests that wait are landed together, in one transaction.

The queue is bounded by events. Whoever finds it full is told so at once and comes again later; nothing is buffered
without bound, and nothing that was not committed is acknowledged.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque

from metering.ingestion.events import Reject, Sorted
from metering.ingestion.landing import Landing
from metering.ingestion.logs import log
from metering.ingestion.worker import Worker

MAX_WAITING = 50_000
"""Events that may wait for their commit."""
GROUP = 4_000
"""Events after which a transaction takes no further request: so that requests are judged while others are committed."""
AT_ONCE = 2
"""Transactions at once: connections that the worker needs."""
WORTHWHILE = 24
"""Events that have to wait for a transaction to begin beside another."""


class QueueFull(Exception):
    """As many events wait as may."""


class GroupCommit:
    """Lands the events of many requests in few transactions."""

    def __init__(self, worker: Worker, *, max_waiting: int = MAX_WAITING, group: int = GROUP) -> None:
        """Land on `worker`'s connection."""
        self._worker = worker
        self._max_waiting = max_waiting
        self._group = group
        self._requests: deque[tuple[Sorted, asyncio.Future[list[Reject]]]] = deque()
        self._queued = 0  # events of these requests
        self._under_way: set[asyncio.Task[None]] = set()
        self._runs = self._soon = False
        self.waiting = 0
        """Events of requests that are neither committed nor failed."""
        self.failed_at: float | None = None
        """When a transaction failed (monotonic seconds), if none has been committed since."""

    @property
    def full(self) -> bool:
        """Whether nothing more can wait."""
        return self.waiting >= self._max_waiting

    def check_room(self) -> None:
        """Raise `QueueFull` where nothing more can wait, before any work is done on a request."""
        if self.full:
            raise QueueFull

    async def land(self, events: Sorted) -> list[Reject]:
        """Return what is in quarantine of these events once all of them are committed.

        Raises `QueueFull` or `Unavailable`.
        """
        return await self.enqueue(events)

    def enqueue(self, events: Sorted) -> asyncio.Future[list[Reject]]:
        """Begin to `land`; raises `QueueFull`."""
        count = len(events)
        if self.waiting and self.waiting + count > self._max_waiting:
            raise QueueFull
        loop = asyncio.get_running_loop()
        done: asyncio.Future[list[Reject]] = loop.create_future()
        self.waiting += count
        self._requests.append((events, done))
        self._queued += count
        done.add_done_callback(lambda _: self._leave(count))
        # Not at once: what else has arrived by now goes with it.
        if not self._soon:
            self._soon = True
            loop.call_soon(self._begin)
        return done

    def _leave(self, count: int) -> None:
        self.waiting -= count

    async def run(self) -> None:
        """Land what arrives until cancelled."""
        self._runs = True
        self._begin()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._runs = False
            await asyncio.gather(*self._under_way, return_exceptions=True)

    def _begin(self) -> None:
        """Begin as many transactions as there should be: one, and a second only for what is worth a commit of its own.

        The second keeps PostgreSQL at work while this process prepares or PostgreSQL's disk makes the first durable.
        """
        self._soon = False
        while self._runs and self._requests:
            beside = len(self._under_way)
            if beside == AT_ONCE or (beside and self._queued < WORTHWHILE):
                return
            group = self._next_group()
            if group:
                task = asyncio.create_task(self._land(group))
                self._under_way.add(task)
                task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._begin()

    def _next_group(self) -> list[tuple[Sorted, asyncio.Future[list[Reject]]]]:
        group: list[tuple[Sorted, asyncio.Future[list[Reject]]]] = []
        size = 0
        while self._requests and (not group or size + len(self._requests[0][0]) <= self._group):
            request = self._requests.popleft()
            self._queued -= len(request[0])
            if not request[1].cancelled():  # its sender has gone, and was told nothing
                group.append(request)
                size += len(request[0])
        return group

    async def _land(self, group: list[tuple[Sorted, asyncio.Future[list[Reject]]]]) -> None:
        facts = [events.facts for events, _ in group if len(events.facts)]
        rejects: list[Reject] = [reject for events, _ in group for reject in events.rejects]
        started = time.perf_counter()

        def work(landing: Landing) -> list[Reject]:
            return landing.land_group("http", facts, rejects)

        try:
            kept = await self._worker.run(work)
        except Exception as error:
            self.failed_at = time.monotonic()
            for _, done in group:
                if not done.done():
                    done.set_exception(error)
            return
        self.failed_at = None
        by_origin: dict[int, list[Reject]] = {}
        for reject in kept:
            by_origin.setdefault(id(reject.origin), []).append(reject)
        for events, done in group:
            if not done.done():
                done.set_result(by_origin.get(id(events.origin), []))
        tallies = [part.tally() for part in facts]
        log(
            logging.INFO,
            "landed",
            requests=len(group),
            accepted=sum(tally["accepted"] for tally in tallies),
            duplicate=sum(tally["duplicate"] for tally in tallies),
            quarantined=len(kept),
            waiting=self.waiting,
            seconds=round(time.perf_counter() - started, 4),
        )

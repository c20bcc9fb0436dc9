"""The synchronous client: `track` hands an event over, a thread of its own sends it."""

from __future__ import annotations

import atexit
import json
import logging
import threading
import time as clock
import weakref
from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import httpx

from usage_client.buffer import Buffer
from usage_client.events import Event, Quantity, make_event
from usage_client.retry import RETRIED, RetryPolicy
from usage_client.tally import Books, FailedBatch, Rejection, Tally

log = logging.getLogger("usage_client")

PATH = "/api/usage/track"


class UsageClientError(Exception):
    """Something was not delivered: raised by `flush` and `close` where the application asked for it."""


class UsageClient:
    """Sends usage events in batches, by count and by time, and retries until the service has answered for each.

    Nothing of it raises into the application or blocks it, unless it asks: with `raise_errors`, `track` raises for
    what is no event, and `flush` and `close` raise `UsageClientError` for what was not delivered; with `wait_for_room`,
    `track` waits where `max_pending` events are on their way, instead of dropping (and counting) the new one.

    Safe to use from many threads. Batches leave in the order in which events were tracked, one at a time; with more
    than one of `connections`, that many are on their way at once, and their order is the network's.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        team: str | None = None,
        batch_size: int = 1000,
        connections: int = 1,
        flush_seconds: float = 5.0,
        max_pending: int = 100_000,
        max_kept: int = 100_000,
        wait_for_room: bool = False,
        raise_errors: bool = False,
        retry: RetryPolicy | None = None,
        timeout: float = 30.0,
        http: httpx.Client | None = None,
    ) -> None:
        """`team` stands in events that name none; `timeout` is that of one request, in seconds.

        `http` is used instead of a client of our own, and is not closed.
        """
        self._address = url.rstrip("/") + PATH
        self._headers = {
            "authorization": f"Bearer {api_key}",
            "content-type": "application/json",
            "prefer": "return=minimal",
        }
        self._team = team
        self._connections = connections
        self._wait_for_room = wait_for_room
        self._raise = raise_errors
        self._retry = retry or RetryPolicy()
        self._http = http or httpx.Client(timeout=timeout)
        self._owns_http = http is None
        self._buffer = Buffer(batch_size, flush_seconds, max_pending)
        self._books = Books(max_kept)
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        self._threads: tuple[threading.Thread, ...] = ()
        self._told_of_drops = False
        # The interpreter's end flushes what is pending, and keeps no client alive that nobody holds any more.
        reference = weakref.ref(self)
        self._at_exit = lambda: _close(reference)
        atexit.register(self._at_exit)

    # What the application does -------------------------------------------------------------------------------------

    def track(
        self,
        event: str,
        quantity: Quantity = 1,
        *,
        team: str | None = None,
        unit: str | None = None,
        time: datetime | str | None = None,
        subject: str | None = None,
        properties: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> str | None:
        """Hand an event over and return its key, or None where it was dropped (then it is counted as such).

        The quantity is a Decimal, an int or text, never a float; the time (default: now) is aware or RFC 3339 text. The
        default key is derived from all of it: give the time of the fact, and a process that is restarted half-way
        repeats its keys and nothing counts twice.
        """
        try:
            made = make_event(
                event,
                quantity,
                team=team or self._team,
                unit=unit,
                time=time,
                subject=subject,
                properties=properties,
                idempotency_key=idempotency_key,
            )
            if not self._threads:
                self._start()
            if self._buffer.put(made, wait=self._wait_for_room):
                self._books.tracked(1)
                key: str = made["idempotency_key"]
                return key
            reason = "there is no room: the service is away or slow"
        except Exception as error:
            if self._raise:
                raise
            reason = str(error)
        self._drop(reason)
        return None

    def flush(self, timeout: float | None = None) -> bool:
        """Send what is pending and wait until it is settled; False where that took longer than `timeout` seconds."""
        done = self._buffer.flush(timeout)
        if self._raise:
            self._raise_for_failures(done)
        return done

    def close(self, timeout: float | None = 30.0) -> Tally:
        """Flush for at most `timeout` seconds, stop, and return the tally; what could not be sent is kept as failed."""
        atexit.unregister(self._at_exit)
        self._buffer.close()
        done = self._buffer.flush(timeout)
        self._stopping.set()
        left = self._buffer.drain()
        if left:
            self._fail(left, "the client was closed before it could be sent")
        for thread in self._threads:
            thread.join(timeout=5)
        if self._owns_http:
            self._http.close()
        if self._raise:
            self._raise_for_failures(done and not left)
        return self.tally

    def retry_failed(self) -> int:
        """Put the batches that could not be delivered back into the queue; return how many events that were."""
        count = 0
        for batch in self._books.take_failed():
            for event in batch.events:
                if self._buffer.put(event, wait=self._wait_for_room):
                    count += 1
                else:
                    self._drop("there is no room for what failed before")
        return count

    @property
    def tally(self) -> Tally:
        """Counts of what was tracked and what became of it."""
        return self._books.tally

    @property
    def pending(self) -> int:
        """How many events wait or are on their way."""
        return len(self._buffer)

    @property
    def failed_batches(self) -> tuple[FailedBatch, ...]:
        """Batches that could not be delivered, the oldest first."""
        return tuple(self._books.failed)

    @property
    def rejections(self) -> tuple[Rejection, ...]:
        """The latest events that the service could not count, with its reasons."""
        return tuple(self._books.rejections)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # What its threads do -------------------------------------------------------------------------------------------

    def _start(self) -> None:
        with self._starting:
            if not self._threads:
                names = [f"usage-client-{number}" for number in range(1, self._connections + 1)]
                threads = [threading.Thread(target=self._run, name=name, daemon=True) for name in names]
                for thread in threads:
                    thread.start()
                self._threads = tuple(threads)

    def _run(self) -> None:
        while batch := self._buffer.take():
            try:
                self._deliver(batch)
            except Exception as error:
                self._fail(batch, f"unexpected: {error!r}")
            finally:
                self._buffer.settle(batch)

    def _deliver(self, batch: list[Event]) -> None:
        """Send a batch until it is answered, given up, or proved impossible."""
        body = json.dumps({"events": batch}, separators=(",", ":"), default=str).encode()
        began = clock.monotonic()
        attempt = 0
        while True:
            attempt += 1
            retry_after = None
            try:
                reply = self._http.post(self._address, content=body, headers=self._headers)
                if reply.is_success:
                    self._books.answered(batch, reply.json())
                    return
                reason = f"{reply.status_code}: {reply.text[:500]}"
                if reply.status_code == 413 and len(batch) > 1:
                    self._deliver(batch[: len(batch) // 2])
                    self._deliver(batch[len(batch) // 2 :])
                    return
                if reply.status_code not in RETRIED:
                    self._fail(batch, reason)
                    return
                retry_after = reply.headers.get("retry-after")
            except (httpx.TransportError, ValueError) as error:
                # Nobody knows whether it was counted. Its keys make sending it again safe.
                reason = f"{type(error).__name__}: {error}"
            wait = self._retry.wait(attempt, retry_after)
            if clock.monotonic() - began + wait > self._retry.give_up_after:
                self._fail(batch, f"given up after {attempt} attempts; the last said {reason}")
                return
            log.info("usage not delivered (%s); trying again in %.1f s", reason, wait)
            self._books.count(retries=1)
            if self._stopping.wait(wait):
                self._fail(batch, f"the client was closed while it tried again; the last attempt said {reason}")
                return

    def _fail(self, batch: list[Event], reason: str) -> None:
        log.warning("%d usage events could not be delivered and are kept: %s", len(batch), reason)
        self._books.keep(batch, reason)

    def _drop(self, reason: str) -> None:
        self._books.count(dropped=1)
        if not self._told_of_drops:
            self._told_of_drops = True
            log.warning("a usage event was dropped (further ones are only counted): %s", reason)

    def _raise_for_failures(self, done: bool) -> None:
        tally = self.tally
        if tally.failed or tally.dropped or not done:
            reasons = "; ".join(batch.reason for batch in self.failed_batches[-3:])
            counts = f"{tally.failed} failed, {tally.dropped} dropped, {self.pending} pending"
            raise UsageClientError(f"Usage events were not delivered ({counts}). {reasons}".rstrip())


def _close(reference: weakref.ref[UsageClient]) -> None:
    client = reference()
    if client is not None:
        client.close(timeout=5)

"""What the synchronous and the asynchronous client have in common: handing events over, and what became of them."""

from __future__ import annotations

import hashlib
import logging
import ssl
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from usage_client import lifetime
from usage_client.buffer import Buffer
from usage_client.delivery import Delivery
from usage_client.events import Quantity, prepare
from usage_client.retry import RetryPolicy
from usage_client.sender import Sender
from usage_client.spool import Spool, SpoolFile, SpoolFull, SpoolState
from usage_client.tally import Books, Drops, FailedBatch, Rejection, Tally

log = logging.getLogger("usage_client")

MAX_BATCH_SIZE = 10_000
"""Events that the service takes in one request."""
MIB = 1024 * 1024


class UsageClientError(Exception):
    """Something was not delivered: raised by `flush` and `close` where the application asked for it."""


class BaseClient:
    """Takes events over from the application, and knows what became of them."""

    _may_wait = True
    """Whether `track` may wait for room where that is asked for."""

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        team: str | None = None,
        spool: str | Path | None = None,
        spool_bytes: int = 256 * MIB,
        durable: bool = False,
        batch_size: int = 1000,
        connections: int = 1,
        flush_seconds: float = 5.0,
        max_pending: int = 100_000,
        max_pending_bytes: int = 64 * MIB,
        max_kept: int = 100_000,
        wait_for_room: bool = False,
        raise_errors: bool = False,
        on_drop: Callable[[Drops], None] | None = None,
        retry: RetryPolicy | None = None,
        timeout: float = 30.0,
        compress: bool = False,
        make_http: Callable[[], httpx.Client] | None = None,
    ) -> None:
        """Raises ValueError for an address, a key or sizes that can't work. Nothing is sent yet.

        - `team` stands in events that name none.
        - `spool` is a folder of the local disk in which events wait while the service is away, `spool_bytes` large at
          most; several processes may share it. With `durable`, each event is written there before `track` returns.
        - `batch_size`, `flush_seconds`: a batch leaves when it holds so many events, or its first is so old.
        - `max_pending`, `max_pending_bytes`: what may wait in memory. `max_kept`: events that could not be delivered
          and are kept in memory.
        - `connections`: requests on their way at once.
        - `on_drop` is told of lost events, at most once a minute, in a thread of the client.
        - `timeout` is that of one request, in seconds. `compress` sends gzip.
        - `make_http` makes the HTTP client to use, for proxies and certificates; a forked process makes its own.
        """
        if not 1 <= batch_size <= MAX_BATCH_SIZE:
            raise ValueError(f"the batch size {batch_size} is not between 1 and {MAX_BATCH_SIZE}")
        if connections < 1 or max_pending < 1 or flush_seconds < 0:
            raise ValueError("there must be a connection, room for an event, and no negative time")
        if wait_for_room and not self._may_wait:
            raise ValueError("an event loop can't wait in track: await room() before it")
        if durable and spool is None:
            raise ValueError("durable needs a spool: the folder in which events are kept")
        self._team = team
        self._wait_for_room = wait_for_room
        self._raise = raise_errors
        self._batch_size = batch_size
        self._connections = connections
        self._flush_seconds = flush_seconds
        self._max_pending, self._max_pending_bytes, self._max_kept = max_pending, max_pending_bytes, max_kept
        self._on_drop = on_drop
        self._retry = retry or RetryPolicy()
        self._durable = durable
        self._delivery = Delivery(url, api_key, compress=compress, make_http=make_http or default_http(url, timeout))
        self._spool = self._open_spool(Path(spool) / sender_name(url, team, api_key), spool_bytes) if spool else None
        self._inherited: list[object] = []
        self._make_parts()
        lifetime.register(self)
        if self._spool is not None and self._spool.state.files:
            self._sender.start()  # what an earlier process has left

    # What the application does -------------------------------------------------------------------------------------

    def track(
        self,
        event: str | None = None,
        quantity: Quantity = 1,
        *,
        meter: str | None = None,
        team: str | None = None,
        unit: str | None = None,
        time: datetime | str | None = None,
        subject: str | None = None,
        properties: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> str | None:
        """Hand an event over and return its key, or None where it was dropped (then it is counted as such).

        `event` is the event's name; in its place, `meter` may be the key of a meter that listens to it. The quantity is
        a Decimal, an int or text, never a float; the time (default: now) is aware or RFC 3339 text. The default key is
        derived from all of it: give the time of the fact, and a process that is restarted half-way repeats its keys and
        nothing counts twice.

        It waits for nobody and takes microseconds, also in an event loop (unless `wait_for_room` was asked for).
        """
        try:
            key, line = prepare(
                event,
                quantity,
                meter=meter,
                team=team or self._team,
                unit=unit,
                time=time,
                subject=subject,
                properties=properties,
                idempotency_key=idempotency_key,
            )
            if not self._sender.started:
                self._start()
            if self._buffer.put(line, wait=self._wait_for_room):
                self._books.tracked()
                return key
            reason = "the client is closed" if self._buffer.closed else "there is no room: the service is away or slow"
        except Exception as error:
            if self._raise:
                raise
            reason = str(error)
        self.drop(reason)
        return None

    def drop(self, reason: str) -> None:
        """Count an event that was lost before it could be tracked; it is reported with the others."""
        if self._books.drop(reason):
            self._sender.wake()

    def retry_failed(self) -> int:
        """Have what could not be delivered sent again; return how many events that is."""
        count = 0
        for batch in self._books.take_failed():
            for line in batch.lines:
                if self._buffer.put(line, wait=self._wait_for_room):
                    count += 1
                else:
                    self._books.lose(1, "there was no room for what had failed before")
        if self._spool is not None:
            revived = self._spool.revive()
            self._books.revive(revived)
            count += revived
        self._sender.wake()
        return count

    @property
    def tally(self) -> Tally:
        """Counts of what was tracked and what became of it."""
        return self._books.tally

    @property
    def pending(self) -> int:
        """How many events wait in memory or are on their way."""
        return len(self._buffer)

    @property
    def spool(self) -> SpoolState:
        """What waits on disk, of all processes that share the folder."""
        return SpoolState() if self._spool is None else self._spool.state

    @property
    def failed_batches(self) -> tuple[FailedBatch, ...]:
        """Batches that could not be delivered, those in memory first, the oldest first."""
        on_disk = () if self._spool is None else self._spool.failed()
        return (*self._books.failed, *(FailedBatch(tuple(lines), reason) for lines, reason in on_disk))

    @property
    def rejections(self) -> tuple[Rejection, ...]:
        """The latest events that the service could not count, with its reasons."""
        return tuple(self._books.rejections)

    def settle(self, timeout: float) -> bool:
        """Deliver what is pending, or have it on disk where the service is away; whether it was within `timeout`.

        For a server that shuts down: it raises nothing, and the client goes on.
        """
        return self._sender.flush(timeout, patient=False)

    # Its life -------------------------------------------------------------------------------------------------------

    def end(self, timeout: float) -> None:
        """Deliver or put by what is pending, within `timeout` seconds; raises nothing of the network."""
        self._close(timeout)

    def be_forked(self) -> None:
        """Start anew in a forked process: threads, connections and what is pending are the parent's."""
        # The parent's objects must not be cleaned up by the child: their sockets and locks are shared or dead.
        self._inherited += [self._buffer, self._sender, self._books, self._delivery.forget()]
        if self._spool is not None:
            self._spool.forget()
        self._make_parts()

    def _make_parts(self) -> None:
        self._books = Books(self._max_kept, self._on_drop)
        self._buffer = Buffer(
            self._batch_size,
            self._flush_seconds,
            self._max_pending,
            self._max_pending_bytes,
            self._open_file if self._durable else None,
        )
        self._sender = Sender(
            self._buffer,
            self._books,
            self._delivery,
            self._spool,
            policy=self._retry,
            connections=self._connections,
            batch_size=self._batch_size,
        )

    def _start(self) -> None:
        lifetime.begin(self)
        lifetime.guard_worker()
        self._sender.start()

    def _flush(self, timeout: float | None) -> bool:
        done = self._sender.flush(timeout)
        if self._raise:
            self._raise_for_failures(done)
        return done

    def _close(self, timeout: float | None) -> bool:
        lifetime.unregister(self)
        done = self._sender.close(timeout)
        self._delivery.close()
        return done

    def _open_spool(self, folder: Path, max_bytes: int) -> Spool | None:
        try:
            return Spool(folder, max_bytes)
        except OSError as error:
            if self._raise:
                raise
            log.warning("usage can't be kept on disk while the service is away: %s", error)
            return None

    def _open_file(self) -> SpoolFile | None:
        try:
            return None if self._spool is None else self._spool.open()
        except (SpoolFull, OSError):
            return None  # memory still has room

    def _raise_for_failures(self, done: bool) -> None:
        tally = self.tally
        if tally.failed or tally.dropped or tally.lost or not done:
            reasons = "; ".join(batch.reason for batch in self.failed_batches[-3:])
            counts = f"{tally.failed} failed, {tally.dropped} dropped, {tally.lost} lost, {self.pending} pending"
            if self._spool is not None:
                counts += f", {self.spool.events} on disk"
            raise UsageClientError(f"Usage events were not delivered ({counts}). {reasons}".rstrip())


def default_http(url: str, timeout: float) -> Callable[[], httpx.Client]:
    """What makes HTTP clients where nothing else is given; `timeout` in seconds, for one request.

    The settings of TLS are made at once and once, for forked processes too: a fork while another thread makes them
    would leave a lock of OpenSSL's closed in the child for ever.
    """
    # Reading the certificates of all authorities takes most of a start, and plain HTTP has no use for them.
    plain = url.lower().startswith("http://")
    settings = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else httpx.create_ssl_context()
    return lambda: httpx.Client(timeout=timeout, verify=settings)


def sender_name(url: str, team: str | None, api_key: str) -> str:
    """The folder, within the spool, of what goes to one service as one team.

    Events that name their team may be sent with any key that is allowed to, such as the next one; those that don't
    belong to the team of the key, and must never be sent with another. The key can't be told from the name.
    """
    sender = f"team {team}" if team else f"key {api_key}"
    return hashlib.sha256(f"usage_client {url.rstrip('/')} {sender}".encode()).hexdigest()[:16]

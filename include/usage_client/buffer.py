"""Events that wait to be sent: bounded, given out in batches by count, by age and by size."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Condition

from usage_client.spool import SpoolFile

MAX_BATCH_BYTES = 8 * 1024 * 1024
"""Of the events of a batch: a quarter of what the service takes in one request."""


@dataclass(slots=True, eq=False)
class Batch:
    """Events that go out in one request, each a line of JSON."""

    lines: list[bytes] = field(default_factory=list)
    size: int = 0
    """In bytes."""
    born: float = 0.0
    """When its first event came, by the monotonic clock."""
    file: SpoolFile | None = None
    """Where its events stand on disk already."""
    done: bool = False
    """Whether somebody has booked what became of it."""
    settled: bool = False

    def __len__(self) -> int:
        return len(self.lines)


class Buffer:
    """A queue of batches between the application and the senders.

    An event is pending from `put` until its batch is settled, so that whoever waits for quiet also waits for what is
    on its way. `open_file` opens a file for the next batch, where each event is to be on disk before `put` returns.
    """

    def __init__(
        self,
        batch_size: int,
        flush_seconds: float,
        max_pending: int,
        max_bytes: int,
        open_file: Callable[[], SpoolFile | None] | None = None,
    ) -> None:
        self._batch_size = batch_size
        self._flush_seconds = flush_seconds
        self._max_pending = max_pending
        self._max_bytes = max_bytes
        self._open_file = open_file
        self._batches: deque[Batch] = deque()
        self._pending = 0
        self._bytes = 0
        self._flushing = 0
        self._closed = False
        self._changed = Condition()

    def __len__(self) -> int:
        return self._pending

    @property
    def closed(self) -> bool:
        """Whether it takes no more events."""
        return self._closed

    @property
    def has_room(self) -> bool:
        """Whether an event of common size would be taken, or refused at once since the buffer is closed."""
        return self._closed or not self._is_full(b"")

    def put(self, line: bytes, *, wait: bool = False) -> bool:
        """Add an event; False where there is no room (with `wait`, wait for room) or the buffer is closed."""
        with self._changed:
            while wait and not self._closed and self._is_full(line):
                self._changed.wait()
            if self._closed or self._is_full(line):
                return False
            batch = self._batches[-1] if self._batches else None
            if batch is None or self._is_whole(batch, len(line)):
                batch = Batch(born=time.monotonic(), file=self._open_file() if self._open_file else None)
                self._batches.append(batch)
                if len(self._batches) == 1:
                    self._changed.notify_all()
            if batch.file is not None:
                batch.file.append(line)
            batch.lines.append(line)
            batch.size += len(line)
            self._pending += 1
            self._bytes += len(line)
            if len(batch.lines) == self._batch_size:
                self._changed.notify_all()
            return True

    def take(self) -> Batch | None:
        """Wait for a batch that is full, old enough or asked for; None says: closed, and nothing is left."""
        with self._changed:
            while True:
                left: float | None = None
                if self._batches:
                    batch = self._batches[0]
                    left = batch.born + self._flush_seconds - time.monotonic()
                    ripe = len(self._batches) > 1 or self._is_whole(batch, 0)
                    if ripe or left <= 0 or self._flushing or self._closed:
                        return self._batches.popleft()
                elif self._closed:
                    return None
                self._changed.wait(left)

    def settle(self, batch: Batch) -> None:
        """Say that a batch that was taken has been answered or kept elsewhere."""
        with self._changed:
            if not batch.settled:
                batch.settled = True
                self._pending -= len(batch)
                self._bytes -= batch.size
                self._changed.notify_all()

    def flush(self, timeout: float | None) -> bool:
        """Have everything given out now and wait until it is settled; whether it was within `timeout` seconds."""
        with self._changed:
            self._flushing += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: self._pending == 0, timeout)
            finally:
                self._flushing -= 1

    def close(self) -> None:
        """Take no more events; what is here is still given out."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def drain(self) -> list[Batch]:
        """Give back what has not been taken."""
        with self._changed:
            left = list(self._batches)
            self._batches.clear()
            self._pending -= sum(len(batch) for batch in left)
            self._bytes -= sum(batch.size for batch in left)
            self._changed.notify_all()
            return left

    def _is_full(self, line: bytes) -> bool:
        return self._pending >= self._max_pending or self._bytes + len(line) > self._max_bytes

    def _is_whole(self, batch: Batch, more: int) -> bool:
        return len(batch.lines) >= self._batch_size or (bool(batch.lines) and batch.size + more > MAX_BATCH_BYTES)

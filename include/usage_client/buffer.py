"""Events that wait to be sent: bounded, given out in batches by count and by age."""

from __future__ import annotations

import time
from collections import deque
from threading import Condition

from usage_client.events import Event


class Buffer:
    """A queue of events between the application and the sender.

    An event is pending from `put` until `settle`, so that whoever waits for quiet also waits for what is on its way.
    """

    def __init__(self, batch_size: int, flush_seconds: float, max_pending: int) -> None:
        self._batch_size = batch_size
        self._flush_seconds = flush_seconds
        self._max_pending = max_pending
        self._events: deque[Event] = deque()
        self._oldest = 0.0
        self._taken = 0
        self._flushing = False
        self._closed = False
        self._changed = Condition()

    def __len__(self) -> int:
        return len(self._events) + self._taken

    def put(self, event: Event, *, wait: bool = False) -> bool:
        """Add an event; False where there is no room (with `wait`, wait for room) or the buffer is closed."""
        with self._changed:
            while wait and not self._closed and len(self) >= self._max_pending:
                self._changed.wait()
            if self._closed or len(self) >= self._max_pending:
                return False
            if not self._events:
                self._oldest = time.monotonic()
                self._changed.notify_all()
            self._events.append(event)
            if len(self._events) == self._batch_size:
                self._changed.notify_all()
            return True

    def take(self) -> list[Event]:
        """Wait for a batch that is full, old enough or asked for; an empty one says: closed, and nothing is left."""
        with self._changed:
            while len(self._events) < self._batch_size and not (self._events and (self._flushing or self._closed)):
                if self._closed:
                    return []
                left = self._oldest + self._flush_seconds - time.monotonic() if self._events else None
                if left is not None and left <= 0:
                    break
                self._changed.wait(left)
            batch = [self._events.popleft() for _ in range(min(self._batch_size, len(self._events)))]
            self._oldest = time.monotonic()
            self._taken += len(batch)
            return batch

    def settle(self, batch: list[Event]) -> None:
        """Say that a batch that was taken has been answered or kept elsewhere."""
        with self._changed:
            self._taken -= len(batch)
            self._changed.notify_all()

    def flush(self, timeout: float | None) -> bool:
        """Have everything given out now and wait until it is settled; whether it was within `timeout` seconds."""
        with self._changed:
            self._flushing = True
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: len(self) == 0, timeout)
            finally:
                self._flushing = False

    def close(self) -> None:
        """Take no more events; what is here is still given out."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def drain(self) -> list[Event]:
        """Give back what has not been taken."""
        with self._changed:
            left = list(self._events)
            self._events.clear()
            self._changed.notify_all()
            return left

"""What became of the events: counted, and where something went wrong, kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

from usage_client.events import Event


@dataclass(frozen=True)
class FailedBatch:
    """Events that could not be delivered. They can be sent again without fear: their keys stay the same."""

    events: tuple[Event, ...]
    reason: str


@dataclass(frozen=True)
class Rejection:
    """An event that arrived and cannot be counted: the service keeps it in quarantine, or refused it."""

    event: Event
    status: str
    reason: str
    field: str | None = None
    message: str | None = None


@dataclass(frozen=True)
class Tally:
    """Counts since the client was made. Each event tracked is in exactly one of the others once all is settled."""

    tracked: int = 0
    """Taken over by `track`."""
    accepted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    refused: int = 0
    failed: int = 0
    """Not delivered; kept in `failed_batches` as far as there is room."""
    dropped: int = 0
    """Given up for want of room, or not an event at all."""
    batches: int = 0
    """Requests that were answered."""
    retries: int = 0

    @property
    def sent(self) -> int:
        """How many events the service has answered for."""
        return self.accepted + self.duplicate + self.quarantined + self.refused


@dataclass
class Books:
    """The tally and what is kept, for several threads."""

    max_kept: int
    failed: deque[FailedBatch] = field(default_factory=deque)
    rejections: deque[Rejection] = field(default_factory=lambda: deque(maxlen=1000))
    _tally: Tally = Tally()
    _tracked: int = 0
    _kept: int = 0
    _lock: Lock = field(default_factory=Lock)

    @property
    def tally(self) -> Tally:
        """The counts as they stand."""
        with self._lock:
            return replace(self._tally, tracked=self._tracked)

    def count(self, **more: int) -> None:
        """Add to counts of the tally."""
        with self._lock:
            self._tally = replace(self._tally, **{name: getattr(self._tally, name) + n for name, n in more.items()})

    def tracked(self, count: int) -> None:
        """Count what was taken over. Apart, since it is on the application's path."""
        with self._lock:
            self._tracked += count

    def answered(self, batch: list[Event], reply: Mapping[str, Any]) -> None:
        """Book the service's reply to a batch."""
        outcomes = ("accepted", "duplicate", "quarantined", "refused")
        self.count(batches=1, **{name: int(reply.get(name, 0)) for name in outcomes})
        for entry in reply.get("events", ()):
            if entry.get("status") in ("quarantined", "refused") and 0 <= entry.get("index", -1) < len(batch):
                self.rejections.append(
                    Rejection(
                        batch[entry["index"]],
                        entry["status"],
                        entry.get("reason") or "",
                        entry.get("field"),
                        entry.get("message"),
                    )
                )

    def keep(self, batch: list[Event], reason: str) -> None:
        """Keep a batch that could not be delivered; the oldest go where there is no room for all."""
        with self._lock:
            self.failed.append(FailedBatch(tuple(batch), reason))
            self._kept += len(batch)
            lost = 0
            while self._kept > self.max_kept:
                oldest = self.failed.popleft()
                lost += len(oldest.events)
                self._kept -= len(oldest.events)
        self.count(failed=len(batch) - lost, dropped=lost)

    def take_failed(self) -> list[FailedBatch]:
        """Give the kept batches back, to be sent again."""
        with self._lock:
            taken = list(self.failed)
            self.failed.clear()
            self._kept = 0
        self.count(failed=-sum(len(batch.events) for batch in taken))
        return taken

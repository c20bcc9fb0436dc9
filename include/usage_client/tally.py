"""What became of the events: counted, and where something went wrong, kept."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from usage_client.events import Event, decode

log = logging.getLogger("usage_client")

REPORT_SECONDS = 60.0
"""How often losses are reported at most."""
MAX_REASONS = 20
"""That are told apart in one report."""


@dataclass(frozen=True)
class FailedBatch:
    """Events that could not be delivered. They can be sent again without fear: their keys stay the same."""

    lines: tuple[bytes, ...]
    """The events as JSON."""
    reason: str

    @property
    def events(self) -> tuple[Event, ...]:
        """The events, decoded."""
        return tuple(decode(line) for line in self.lines)


@dataclass(frozen=True)
class Rejection:
    """An event that arrived and cannot be counted: the service keeps it in quarantine, or refused it."""

    event: Event
    status: str
    reason: str
    field: str | None = None
    message: str | None = None


@dataclass(frozen=True)
class Drops:
    """Events that were lost since the last report, and why."""

    count: int
    reasons: Mapping[str, int]
    """How many for each reason."""


@dataclass(frozen=True)
class Tally:
    """Counts of events since the client was made (in a forked process: since the fork).

    Once nothing is pending, `tracked + recovered == sent + spooled + failed + lost`.
    """

    tracked: int = 0
    """Taken over by `track`."""
    recovered: int = 0
    """Taken from the spool, whichever process wrote them there."""
    accepted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    refused: int = 0
    spooled: int = 0
    """Left to the spool on disk, from which they are sent when the service is there again."""
    failed: int = 0
    """The service would not have them, or was away for too long; kept in `failed_batches`."""
    lost: int = 0
    """Taken over and lost nevertheless: there was no room to keep them, or the disk returned other than was written."""
    dropped: int = 0
    """Not taken over: no room, closed, or not an event at all."""
    batches: int = 0
    """Requests that were answered."""
    retries: int = 0
    """Attempts that failed and were or will be repeated."""

    @property
    def sent(self) -> int:
        """How many events the service has answered for."""
        return self.accepted + self.duplicate + self.quarantined + self.refused


@dataclass
class Books:
    """The tally and what is kept, for several threads."""

    max_kept: int
    on_drop: Callable[[Drops], None] | None = None
    failed: deque[FailedBatch] = field(default_factory=deque)
    rejections: deque[Rejection] = field(default_factory=lambda: deque(maxlen=1000))
    _tally: Tally = Tally()
    _tracked: int = 0
    _kept: int = 0
    _parked: int = 0
    _uncounted: Seldom = field(default_factory=lambda: Seldom())
    _dropped: int = 0
    _reasons: Counter[str] = field(default_factory=Counter)
    _report_at: float = 0.0
    # One that may be taken again: a handler of a signal may track, wherever it has interrupted its thread.
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def tally(self) -> Tally:
        """The counts as they stand."""
        with self._lock:
            return replace(self._tally, tracked=self._tracked, dropped=self._dropped)

    def count(self, **more: int) -> None:
        """Add to counts of the tally."""
        with self._lock:
            self._tally = replace(self._tally, **{name: getattr(self._tally, name) + n for name, n in more.items()})

    def tracked(self) -> None:
        """Count an event that was taken over. Apart, since it is on the application's path."""
        with self._lock:
            self._tracked += 1

    def answered(self, lines: Sequence[bytes], reply: Mapping[str, Any]) -> None:
        """Book the service's reply to a batch."""
        outcomes = ("accepted", "duplicate", "quarantined", "refused")
        self.count(batches=1, **{name: int(reply.get(name, 0)) for name in outcomes})
        uncounted = sum(int(reply.get(name, 0)) for name in ("quarantined", "refused"))
        for entry in reply.get("events", ()):
            if entry.get("status") in ("quarantined", "refused") and 0 <= entry.get("index", -1) < len(lines):
                self.rejections.append(
                    Rejection(
                        decode(lines[entry["index"]]),
                        entry["status"],
                        entry.get("reason") or "",
                        entry.get("field"),
                        entry.get("message"),
                    )
                )
        if uncounted and self.rejections:
            latest = self.rejections[-1]
            self._uncounted.warn(
                "the service can't count %d usage events, such as %r (%s: %s)",
                uncounted,
                latest.event.get("event"),
                latest.reason,
                latest.message,
            )

    def keep(self, lines: Sequence[bytes], reason: str) -> None:
        """Keep a batch that could not be delivered; the oldest go where there is no room for all."""
        with self._lock:
            self.failed.append(FailedBatch(tuple(lines), reason))
            self._kept += len(lines)
            lost = 0
            while self._kept > self.max_kept:
                oldest = self.failed.popleft()
                lost += len(oldest.lines)
                self._kept -= len(oldest.lines)
        self.count(failed=len(lines) - lost)
        if lost:
            self.lose(lost, "there was no room to keep what could not be delivered")

    def park(self, count: int) -> None:
        """Count events that the service would not have and that stay on disk."""
        with self._lock:
            self._parked += count
        self.count(failed=count)

    def revive(self, count: int) -> None:
        """Count events, that this or another process had set apart on disk, as waiting there again."""
        with self._lock:
            mine = min(count, self._parked)
            self._parked -= mine
        self.count(failed=-mine, spooled=mine)

    def take_failed(self) -> list[FailedBatch]:
        """Give the kept batches back, to be sent again."""
        with self._lock:
            taken = list(self.failed)
            self.failed.clear()
            self._kept = 0
        self.count(failed=-sum(len(batch.lines) for batch in taken))
        return taken

    # What is gone for good ------------------------------------------------------------------------------------------

    def drop(self, reason: str) -> bool:
        """Count an event that was not taken over; whether it is the first since the last report.

        On the application's path, so it says nothing: `report` does, later and elsewhere.
        """
        with self._lock:
            first = not self._reasons
            self._dropped += 1
            self._because(1, reason)
            return first

    def lose(self, count: int, reason: str) -> None:
        """Count events that were taken over and are lost."""
        with self._lock:
            self._because(count, reason)
        self.count(lost=count)

    def report(self, *, now: bool = False) -> float | None:
        """Log what was lost since the last report, and tell the callback: at most once a minute, unless `now`.

        Returns in how many seconds the next report is due; None where nothing was lost.
        """
        with self._lock:
            if not self._reasons:
                return None
            left = self._report_at - time.monotonic()
            if left > 0 and not now:
                return left
            drops = Drops(sum(self._reasons.values()), dict(self._reasons))
            self._reasons.clear()
            self._report_at = time.monotonic() + REPORT_SECONDS
        reasons = "; ".join(f"{count} because {reason}" for reason, count in drops.reasons.items())
        log.warning("%d usage events were lost: %s", drops.count, reasons)
        if self.on_drop is not None:
            try:
                self.on_drop(drops)
            except Exception:
                log.exception("what is to be told of lost usage events failed itself")
        return None

    def _because(self, count: int, reason: str) -> None:
        known = reason in self._reasons or len(self._reasons) < MAX_REASONS
        self._reasons[reason if known else "of other reasons"] += count


class Seldom:
    """Warnings of one kind, at most once a minute: a service that is away for a day is no reason to fill a disk."""

    def __init__(self) -> None:
        self._next = 0.0

    def warn(self, message: str, *arguments: object) -> None:
        """Log it, or not."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + REPORT_SECONDS
            log.warning(message, *arguments)

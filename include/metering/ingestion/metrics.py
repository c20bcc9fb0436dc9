"""What the service measures of itself, for whoever wants to collect it: StatsD, OpenTelemetry, both, or nobody.

| metric | kind | tags | |
|---|---|---|---|
| `billing.ingestion.requests` | count | operation, status | requests answered |
| `billing.ingestion.request.duration` | duration | operation | from the request's headers to its reply |
| `billing.ingestion.refusals` | count | reason | requests refused, by the code of the reply's error |
| `billing.ingestion.events` | count | outcome | accepted, duplicate, quarantined, refused |
| `billing.ingestion.rejects` | count | reason | events quarantined or refused, by their reason |
| `billing.ingestion.landing.duration` | duration | | waiting in the queue and being committed |
| `billing.ingestion.queue.events` | gauge | | events that wait for their commit |
| `billing.ingestion.bodies.bytes` | gauge | | bytes of the bodies in hand |

No tag holds a key, a team, or anything that was sent, so their values are few.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Protocol

from metering.ingestion.events import Reject, Sorted
from metering.ingestion.logs import log

PREFIX = "billing.ingestion."
COUNTS = ("requests", "refusals", "events", "rejects")
DURATIONS = ("request.duration", "landing.duration")

Gauges = Mapping[str, Callable[[], float]]
"""The name of each gauge, and what tells its value now."""


class Sink(Protocol):
    """Where measurements go. Only `flush` may take time; it is called in another thread, one call at a time."""

    def begin(self, gauges: Gauges) -> None:
        """Begin; `gauges` are to be asked at every flush, or whenever the collector wants to know."""

    def count(self, name: str, number: int, tags: Mapping[str, str]) -> None:
        """Add to a count."""

    def duration(self, name: str, seconds: float, tags: Mapping[str, str]) -> None:
        """Note how long something took."""

    def flush(self) -> None:
        """Send what has come together; never raises."""

    def close(self) -> None:
        """Send what is left and let go."""


class Metrics:
    """Measures, where anybody collects."""

    def __init__(self, sinks: Sequence[Sink] = (), *, seconds: float = 10.0) -> None:
        """Measure for `sinks`, and have them send every `seconds`."""
        self._sinks = tuple(sinks)
        self._seconds = seconds
        self.on = bool(self._sinks)
        """Whether anybody collects: nothing needs to be measured otherwise."""

    @contextlib.asynccontextmanager
    async def running(self, gauges: Gauges) -> AsyncIterator[None]:
        """Send from time to time, and once more at the end."""
        for sink in self._sinks:
            sink.begin(gauges)
        sending = asyncio.create_task(self._send()) if self.on else None
        try:
            yield
        finally:
            if sending is not None:
                sending.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await sending
            for sink in self._sinks:
                await asyncio.to_thread(sink.close)

    def answered(self, operation: str, status: int, seconds: float, refusal: str | None) -> None:
        """A request was answered; `refusal` is the code of the error that the reply tells."""
        for sink in self._sinks:
            sink.count("requests", 1, {"operation": operation, "status": str(status)})
            sink.duration("request.duration", seconds, {"operation": operation})
            if refusal is not None:
                sink.count("refusals", 1, {"reason": refusal})

    def landed(self, events: Sorted, kept: Sequence[Reject], seconds: float) -> None:
        """The events of a request were committed, `seconds` after they were queued."""
        outcomes = events.facts.tally()
        outcomes["quarantined"] = len(kept)
        counted = [("accepted", outcomes["accepted"]), ("duplicate", outcomes["duplicate"])]
        counted += [("quarantined", len(kept)), ("refused", len(events.refused))]
        reasons = Counter(reject.reason for rejects in (kept, events.refused) for reject in rejects)
        for sink in self._sinks:
            for outcome, number in counted:
                if number:
                    sink.count("events", number, {"outcome": outcome})
            for reason, number in reasons.items():
                sink.count("rejects", number, {"reason": reason})
            sink.duration("landing.duration", seconds, {})

    async def _send(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            for sink in self._sinks:
                try:
                    await asyncio.to_thread(sink.flush)
                except Exception as error:  # whoever collects must never trouble what is measured
                    log(logging.WARNING, "metrics_failed", error=error)

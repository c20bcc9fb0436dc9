"""Events as they were written, column by column: what the quick way takes, whether they came in a body or in a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from metering.ingestion.events import Plain


@dataclass(frozen=True, slots=True)
class Written:
    """The fields of many events, each column of one length; None where a field was left out. See `events.Event`."""

    events: Sequence[str | None]
    meters: Sequence[str | None]
    teams: Sequence[str | None]
    quantities: Sequence[Any]
    """A text, int or Decimal where it may be a number."""
    units: Sequence[str | None]
    keys: Sequence[str | None]
    times: Sequence[str | None]
    subjects: Sequence[str | None]
    properties: Sequence[bytes]
    """JSON, not yet decoded; empty where left out."""
    observed: Sequence[str | None]

    @classmethod
    def of(cls, plain: Sequence[Plain]) -> Written:
        """What these events say."""
        return cls(
            [event.event for event in plain],
            [event.meter for event in plain],
            [event.team for event in plain],
            [event.quantity for event in plain],
            [event.unit for event in plain],
            [event.idempotency_key for event in plain],
            [event.time for event in plain],
            [event.subject for event in plain],
            [bytes(event.properties) for event in plain],
            [event.observed_at for event in plain],
        )

    def part(self, start: int, end: int) -> Written:
        """The events from `start` up to `end`."""
        return Written(*(getattr(self, name)[start:end] for name in self.__slots__))

    def __len__(self) -> int:
        return len(self.events)

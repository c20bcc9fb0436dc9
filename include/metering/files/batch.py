"""A piece, decoded: its events, as many of them the quick way as can be, and what stood in the file for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import msgspec

from metering.files.records import Record
from metering.files.vectors import Vectors
from metering.ingestion.events import Event, Malformed, to_json
from metering.ingestion.written import Written


class Batch:
    """The events of one piece, and their origin. Rows are read again by themselves where something is wrong."""

    def __init__(
        self,
        written: Written | Vectors | None,
        records: Callable[[], list[Record]],
        to_event: Callable[[Record], Event | Malformed],
        *,
        holds_escapes: bool,
        mapped: bool = True,
    ) -> None:
        """Hold the events as columns or arrays, where they could be read so.

        `holds_escapes`: texts may hold what can't be stored. `mapped`: a map has made the events of the records.
        """
        self._written = None if isinstance(written, Vectors) else written
        self._vectors = written if isinstance(written, Vectors) else None
        self._holds_escapes, self._mapped = holds_escapes, mapped
        self._read, self._to_event = records, to_event

    @property
    def written(self) -> Written | None:
        """The events where all of them could be decoded the quick way."""
        return self._written

    @cached_property
    def vectors(self) -> Vectors | None:
        """The events in arrays, where they may stand so."""
        return self._vectors if self._written is None else Vectors.of(self._written)

    @cached_property
    def _records(self) -> list[Record]:
        return self._read()

    @property
    def holds_escapes(self) -> bool:
        """Whether any text may hold what can't be stored."""
        return self._holds_escapes

    @property
    def events(self) -> Sequence[Event | Malformed]:
        """Each event, decoded in full."""
        return [self._to_event(record) for record in self._records]

    def event(self, index: int) -> Event | Malformed:
        """The event at `index`, decoded in full."""
        return self._to_event(self._records[index])

    def payload(self, index: int) -> str:
        """The record at `index` as it stood in the file; of one of which a map has made an event, that event as JSON.

        So what an event says can be sent again without file and map.
        """
        event = self.event(index) if self._mapped else None
        if not isinstance(event, Event):
            return self._records[index].payload
        said = {name: value for name, value in msgspec.structs.asdict(event).items() if value not in (None, {})}
        return to_json(said).decode()

    def line(self, index: int) -> int | None:
        """The line, or row, at which it begins."""
        return self._records[index].line

"""Landing of a file, piece by piece; importing it again counts nothing twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import psycopg

from metering.errors import BillingError
from metering.files.mapping import Mapping
from metering.files.reader import Record, UsageFile
from metering.ingestion.body import decode_event
from metering.ingestion.catalog import REFRESH_ON_MISS_SECONDS, Catalog
from metering.ingestion.events import Event, Fact, Malformed, Reject
from metering.ingestion.landing import Landing
from metering.ingestion.validation import Judge

PIECE = 20_000
"""Events in one transaction."""


@dataclass
class Tally:
    """What became of a file's events."""

    read: int = 0
    accepted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    """How many are in quarantine for which reason."""
    examples: list[tuple[int | None, str, str]] = field(default_factory=list)
    """The first of them: line, reason, message."""


class _Piece:
    """The origin of some records."""

    def __init__(self, records: list[Record]) -> None:
        self._records = records

    def payload(self, index: int) -> str:
        return self._records[index].payload

    def line(self, index: int) -> int | None:
        return self._records[index].line


def import_file(
    landing: Landing,
    path: Path,
    mapping: Mapping | None = None,
    *,
    progress: Callable[[int, int, Tally], None] | None = None,
    piece: int = PIECE,
) -> Tally:
    """Land all events of a file and return what became of them; rows that are wrong are kept in quarantine.

    `progress` is called after each piece with the bytes done, the bytes there are, and the tally. Raises `BillingError`
    where the file can't be read, holds no rows, or where PostgreSQL goes away; what was landed stays, and importing the
    file again counts nothing twice.
    """
    tally = Tally()
    source = f"file:{path.name}"
    with UsageFile(path) as file:
        records, read = _events(file, mapping)
        judge = Judge(Catalog.load(landing.connection))
        while taken := list(islice(records, piece)):
            origin = _Piece(taken)
            events = [read(record) for record in taken]
            # The file is read over a long time: what is too far ahead is judged by the clock of each piece.
            judge = Judge(judge.catalog)
            result = judge.sort(events, origin)
            if judge.may_be_outdated(result) and judge.catalog.age > REFRESH_ON_MISS_SECONDS:
                judge = Judge(Catalog.load(landing.connection))
                result = judge.sort(events, origin)
            try:
                kept = landing.land(source, result.facts, result.rejects)
            except psycopg.OperationalError as error:
                raise BillingError(
                    f"PostgreSQL stopped answering after {tally.read} events of {path.name}.",
                    "See `./billing status`, then import the file again: what was already kept counts once.",
                ) from error
            _count(tally, result.facts, kept, len(taken))
            if progress:
                progress(file.position, file.size, tally)
    if not tally.read:
        raise BillingError(f"The file {path} has a header and no rows.", "Give a file with usage in it.")
    return tally


def _events(file: UsageFile, mapping: Mapping | None) -> tuple[Iterator[Record], Callable[[Record], Event | Malformed]]:
    """The records of a file, and how each becomes an event."""
    if file.is_json and mapping is None:
        whole = (Record(line.number, {}, line.text) for line in file.lines())
        return whole, lambda record: decode_event((record.raw or "").encode())
    if file.is_json:
        records = file.json_records()
    else:
        delimiter = mapping.delimiter if mapping else ","
        header = file.header(delimiter)
        mapping = mapping or Mapping.of_header(header)
        mapping.check_columns(header, file.path.name)
        records = file.csv_records(delimiter)
    assert mapping is not None
    to_event = mapping.reader()

    def read(record: Record) -> Event | Malformed:
        return record.values if isinstance(record.values, Malformed) else to_event(record.values)

    return records, read


def _count(tally: Tally, facts: list[Fact], kept: list[Reject], read: int) -> None:
    tally.read += read
    for fact in facts:
        if fact.verdict == "accepted":
            tally.accepted += 1
        elif fact.verdict == "duplicate":
            tally.duplicate += 1
    tally.quarantined += len(kept)
    tally.reasons.update(reject.reason for reject in kept)
    if len(tally.examples) < 10:
        first = sorted((reject.origin.line(reject.index) or 0, reject.reason, reject.message) for reject in kept)
        tally.examples += first[: 10 - len(tally.examples)]

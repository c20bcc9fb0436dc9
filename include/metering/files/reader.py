"""A file of usage: which format it has, its pieces, and how a piece becomes events."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from metering.errors import BillingError
from metering.files import access_log
from metering.files.batch import Batch
from metering.files.columns import QuickMap
from metering.files.content import Content, Damaged
from metering.files.mapping import Mapping, Row
from metering.files.pieces import MAX_LINE, PIECE, Piece, cut, without_mark
from metering.files.records import CsvRows, Line, Record, csv_header, json_records, lines_of
from metering.files.table import csv_table
from metering.files.vectors import Vectors
from metering.ingestion.body import decode_event, plain_lines
from metering.ingestion.events import Event, Malformed
from metering.ingestion.written import Written

if TYPE_CHECKING:
    from metering.files.parquet import ParquetContent

Kind = Literal["csv", "jsonl", "access_log", "parquet"]


@dataclass
class Decoder:
    """How the pieces of one file become events. It can be sent to another process."""

    kind: Kind
    mapping: Mapping | None
    header: list[str]
    delimiter: str = ","

    @cached_property
    def _reader(self) -> Callable[[Row], Event | Malformed]:
        assert self.mapping is not None
        return self.mapping.reader()

    @cached_property
    def _quick(self) -> QuickMap:
        assert self.mapping is not None
        return QuickMap(self.mapping, textual=self.kind in ("csv", "access_log"))

    def decode(self, piece: Piece) -> Batch:
        """The events of a piece."""
        if piece.too_long:
            reason = Malformed("line_too_long", None, f"The line has more than {MAX_LINE} bytes.")
            (beginning,) = lines_of(piece.content, piece.first)
            record = Record(piece.first, reason, f"{beginning.text} …")
            return Batch(None, lambda: [record], lambda _: reason, holds_escapes=True)
        if self.mapping is None:
            return _whole_events(piece)
        vectors = self._vectors(piece, self.mapping)
        if vectors is not None:
            return Batch(vectors, lambda: list(self.records(piece)), self._to_event, holds_escapes=True)
        if self.kind == "csv":
            found = CsvRows(self.header, self.delimiter).columns(piece.content)
            if found is not None:
                written = self._quick.written(dict(zip(self.header, found, strict=True)), len(found[0]))
                escapes = b"\0" in piece.content
                return Batch(written, lambda: list(self.records(piece)), self._to_event, holds_escapes=escapes)
        records = list(self.records(piece))
        columns: dict[str, list[Any]] = {name: [] for name in self.mapping.columns}
        for record in records:
            values = record.values
            for name, column in columns.items():
                column.append(None if isinstance(values, Malformed) else values.get(name))
        wrong = [index for index, record in enumerate(records) if isinstance(record.values, Malformed)]
        written = self._quick.written(columns, len(records), wrong)
        return Batch(written, lambda: records, self._to_event, holds_escapes=True)

    def _vectors(self, piece: Piece, mapping: Mapping) -> Vectors | None:
        """The events of a piece in arrays, where all of its rows can be read so."""
        if self.kind == "csv":
            table = csv_table(piece.content, self.header, self.delimiter, mapping.columns)
        elif self.kind == "parquet":
            from metering.files.parquet import parquet_table

            table = parquet_table(piece)
        elif self.kind == "access_log":
            found = access_log.log_table(piece)
            if found is None:
                return None
            return self._quick.vectors(found[0], len(found[1]), found[1])
        else:
            return None
        if not table:
            return None
        return self._quick.vectors(table, len(next(iter(table.values()))))

    def _to_event(self, record: Record) -> Event | Malformed:
        return record.values if isinstance(record.values, Malformed) else self._reader(record.values)

    def records(self, piece: Piece) -> Iterator[Record]:
        """The records of a piece, one by one."""
        if self.kind == "csv":
            return CsvRows(self.header, self.delimiter).records(piece.content, piece.first)
        if self.kind == "access_log":
            return access_log.log_records(piece)
        if self.kind == "jsonl":
            return json_records(piece)
        from metering.files.parquet import parquet_records

        return parquet_records(piece)


def _whole_events(piece: Piece) -> Batch:
    """The events of JSON lines that are events as they stand."""

    def records() -> list[Record]:
        lines = lines_of(piece.content, piece.first)
        return [Record(line.number, {}, line.text) for line in lines if line.text.strip()]

    plain = plain_lines(piece.content)
    escapes = b"\\" in piece.content
    return Batch(
        None if plain is None else Written.of(plain),
        records,
        lambda record: decode_event((record.raw or "").encode()),
        holds_escapes=escapes,
        mapped=False,
    )


class UsageFile:
    """A file of usage and the map by which it is read."""

    def __init__(self, path: Path, mapping: Mapping | None = None) -> None:
        """Look at how `path` begins; raises `BillingError` where it can't be read, or the map doesn't fit."""
        self.path = path
        self._content: Content | ParquetContent
        content = Content(path)
        self._bytes = content
        if content.is_parquet:
            from metering.files.parquet import ParquetContent

            self.kind: Kind = "parquet"
            self._content = ParquetContent(path)
            self._start = self._first = 0
            mapping = self._fitting(mapping, self._content.columns)
            self._content.check(mapping.columns)
            self.decoder = Decoder(self.kind, mapping, self._content.columns)
            return
        self._content = content
        first = self._first_line(content)
        self.kind = mapping.format if mapping and mapping.format else _kind_of(first.text)
        self._start, self._first = 0, 1
        if self.kind == "csv":
            delimiter = mapping.delimiter if mapping else ","
            header = self._header(first, delimiter)
            self.decoder = Decoder(self.kind, self._fitting(mapping, header), header, delimiter)
            self._start, self._first = self._header_end, first.number + 1
        elif self.kind == "access_log":
            self.decoder = Decoder(self.kind, self._map_of_log(mapping), [*access_log.COLUMNS])
        else:
            self.decoder = Decoder(self.kind, mapping, [])

    @property
    def size(self) -> int:
        """How much there is to read: bytes of the file on disk, or rows of a Parquet file."""
        return self._content.size

    @property
    def read(self) -> int:
        """How much of `size` has been read."""
        return self._content.read

    @property
    def lies_plain(self) -> bool:
        """Whether a position in it is that of a byte of the file, as it lies on disk."""
        return self.kind != "parquet" and self._bytes.is_plain

    def digest(self, progress: Callable[[int], None] | None = None) -> bytes:
        """What the file is, whatever its name: 16 bytes."""
        return self._bytes.digest(progress)

    def pieces(self, piece: int = PIECE, *, after: int = 0, lines: int = 0) -> Iterator[Piece]:
        """The pieces after a position at which an earlier piece ended, up to which the file has that many lines."""
        if self.kind == "parquet":
            mapping = self.decoder.mapping
            assert mapping is not None and not isinstance(self._content, Content)
            return self._content.pieces(mapping.columns, piece=piece, after=after)
        assert isinstance(self._content, Content)
        start, first = (after, lines + 1) if after else (self._start, self._first)
        if self.kind == "access_log" and self.decoder.mapping and "occurrence" in self.decoder.mapping.columns:
            # What the lines before the position say is needed, too.
            pieces = access_log.number_repeats(cut(self._content, piece=piece))
            return (made for made in pieces if made.position > after)
        whole = CsvRows(self.decoder.header, self.decoder.delimiter).whole if self.kind == "csv" else None
        return cut(self._content, piece=piece, after=start, first=first, whole=whole)

    def _first_line(self, content: Content) -> Line:
        """The first line that is not blank."""
        start = bytearray()
        try:
            for block in without_mark(content.blocks()):
                start += block
                if len(start) > MAX_LINE or b"\n" in start.lstrip():
                    break
        except Damaged as damage:
            if not start.strip():
                raise BillingError(
                    f"The {damage.kind} file {self.path} is damaged or ends too early.", "Get it again."
                ) from damage
        if bytes(start[:2]) in (b"\xff\xfe", b"\xfe\xff"):
            raise BillingError(f"The file {self.path} is UTF-16.", "Save it as UTF-8.")
        if not start.strip():
            raise BillingError(f"The file {self.path} is empty.", "Give a file with usage in it.")
        if start[:4] == b"PAR1":
            raise BillingError(f"The file {self.path} is a packed Parquet file.", "Unpack it; Parquet packs inside.")
        first = next(line for line in lines_of(bytes(start), 1) if line.text.strip())
        if first.text.lstrip().startswith("["):
            raise BillingError(f"The file {self.path} is one JSON list.", "Write one JSON object a line (JSON lines).")
        lines = bytes(start).split(b"\n")[: first.number]
        self._header_end = min(sum(len(line) + 1 for line in lines), len(start))
        return first

    def _header(self, first: Line, delimiter: str) -> list[str]:
        try:
            names = csv_header(first, delimiter)
        except csv.Error as error:
            raise BillingError(
                f"The header of {self.path} can't be read: {str(error).partition(' - ')[0]}.",
                "Give a CSV file with a header, in UTF-8.",
            ) from error
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise BillingError(
                f"The file {self.path} has two columns {twice!r}.", "Give each column a name of its own."
            )
        if first.broken:
            raise BillingError(f"The header of {self.path} is not UTF-8.", "Save the file as UTF-8.")
        return names

    def _fitting(self, mapping: Mapping | None, columns: list[str]) -> Mapping:
        mapping = mapping or Mapping.of_header(columns)
        mapping.check_columns(columns, self.path.name)
        return mapping

    def _map_of_log(self, mapping: Mapping | None) -> Mapping:
        if mapping is None:
            raise BillingError(
                f"{self.path} is an access log, which says neither whose a request is nor what it counts as.",
                "Say it with --map; include/metering/files/maps/access_log.yaml is one to begin with.",
            )
        return self._fitting(mapping, [*access_log.COLUMNS])


def _kind_of(line: str) -> Kind:
    if line.lstrip().startswith("{"):
        return "jsonl"
    return "access_log" if access_log.is_access_log(line) else "csv"

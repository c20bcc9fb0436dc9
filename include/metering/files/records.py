"""Records: rows of a file as column to value, each with its line; how lines of text become them."""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from metering.files.pieces import Piece
from metering.ingestion.body import decode_object
from metering.ingestion.events import Malformed

FIELD = 100_000
"""Bytes. The reader of the standard library has a limit above it, and says so."""


class Line(NamedTuple):
    """A line of a file, without its end."""

    number: int
    text: str
    broken: bool
    """Whether it held bytes that are not UTF-8; they are written as \\xNN."""


class Record(NamedTuple):
    """A record of a file."""

    line: int
    """The line on which it begins, or its row, from 1."""
    values: dict[str, Any] | Malformed
    raw: str | None
    """What stood in the file; None: what `values` says."""

    @property
    def payload(self) -> str:
        """What is kept of it in quarantine."""
        if self.raw is None:
            return msgspec.json.encode(self.values, enc_hook=str).decode()
        return self.raw


def lines_of(content: bytes, first: int) -> Iterator[Line]:
    """The lines of a piece, the first of which has the number `first`."""
    lines = content.split(b"\n")
    if not lines[-1]:
        lines.pop()
    for number, raw in enumerate(lines, start=first):
        try:
            yield Line(number, raw.decode().rstrip("\r"), False)
        except UnicodeDecodeError:
            yield Line(number, raw.decode(errors="backslashreplace").rstrip("\r"), True)


def csv_header(line: Line, delimiter: str) -> list[str]:
    """The names of a CSV file's columns, from its first line."""
    return [name.strip() for name in next(csv.reader([line.text], delimiter=delimiter), [])]


def _text(content: bytes) -> str | None:
    """Lines as text with plain ends; None where they are not UTF-8, or a carriage return is within a line."""
    try:
        text = plain_ends(content).decode()
    except UnicodeDecodeError:
        return None
    return None if "\r" in text else text


def plain_ends(content: bytes) -> bytes:
    """The same lines, each ended by a line feed alone."""
    return content.replace(b"\r\n", b"\n") if b"\r" in content else content


class CsvRows:
    """The rows of a CSV file, as column to text.

    A quote that is never closed would swallow the rows after it. Where a row over several lines does not have the
    columns of the header, only its first line is at fault, and the others are read again by themselves.
    """

    def __init__(self, header: Sequence[str], delimiter: str) -> None:
        self._header, self._delimiter = list(header), delimiter

    def columns(self, content: bytes) -> Sequence[Sequence[str]] | None:
        """The columns of all rows, if there is nothing to tell about any of them; else None."""
        rows = self.quick(content)
        if rows is None:
            return None
        rows = [row for row in rows if row] if [] in rows else rows
        return [*zip(*rows, strict=True)] if rows else [()] * len(self._header)

    def quick(self, content: bytes) -> list[list[str]] | None:
        """All rows, blank lines as empty ones, if there is nothing to tell about any of them; else None."""
        text = _text(content)
        if text is None:
            return None
        try:
            rows = list(csv.reader(io.StringIO(text, newline="\n"), delimiter=self._delimiter, strict=True))
        except csv.Error:
            return None
        return None if {len(row) for row in rows} - {len(self._header), 0} else rows

    def whole(self, content: bytes, first: int, at_end: bool) -> int:
        """How many bytes of these whole lines are whole rows: a quoted text may go on in the lines after them."""
        if at_end or b'"' not in content or self.quick(content) is not None:
            return len(content)
        begun: list[int] = []
        for _ in self.records(content, first, begun):
            pass
        if not begun:
            return len(content)
        lines = content.split(b"\n")[: begun[0] - first]
        return sum(len(line) + 1 for line in lines)

    def records(self, content: bytes, first: int, begun: list[int] | None = None) -> Iterator[Record]:
        """The rows one by one.

        A row that does not end here is broken; or, where `begun` is given, is left for the next piece: the number of
        its first line is put there.
        """
        rest = lines_of(content, first)
        again: deque[Line] = deque()
        taken: list[Line] = []
        over = False

        def feed() -> Iterator[str]:
            nonlocal over
            while True:
                line = again.popleft() if again else next(rest, None)
                if line is None:
                    over = True
                    return
                taken.append(line)
                yield line.text + "\n"

        rows = csv.reader(feed(), delimiter=self._delimiter, strict=True)
        while True:
            taken.clear()
            try:
                row = next(rows, None)
                problem = None
            except csv.Error as error:
                row, problem = [], f"The row can't be read: {error}."
            if row is None:
                return
            if over and begun is not None:
                begun.append(taken[0].number)
                return
            if not row and problem is None:
                continue
            if problem is None and len(row) != len(self._header):
                problem = f"The row has {len(row)} columns; the header has {len(self._header)}."
            if problem and (over or len(taken) > 1):
                problem = "The row has a quote that is not closed."
                again.extendleft(reversed(taken[1:]))
                over = False
                rows = csv.reader(feed(), delimiter=self._delimiter, strict=True)
            line = taken[0]
            if problem:
                yield Record(line.number, Malformed("invalid_row", None, problem), line.text)
            elif any(each.broken for each in taken):
                raw = "\n".join(each.text for each in taken)
                yield Record(line.number, Malformed("invalid_encoding", None, "The row is not UTF-8."), raw)
            else:
                yield Record(line.number, dict(zip(self._header, row, strict=True)), None)


def json_records(piece: Piece) -> Iterator[Record]:
    """The objects of JSON lines, as field to value."""
    for line in lines_of(piece.content, piece.first):
        if not line.text.strip():
            continue
        if line.broken:
            yield Record(line.number, Malformed("invalid_encoding", None, "The line is not UTF-8."), line.text)
            continue
        values = decode_object(line.text.encode())
        nested = not isinstance(values, Malformed) and next(
            (name for name, value in values.items() if isinstance(value, dict | list)), None
        )
        if nested:
            values = Malformed("invalid_json", nested, f"The field {nested!r} is an object or a list.")
        yield Record(line.number, values, line.text)

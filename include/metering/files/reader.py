"""Reading of files: plain or gzip, CSV or JSON lines, record by record with the line on which each begins.

What is wrong with one record is told of that record; what is wrong with the whole file is a `BillingError`.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from metering.errors import BillingError
from metering.ingestion.body import decode_object
from metering.ingestion.events import Malformed

MAX_LINE = 8 * 1024 * 1024
"""Bytes. A longer line is no line of a usage file."""


class Line(NamedTuple):
    """A line of a file, without its end."""

    number: int
    text: str
    broken: bool
    """Whether it held bytes that are not UTF-8; they are written as \\xNN."""


class Record(NamedTuple):
    """A record of a file."""

    line: int
    """The line on which it begins, from 1."""
    values: dict[str, Any] | Malformed
    raw: str | None
    """What stood in the file; None: what `values` says."""

    @property
    def payload(self) -> str:
        """What is kept of it in quarantine."""
        if self.raw is None:
            return msgspec.json.encode(self.values, enc_hook=str).decode()
        return self.raw


class UsageFile:
    """An open file of usage. Use it as a context manager."""

    def __init__(self, path: Path) -> None:
        """Open `path`; raises `BillingError` where that is not possible."""
        self.path = path
        try:
            self.size = path.stat().st_size
            if path.is_dir():
                raise BillingError(f"{path} is a directory.", "Give the path of one file.")
            self._file: IO[bytes] = path.open("rb")
        except OSError as error:
            reason = "does not exist" if isinstance(error, FileNotFoundError) else f"can't be read: {error.strerror}"
            raise BillingError(f"The file {path} {reason}.", "Check the path.") from error
        start = self._file.read(2)
        self._file.seek(0)
        self._content: Any = gzip.GzipFile(fileobj=self._file) if start == b"\x1f\x8b" else self._file
        self._lines = self._read_lines()
        first = next((line for line in self._lines if line.text.strip()), None)
        if first is None:
            self._file.close()
            raise BillingError(f"The file {path} is empty.", "Give a file with usage in it.")
        if start in (b"\xff\xfe", b"\xfe\xff"):
            self._file.close()
            raise BillingError(f"The file {path} is UTF-16.", "Save it as UTF-8.")
        if first.text.lstrip().startswith("["):
            self._file.close()
            raise BillingError(f"The file {path} is one JSON list.", "Write one JSON object a line (JSON lines).")
        self._first = first
        self.is_json = first.text.lstrip().startswith("{")

    def __enter__(self) -> UsageFile:
        """Read it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self._content.close()
        self._file.close()

    @property
    def position(self) -> int:
        """Bytes of the file (as it lies on disk) that have been read."""
        return self._file.tell()

    def lines(self) -> Iterator[Line]:
        """All lines that are not blank, from the first on."""
        yield self._first
        yield from (line for line in self._lines if line.text.strip())

    def header(self, delimiter: str = ",") -> list[str]:
        """The names of a CSV file's columns, from its first line."""
        names = [name.strip() for name in next(csv.reader([self._first.text], delimiter=delimiter), [])]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise BillingError(
                f"The file {self.path} has two columns {twice!r}.", "Give each column a name of its own."
            )
        if self._first.broken:
            raise BillingError(f"The header of {self.path} is not UTF-8.", "Save the file as UTF-8.")
        return names

    def csv_records(self, delimiter: str = ",") -> Iterator[Record]:
        """The rows of a CSV file, as column to text.

        A quote that is never closed would swallow the rows after it. Where a row over several lines does not have the
        columns of the header, only its first line is at fault, and the others are read again by themselves.
        """
        header = self.header(delimiter)
        rest = self._lines
        again: deque[Line] = deque()
        taken: list[Line] = []

        def feed() -> Iterator[str]:
            while True:
                line = again.popleft() if again else next(rest, None)
                if line is None:
                    return
                taken.append(line)
                yield line.text + "\n"

        rows = csv.reader(feed(), delimiter=delimiter, strict=True)
        while True:
            taken.clear()
            try:
                row = next(rows, None)
                problem = None
            except csv.Error as error:
                row, problem = [], f"The row can't be read: {error}."
            if row is None:
                return
            if not row and problem is None:
                continue
            if problem is None and len(row) != len(header):
                problem = f"The row has {len(row)} columns; the header has {len(header)}."
            if problem and len(taken) > 1:
                again.extendleft(reversed(taken[1:]))
                rows = csv.reader(feed(), delimiter=delimiter, strict=True)
                problem = "The row has a quote that is not closed."
            first = taken[0]
            if problem:
                yield Record(first.number, Malformed("invalid_row", None, problem), first.text)
            elif any(line.broken for line in taken):
                raw = "\n".join(line.text for line in taken)
                yield Record(first.number, Malformed("invalid_encoding", None, "The row is not UTF-8."), raw)
            else:
                yield Record(first.number, dict(zip(header, row, strict=True)), None)

    def json_records(self) -> Iterator[Record]:
        """The objects of a file of JSON lines, as field to value."""
        for line in self.lines():
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

    def _read_lines(self) -> Iterator[Line]:
        number = 0
        try:
            while raw := self._content.readline(MAX_LINE + 1):
                number += 1
                if len(raw) > MAX_LINE:
                    raise BillingError(
                        f"Line {number} of {self.path} has more than {MAX_LINE} bytes.", "Check the file."
                    )
                if number == 1:
                    raw = raw.removeprefix(b"\xef\xbb\xbf")
                try:
                    yield Line(number, raw.decode().rstrip("\r\n"), False)
                except UnicodeDecodeError:
                    yield Line(number, raw.decode(errors="backslashreplace").rstrip("\r\n"), True)
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise BillingError(
                f"The gzip file {self.path} is damaged or ends too early, after line {number}.",
                "Get it again and import it again: what was already kept counts once.",
            ) from error
        except OSError as error:
            raise BillingError(f"The file {self.path} can't be read: {error.strerror}.", "Check the disk.") from error

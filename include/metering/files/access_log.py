"""Web servers' access logs in the common and the combined log format, as Apache and nginx write them by default."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from metering.files.arrays import joined
from metering.files.coded import Coded
from metering.files.pieces import Piece
from metering.files.records import Record, lines_of
from metering.files.table import Column, Table
from metering.ingestion import times
from metering.ingestion.events import Malformed

COLUMNS = (
    "host", "ident", "user", "time", "request", "method", "path", "query", "protocol", "status", "bytes", "referer",
    "user_agent", "occurrence",
)  # fmt: skip
"""What a line has: its fields, those of its request, and which of the lines that say exactly this it is."""

REMEMBERED = 100_000
"""How far apart, in lines, two lines may stand that say the same and are still told apart, at least."""

_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_LINE = re.compile(
    rf"(\S+) (\S+) (.+?) \[(\d\d)/([A-Z][a-z][a-z])/(\d{{4}}):(\d\d:\d\d:\d\d) ([+-]\d\d)(\d\d)\] "
    rf"{_QUOTED} (\d{{3}}|-) (\d+|-)(?: {_QUOTED} {_QUOTED})?\s*",
    re.ASCII,
)
# The same of lines as nearly all are, which Arrow takes apart a thousand at a time.
_USUAL = (
    r"^(?P<host>\S+) (?P<ident>\S+) (?P<user>\S+) \[(?P<day>\d\d)/(?P<month>[A-Z][a-z][a-z])/(?P<year>\d{4}):"
    r"(?P<clock>\d\d:\d\d:\d\d) (?P<zone>[+-]\d{4})\] "
    r'"(?P<request>(?P<method>[A-Za-z]+) (?P<path>[^\s?"\\]+)(?:\?(?P<query>[^\s"\\]*))? '
    r'(?P<protocol>HTTP/[^\s"\\]+))" '
    r'(?P<status>\d{3}) (?P<bytes>\d+|-)(?: "(?P<referer>[^"\\\n]*)" "(?P<user_agent>[^"\\\n]*)")?\n$'
)
_NEWLINE = ord("\n")
_MOST_HOURS, _NO_OFFSET = 14, 2**62
_REQUEST = re.compile(r"([A-Za-z]+) ([^\s?]+)(?:\?(\S*))? (HTTP/\S+)")
_MONTHS = {name: f"{number:02d}" for number, name in enumerate(
    ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), start=1
)}  # fmt: skip


def is_access_log(line: str) -> bool:
    """Whether a line is one of an access log."""
    return _LINE.fullmatch(line) is not None


def log_records(piece: Piece) -> Iterator[Record]:
    """The lines of a piece as column to text; what is written as a hyphen is left out, but for 0 bytes."""
    for index, line in enumerate(lines_of(piece.content, piece.first)):
        if not line.text.strip():
            continue
        if line.broken:
            yield Record(line.number, Malformed("invalid_encoding", None, "The line is not UTF-8."), line.text)
            continue
        match = _LINE.fullmatch(line.text)
        month = match and _MONTHS.get(match[5])
        if match is None or month is None:
            what = "The line is neither of the common nor of the combined log format."
            yield Record(line.number, Malformed("invalid_row", None, what), line.text)
            continue
        host, ident, user, day, _, year, clock, hours, minutes, request, status, size, referer, agent = match.groups()
        parts = _REQUEST.fullmatch(request)
        method, path, query, protocol = parts.groups() if parts else (None, None, None, None)
        values = {
            "host": host,
            "ident": _given(ident),
            "user": _given(user),
            "time": f"{year}-{month}-{day}T{clock}{hours}:{minutes}",
            "request": request,
            "method": method,
            "path": path,
            "query": query,
            "protocol": protocol,
            "status": _given(status),
            "bytes": _given(size) or "0",
            "referer": _given(referer),
            "user_agent": _given(agent),
            "occurrence": str(piece.repeats.get(index, 1)),
        }
        yield Record(line.number, values, line.text)


def log_table(piece: Piece) -> tuple[Table, NDArray[np.bool_]] | None:
    """The columns of a piece, and which of its lines have to be looked at by themselves; None where all have to."""
    content = piece.content
    if not content.isascii() or b"\r" in content or b"\v" in content or not content.endswith(b"\n"):
        return None
    ends = np.flatnonzero(np.frombuffer(content, np.uint8) == _NEWLINE) + 1
    bounds = np.concatenate(([0], ends)).astype(np.int32)
    lines = pa.Array.from_buffers(pa.string(), len(ends), [None, pa.py_buffer(bounds), pa.py_buffer(content)])
    found = pc.extract_regex(lines, _USUAL)
    parts = dict(zip(found.type.names, found.flatten(), strict=True))
    careful = pc.is_null(found).to_numpy(zero_copy_only=False)
    texts = {name: pc.fill_null(part, "") for name, part in parts.items()}
    month = Coded.read(texts.pop("month"), pa.Array.to_pylist)
    careful |= ~month.spread([name in _MONTHS for name in month.values], np.bool_)
    doubtful = np.flatnonzero(careful)
    if len(doubtful) == len(lines) or not all(map(str.strip, lines.take(pa.array(doubtful)).to_pylist())):
        return None  # blank lines are no rows
    numbered = month.spread_bytes(_MONTHS.get(name, "00").encode() for name in month.values)
    day, year, clock, zone = (texts.pop(name).view(pa.binary()) for name in ("day", "year", "clock", "zone"))
    local = joined(year, b"-", numbered, b"-", day, b"T", clock)
    time = joined(local, pc.binary_slice(zone, 0, 3), b":", pc.binary_slice(zone, 3, 5)).view(pa.string())
    offsets = Coded.read(zone.view(pa.string()), pa.Array.to_pylist)
    moments = _moments(
        joined(local, b"Z").view(pa.string()), offsets.spread(map(_microseconds, offsets.values), np.int64)
    )
    occurrences = np.ones(len(lines), np.int64)
    for index, occurrence in piece.repeats.items():
        occurrences[index : index + 1] = occurrence  # past the last line is what its end ends
    table = {name: Column(pc.if_else(pc.equal(text, "-"), None, text), _values) for name, text in texts.items()}
    # What a line does not have is missing, not empty; what is empty is left out either way.
    table["bytes"] = Column(pc.if_else(pc.equal(texts["bytes"], "-"), "0", texts["bytes"]))
    table["host"], table["request"], table["method"], table["path"], table["protocol"] = (
        Column(texts[name]) for name in ("host", "request", "method", "path", "protocol")
    )
    table["query"] = Column(texts["query"])
    table["time"] = Column(time, moments=moments)
    table["occurrence"] = Column(pc.cast(pa.array(occurrences), pa.string()))
    return table, careful


def _values(column: pa.ChunkedArray) -> list[str | None]:
    values: list[str | None] = column.to_pylist()
    return values


def _moments(local: pa.StringArray, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    read = Column(local).moments(in_utc=True)
    if read is None:
        return np.full(len(local), times.UNREAD, np.int64)
    moments: NDArray[np.int64] = np.where(
        (read == times.UNREAD) | (offsets == _NO_OFFSET), times.UNREAD, read - offsets
    )
    return moments


def _microseconds(zone: str) -> int:
    """How far a zone such as +0545 is ahead of UTC."""
    if not zone or int(zone[1:3]) > _MOST_HOURS or int(zone[3:]) > 59:
        return _NO_OFFSET
    minutes = int(zone[1:3]) * 60 + int(zone[3:])
    return (-minutes if zone[0] == "-" else minutes) * 60_000_000


def number_repeats(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Say of the lines of pieces, which begin at the file's first, what says the same as a line before it.

    Two lines that say the same are two requests: a log has a second for its smallest time and no name for a request.
    """
    older: dict[bytes, int] = {}
    newer: dict[bytes, int] = {}
    for piece in pieces:
        repeats: dict[int, int] = {}
        for index, line in enumerate(piece.content.split(b"\n")):
            known = blake2b(line.rstrip(b"\r"), digest_size=12).digest()
            count = newer.get(known) or older.get(known, 0)
            newer[known] = count + 1
            if count:
                repeats[index] = count + 1
            if len(newer) >= REMEMBERED:
                older, newer = newer, {}
        yield piece._replace(repeats=repeats)


def _given(text: str | None) -> str | None:
    return None if text == "-" else text

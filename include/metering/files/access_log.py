"""Web servers' access logs in the common and the combined log format, as Apache and nginx write them by default."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from hashlib import blake2b

from metering.files.pieces import Piece
from metering.files.records import Record, lines_of
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

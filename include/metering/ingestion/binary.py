"""PostgreSQL's binary format: rows for COPY and arrays, of thousands of values at once.

A value is a four-byte length and its bytes; all numbers are big-endian. COPY in binary spares PostgreSQL the parsing of
times, digests and numbers, which is a third of what storing an event costs it. The format is documented in PostgreSQL's
manual, under COPY and in the send and receive functions of each type.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg.adapt import Dumper
from psycopg.pq import Format

NULL = b"\xff\xff\xff\xff"
BEGIN = b"PGCOPY\n\xff\r\n\0" + bytes(8)
END = b"\xff\xff"

_length = struct.Struct(">i").pack
_read_length = struct.Struct(">i").unpack_from
LENGTHS = [_length(size) for size in range(1024)]
"""The lengths of short values, as they stand before them."""
_POSITIVE, _NEGATIVE = 0x0000, 0x4000
_UUID, _INTEGER, _TIMESTAMPTZ = 2950, 23, 1184
TEXT, NUMERIC, JSONB = 25, 1700, 3802

_DIGEST = np.dtype("V16")
_KEY_ROW = np.dtype(
    [
        *(("columns", ">i2"), ("team_size", ">i4"), ("team_id", ">i4"), ("key_size", ">i4"), ("key_digest", "V16")),
        *(("content_size", ">i4"), ("content_digest", "V16"), ("moment_size", ">i4"), ("moment", ">i8")),
    ]
)
_EVENT_HEAD = np.dtype(
    [
        *(("columns", ">i2"), ("team_size", ">i4"), ("team_id", ">i4"), ("moment_size", ">i4"), ("moment", ">i8")),
        *(("key_size", ">i4"), ("key_digest", "V16"), ("batch_size", ">i4"), ("batch_id", ">i8")),
        *(("recorded_size", ">i4"), ("recorded_at", ">i8")),
    ]
)
_UUID_ELEMENT = np.dtype([("size", ">i4"), ("value", "V16")])
_MOMENT_ELEMENT = np.dtype([("size", ">i4"), ("value", ">i8")])
_INTEGER_ELEMENT = np.dtype([("size", ">i4"), ("value", ">i4")])

Numbers = NDArray[np.int64]
Digests = NDArray[np.void]


def field(value: bytes) -> bytes:
    """A value with its length."""
    size = len(value)
    return (LENGTHS[size] if size < 1024 else _length(size)) + value


def text_field(text: str | None) -> bytes:
    """A text, or NULL."""
    return NULL if text is None else field(text.encode())


def json_field(text: str) -> bytes:
    """A value of the type jsonb, given as JSON."""
    return field(b"\x01" + text.encode())


def numeric_field(text: str) -> bytes:
    """A numeric, given as plain digits such as -12.50: groups of four digits to both sides of the point."""
    whole, _, fraction = text.lstrip("-").partition(".")
    whole = "0" * (-len(whole) % 4) + whole
    padded = fraction + "0" * (-len(fraction) % 4)
    digits = whole + padded
    groups = [int(digits[place : place + 4]) for place in range(0, len(digits), 4)]
    weight = len(whole) // 4 - 1
    while groups and not groups[0]:
        del groups[0]
        weight -= 1
    while groups and not groups[-1]:
        del groups[-1]
    sign = _NEGATIVE if text[0] == "-" else _POSITIVE
    head = (len(groups), weight if groups else 0, sign, len(fraction))
    return field(struct.pack(f">hhHH{len(groups)}H", *head, *groups))


def numbers(values: Sequence[int] | Numbers) -> Numbers:
    """Integers as an array."""
    return np.asarray(values, dtype=np.int64)


def digests(values: Sequence[bytes] | Digests) -> Digests:
    """Digests of 16 bytes each as an array."""
    if isinstance(values, np.ndarray):
        return values
    return np.frombuffer(b"".join(values), dtype=_DIGEST)


def halves(values: Digests) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The first and the last eight bytes of each digest, as numbers that sort as the digests do."""
    pairs = np.ascontiguousarray(values).view(">u8").reshape(-1, 2).astype(np.uint64)
    return pairs[:, 0], pairs[:, 1]


def key_rows(team_ids: Numbers, key_digests: Digests, content_digests: Digests, moments: Numbers) -> bytes:
    """Rows (team_id, key_digest, content_digest, occurred_at) for COPY; moments in microseconds since 2000 UTC."""
    rows = np.empty(len(team_ids), _KEY_ROW)
    rows["columns"] = 4
    rows["team_size"], rows["team_id"] = 4, team_ids
    rows["key_size"], rows["key_digest"] = 16, key_digests
    rows["content_size"], rows["content_digest"] = 16, content_digests
    rows["moment_size"], rows["moment"] = 8, moments
    return rows.tobytes()


def event_heads(
    team_ids: Numbers, moments: Numbers, key_digests: Digests, batch_id: int, recorded_at: int
) -> NDArray[np.void]:
    """The beginnings of rows of events for COPY: team_id, occurred_at, key_digest, batch_id, recorded_at."""
    heads = np.empty(len(team_ids), _EVENT_HEAD)
    heads["columns"] = 11
    heads["team_size"], heads["team_id"] = 4, team_ids
    heads["moment_size"], heads["moment"] = 8, moments
    heads["key_size"], heads["key_digest"] = 16, key_digests
    heads["batch_size"], heads["batch_id"] = 8, batch_id
    heads["recorded_size"], heads["recorded_at"] = 8, recorded_at
    return heads.view(f"V{_EVENT_HEAD.itemsize}")


def event_rows(heads: NDArray[np.void], tails: Sequence[bytes]) -> bytes:
    """Rows for COPY: each head with the six columns of its tail."""
    parts: list[bytes] = [b""] * (2 * len(tails))
    parts[::2] = heads.tolist()
    parts[1::2] = tails
    return b"".join(parts)


def columns_of(rows: Sequence[bytes], width: int) -> list[list[bytes]]:
    """The fields of rows for COPY, each with its length, column by column."""
    columns: list[list[bytes]] = [[] for _ in range(width)]
    for row in rows:
        at = 0
        for column in columns:
            # What has no value has the length -1, and nothing after it.
            end = at + 4 + max(_read_length(row, at)[0], 0)
            column.append(row[at:end])
            at = end
    return columns


class Array:
    """A one-dimensional array, ready to be a parameter; see `ArrayDumper`."""

    def __init__(self, element_type: int, count: int, elements: bytes) -> None:
        """Hold so many elements that carry their lengths."""
        dimensions = struct.pack(">ii", count, 1) if count else b""
        self.data = struct.pack(">iiI", 1 if count else 0, 1, element_type) + dimensions + elements


class ArrayDumper(Dumper):
    """Hands an `Array` to PostgreSQL as it is."""

    format = Format.BINARY

    def dump(self, obj: Any) -> bytes:
        """The array's bytes."""
        data: bytes = obj.data
        return data


def integer_array(values: Numbers) -> Array:
    """An integer[]."""
    elements = np.empty(len(values), _INTEGER_ELEMENT)
    elements["size"], elements["value"] = 4, values
    return Array(_INTEGER, len(values), elements.tobytes())


def moment_array(values: Numbers) -> Array:
    """A timestamptz[], of microseconds since 2000-01-01 UTC."""
    elements = np.empty(len(values), _MOMENT_ELEMENT)
    elements["size"], elements["value"] = 8, values
    return Array(_TIMESTAMPTZ, len(values), elements.tobytes())


def field_array(element_type: int, fields: Sequence[bytes]) -> Array:
    """An array of values that carry their lengths."""
    return Array(element_type, len(fields), b"".join(fields))


def uuid_array(values: Digests) -> Array:
    """A uuid[]."""
    elements = np.empty(len(values), _UUID_ELEMENT)
    elements["size"], elements["value"] = 16, values
    return Array(_UUID, len(values), elements.tobytes())

"""Unpacking of bodies in bounded time and memory: what would become larger than a body may be is refused on the way."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Protocol

from backports import zstd

from metering.ingestion.body import MAX_BYTES
from metering.ingestion.events import TooLarge, Unreadable

MAX_MEMBERS = 1024
"""Members of gzip, or frames of zstd, that one body may have: block-wise gzip of 32 MiB has half as many."""
_PIECE = 64 * 1024
"""What is left of a piece is copied for each member in it, so a piece is small beside a body."""
_ZSTD_OPTIONS = {int(zstd.DecompressionParameter.window_log_max): 23}
"""A window of 8 MiB at most, as RFC 9659 has it for `Content-Encoding: zstd`."""


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


_UNPACKERS: dict[str, Callable[[], _Unpacker]] = {
    "gzip": lambda: zlib.decompressobj(wbits=31),
    "zstd": lambda: zstd.ZstdDecompressor(options=_ZSTD_OPTIONS),
}
ENCODINGS = tuple(_UNPACKERS)


def unpack(data: bytes, encoding: str, limit: int = MAX_BYTES) -> bytes:
    """Unpack `data`, of one or several members or frames, to at most `limit` bytes; raises `Unreadable`, `TooLarge`.

    `encoding` is one of `ENCODINGS`.
    """
    parts: list[bytes] = []
    unpacker: _Unpacker | None = None
    room, members = limit, 0
    for start in range(0, len(data), _PIECE):
        rest = data[start : start + _PIECE]
        while rest:
            if unpacker is None:
                unpacker, members = _UNPACKERS[encoding](), members + 1
                if members > MAX_MEMBERS:
                    raise Unreadable(f"The {encoding} body has more than {MAX_MEMBERS} parts.")
            try:
                part = unpacker.decompress(rest, room + 1)
            except (zlib.error, zstd.ZstdError):
                message = f"The body is not {encoding}, although its Content-Encoding says so."
                raise Unreadable(message) from None
            parts.append(part)
            room -= len(part)
            if room < 0:
                raise TooLarge(f"The body unpacks to more than {limit} bytes.")
            rest = b""
            if unpacker.eof:
                rest, unpacker = unpacker.unused_data, None
    if unpacker is not None:
        raise Unreadable(f"The {encoding} body ends too early.")
    return b"".join(parts)

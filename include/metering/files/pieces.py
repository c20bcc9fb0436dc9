"""Pieces of a file: as many whole rows as land in one transaction, each with its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

from metering.errors import BillingError
from metering.files.content import BYTE_ORDER_MARK, Content, Damaged

PIECE = 20_000
"""Lines or rows in one piece, at most."""
PIECE_BYTES = 8 * 1024 * 1024
"""Bytes after which a piece ends though it has fewer lines."""
MAX_LINE = 8 * 1024 * 1024
"""Bytes. A longer line is no line of a usage file."""
SHOWN_OF_LONG = 1000
"""Bytes that are kept of one."""
_LINE_END = re.compile(rb"\n")


class Piece(NamedTuple):
    """Whole rows of a file, undecoded: what travels to whoever decodes them."""

    first: int
    """The number of its first line, or row, from 1."""
    content: bytes
    """Lines with their ends; or, of a Parquet file, a stream of Arrow."""
    position: int
    """Where it ends: bytes of the unpacked content, or rows."""
    lines: int
    """How many lines, or rows, it is."""
    repeats: dict[int, int]
    """Of an access log: which of its lines say what a line before them said, as index to the how-manieth it is."""
    too_long: bool = False
    """It is one line that is too long to be read; `content` is how it begins."""


Whole = Callable[[bytes, int, bool], int]
"""Of lines, the number of the first of them, and whether the file ends there: how many bytes are whole rows."""


def cut(
    content: Content, *, piece: int = PIECE, after: int = 0, first: int = 1, whole: Whole | None = None
) -> Iterator[Piece]:
    """Cut unpacked content into pieces of whole lines, the first of which begins at byte `after` and is line `first`.

    What was good before a damage comes first, then the `BillingError`.
    """
    cutter = _Cutter(piece, first, after, whole)
    skip = after
    blocks = without_mark(content.blocks())
    while True:
        try:
            block = next(blocks, None)
        except Damaged as damage:
            yield from cutter.take_all()
            raise BillingError(
                f"The {damage.kind} file {content.path} is damaged or ends too early, after line {cutter.number - 1}.",
                "Get it again and import it again: what was already kept counts once.",
            ) from damage
        if block is None:
            yield from cutter.take_all(at_end=True)
            return
        if skip:
            skip, block = max(skip - len(block), 0), block[skip:]
        yield from cutter.take(block)


def without_mark(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The same blocks without the mark of UTF-8 with which some programs begin a file."""
    for block in blocks:
        yield block.removeprefix(BYTE_ORDER_MARK)
        yield from blocks


class _Cutter:
    def __init__(self, piece: int, first: int, position: int, whole: Whole | None) -> None:
        self.number, self._position = first, position
        self._piece, self._whole = piece, whole
        self._buffer = bytearray()
        self._lines = 0  # line ends in the buffer
        self._wanted, self._bytes = piece, PIECE_BYTES
        self._long: bytes | None = None  # how the line begins that is too long, while its end is looked for

    def take(self, block: bytes) -> Iterator[Piece]:
        """Add a block and yield the pieces that are complete."""
        if self._long is not None:
            end = block.find(b"\n") + 1
            self._position += end or len(block)
            if not end:
                return
            block = block[end:]
            yield self._too_long()
        self._buffer += block
        self._lines += block.count(b"\n")
        while self._lines and (self._lines >= self._wanted or len(self._buffer) >= self._bytes):
            made = self._make(self._end_of(min(self._wanted, self._lines)), at_end=False)
            if made is not None:
                yield made
        if not self._lines and len(self._buffer) > MAX_LINE:
            self._long = bytes(self._buffer[:SHOWN_OF_LONG])
            self._position += len(self._buffer)
            self._buffer.clear()

    def take_all(self, at_end: bool = False) -> Iterator[Piece]:
        """Yield what is left; a last line without an end is one where the file ends, else it is cut off."""
        if self._long is not None:
            yield self._too_long()
        while self._lines > self._wanted:
            made = self._make(self._end_of(self._wanted), at_end=False)
            if made is not None:
                yield made
        end = len(self._buffer) if at_end else self._buffer.rfind(b"\n") + 1
        if end:
            made = self._make(end, at_end=at_end)
            if made is not None:
                yield made

    def _too_long(self) -> Piece:
        content, self._long = self._long or b"", None
        self.number += 1
        return Piece(self.number - 1, content, self._position, 1, {}, too_long=True)

    def _end_of(self, lines: int) -> int:
        if lines == self._lines:
            return self._buffer.rfind(b"\n") + 1
        return next(islice(_LINE_END.finditer(self._buffer), lines - 1, None)).end()

    def _make(self, end: int, at_end: bool) -> Piece | None:
        content = bytes(memoryview(self._buffer)[:end])
        if self._whole is not None:
            content = content[: self._whole(content, self.number, at_end)]
            if not content:
                # One row goes over all of these lines; its end is looked for again when there are twice as many.
                self._wanted *= 2
                self._bytes = 2 * max(self._bytes, len(self._buffer))
                return None
        del self._buffer[: len(content)]
        first, ends = self.number, content.count(b"\n")
        lines = ends if content.endswith(b"\n") else ends + 1
        self.number += lines
        self._lines -= ends
        self._position += len(content)
        self._wanted, self._bytes = self._piece, PIECE_BYTES
        return Piece(first, content, self._position, lines, {})

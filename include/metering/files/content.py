"""What a file holds: plain, or unpacked from gzip or zstd, block by block."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from backports import zstd

from metering.errors import BillingError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
GZIP, ZSTD, PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"
_BLOCK = 1024 * 1024
_PACKED_BLOCK = 128 * 1024


class Damaged(Exception):
    """A packed file that is broken, or ends too early. `kind` is gzip or zstd."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Content:
    """A file that can be read. Each call of `blocks` reads it from its beginning."""

    def __init__(self, path: Path) -> None:
        """Look at `path`; raises `BillingError` where it is no file that can be read."""
        self.path = path
        self.read = 0
        """Bytes of the file, as it lies on disk, that have been read."""
        try:
            if path.is_dir():
                raise BillingError(f"{path} is a directory.", "Give the path of one file.")
            if path.is_fifo() or path.is_socket() or path.is_char_device():
                raise BillingError(f"{path} is no file but a pipe or a device.", "Write what comes from it to a file.")
            self.size = path.stat().st_size
            with path.open("rb") as file:
                self.start = file.read(4)
        except OSError as error:
            raise _unreadable(path, error) from error

    @property
    def is_parquet(self) -> bool:
        """Whether it is a Parquet file."""
        return self.start == PARQUET

    @property
    def is_plain(self) -> bool:
        """Whether its bytes are those that `blocks` gives, without a mark of UTF-8 before them."""
        return not (self.start[:2] == GZIP or self.start == ZSTD or self.start.startswith(BYTE_ORDER_MARK))

    def blocks(self) -> Iterator[bytes]:
        """What the file holds, unpacked, in blocks of about a megabyte; raises `Damaged` after the last good one."""
        try:
            if self.start[:2] == GZIP:
                yield from self._gunzipped()
            elif self.start == ZSTD:
                yield from self._unzstd()
            else:
                yield from self._plain(_BLOCK)
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def digest(self, progress: Callable[[int], None] | None = None) -> bytes:
        """The first 16 bytes of the SHA-256 of the file as it lies on disk: what it is, whatever its name."""
        hashed = hashlib.sha256()
        try:
            for block in self._plain(_BLOCK):
                hashed.update(block)
                if progress:
                    progress(self.read)
        except OSError as error:
            raise _unreadable(self.path, error) from error
        return hashed.digest()[:16]

    def _plain(self, size: int) -> Iterator[bytes]:
        self.read = 0
        with self.path.open("rb", buffering=0) as file:
            while block := file.read(size):
                self.read += len(block)
                yield block

    def _gunzipped(self) -> Iterator[bytes]:
        unpack = zlib.decompressobj(wbits=31)
        for packed in self._plain(_PACKED_BLOCK):
            while packed:
                if unpack.eof:  # one member ended; what follows is another, or padding
                    packed = packed.lstrip(b"\0")
                    if not packed:
                        break
                    unpack = zlib.decompressobj(wbits=31)
                try:
                    block = unpack.decompress(packed, _BLOCK)
                except zlib.error:
                    raise Damaged("gzip") from None
                if block:
                    yield block
                packed = unpack.unused_data if unpack.eof else unpack.unconsumed_tail
        if not unpack.eof:
            raise Damaged("gzip")

    def _unzstd(self) -> Iterator[bytes]:
        with self.path.open("rb") as packed, zstd.ZstdFile(packed) as unpacked:
            while True:
                try:
                    block = unpacked.read(_BLOCK)
                except (zstd.ZstdError, EOFError):
                    raise Damaged("zstd") from None
                if not block:
                    return
                self.read = packed.tell()
                yield block


def _unreadable(path: Path, error: OSError) -> BillingError:
    reason = "does not exist" if isinstance(error, FileNotFoundError) else f"can't be read: {error.strerror}"
    return BillingError(f"The file {path} {reason}.", "Check the path.")

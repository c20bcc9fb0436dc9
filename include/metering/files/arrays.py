"""Arrow's arrays of texts and bytes, seen as what they are: one run of bytes, and where each value of it ends."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from metering.ingestion import binary


def packed(values: Sequence[bytes]) -> pa.BinaryArray:
    """These values as an array."""
    return pa.array(values, pa.binary())


def fixed(values: NDArray[Any]) -> pa.BinaryArray:
    """Values that all take as many bytes as an item of `values` does."""
    count, size = len(values), values.itemsize
    ends = np.arange(0, (count + 1) * size, size, dtype=np.int32)
    data = np.ascontiguousarray(values).view(np.uint8)
    return pa.Array.from_buffers(pa.binary(), count, [None, pa.py_buffer(ends), pa.py_buffer(data)])


def joined(*parts: pa.Array | bytes) -> pa.BinaryArray:
    """The parts of each row one behind the other; a part that is bytes is that of all rows."""
    scalars = [pa.scalar(part, pa.binary()) if isinstance(part, bytes) else part for part in parts]
    return pc.binary_join_element_wise(*scalars, pa.scalar(b""))


def ends(texts: pa.Array) -> NDArray[np.int32]:
    """Where each value ends in the run of bytes, and, before the first, where that begins."""
    found: NDArray[np.int32] = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return found


def contents(texts: pa.Array) -> memoryview:
    """The run of bytes of all values."""
    bounds, data = ends(texts), texts.buffers()[2]
    return memoryview(b"" if data is None else data)[bounds[0] : bounds[-1]]


def lengths(texts: pa.Array) -> NDArray[np.int32]:
    """How many bytes each value has."""
    found: NDArray[np.int32] = np.diff(ends(texts))
    return found


def with_lengths(texts: pa.Array) -> tuple[pa.BinaryArray, pa.Array]:
    """The parts of a field for PostgreSQL: four bytes of length, and the value."""
    return fixed(lengths(texts).astype(">i4")), texts.view(pa.binary())


def digests(texts: pa.Array) -> binary.Digests:
    """The first 16 bytes of the SHA-256 of each value."""
    apart = contents(joined(texts.view(pa.binary()), b"\n")).tobytes().split(b"\n")
    if len(apart) != len(texts) + 1:  # a value holds a line end
        apart = [*texts.view(pa.binary()).to_pylist(), b""]
    apart.pop()
    whole = b"".join([hashed.digest() for hashed in map(sha256, apart)])
    return np.ascontiguousarray(np.frombuffer(whole, np.dtype((np.void, 32))).view("V16")[::2])

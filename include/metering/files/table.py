"""Columns of a file as Arrow reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from metering.files.arrays import ends
from metering.files.coded import Coded
from metering.files.content import BYTE_ORDER_MARK
from metering.files.records import FIELD, plain_ends
from metering.ingestion import times

_SINCE_1970 = 946_684_800_000_000  # microseconds from 1970 to 2000
_NEWLINE = ord("\n")
_LEAST = len("0000-00-00T00:00:00")
_TO_MICROSECONDS = {"s": (1_000_000, 1), "ms": (1_000, 1), "us": (1, 1), "ns": (1, 1_000)}

Plain = Callable[[pa.ChunkedArray], list[Any]]
"""The values of a column in Python."""
Table = Mapping[str, "Column"]


class Column:
    """One column."""

    def __init__(
        self, array: pa.Array, plain: Plain | None = None, *, moments: NDArray[np.int64] | None = None
    ) -> None:
        """Hold `array`; without `plain`, it is of texts, none of which is missing. `moments`: its times, if known."""
        self._array, self._plain, self._known = array, plain, moments
        self.textual = plain is None

    def __len__(self) -> int:
        return len(self._array)

    @cached_property
    def values(self) -> Sequence[Any]:
        """A value for each row."""
        return self._values(self._array)

    @cached_property
    def coded(self) -> Coded:
        """Its values, each once; raises `pa.ArrowException` where Arrow can't tell them apart."""
        return Coded.read(self._array, self._values)

    @cached_property
    def words(self) -> pa.StringArray | None:
        """Its texts as parts of a key, empty where missing; None where Arrow would write otherwise what it holds."""
        kind = self._array.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind):
            texts = self._array.cast(pa.string())
            return texts.fill_null("") if texts.null_count else texts
        return None

    def moments(self, in_utc: bool) -> NDArray[np.int64] | None:
        """Its times in microseconds since 2000-01-01 UTC, `times.UNREAD` where in doubt; None if it has to be read
        as text. `in_utc`: times that carry no zone are in UTC.
        """
        if self._known is not None:
            return self._known
        kind = self._array.type
        if pa.types.is_timestamp(kind) and (in_utc or kind.tz is not None):
            return _moments(self._array)
        return _read(self._array, in_utc) if self.textual else None

    def _values(self, array: pa.Array) -> list[Any]:
        if self._plain is not None:
            return self._plain(pa.chunked_array([array]))
        found: list[Any] = array.to_pylist()
        return found


def csv_table(content: bytes, header: Sequence[str], delimiter: str, wanted: Sequence[str]) -> Table | None:
    """The wanted columns of whole rows; None where there may be anything to tell about any row."""
    if b'"' in content or content.startswith(BYTE_ORDER_MARK) or not delimiter.isascii() or delimiter in '"\r\n':
        return None
    content = plain_ends(content)
    if b"\r" in content or not content or not wanted:
        return None
    try:
        if not content.isascii():
            content.decode()
        lines = np.flatnonzero(np.frombuffer(content, np.uint8) == _NEWLINE)
        if np.diff(lines, prepend=0, append=len(content)).max() > FIELD:
            return None
        found = pyarrow.csv.read_csv(
            pa.BufferReader(content),
            read_options=pyarrow.csv.ReadOptions(
                use_threads=False, block_size=len(content) + 1, column_names=header, encoding="utf8"
            ),
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, quote_char=False),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()), include_columns=list(wanted)
            ),
        )
    except (pa.ArrowException, UnicodeDecodeError):
        return None
    return {name: Column(found[name].combine_chunks()) for name in wanted}


def _moments(array: pa.Array) -> NDArray[np.int64]:
    factor, divisor = _TO_MICROSECONDS[array.type.unit]
    given = pc.fill_null(array.view(pa.int64()), 0).to_numpy()
    limit = 2**62 // factor
    moments: NDArray[np.int64] = np.clip(given, -limit, limit) * factor // divisor - _SINCE_1970
    moments[~pc.is_valid(array).to_numpy(zero_copy_only=False) | (abs(given) > limit)] = times.UNREAD
    return moments


def _read(texts: pa.StringArray, in_utc: bool) -> NDArray[np.int64] | None:
    """Times that are all as long, and written alike."""
    bounds = ends(texts)
    sizes = np.unique(np.diff(bounds))
    if len(sizes) != 1 or sizes[0] < _LEAST:
        return None
    data = np.frombuffer(texts.buffers()[2], np.uint8)[bounds[0] : bounds[-1]].reshape(len(texts), sizes[0])
    between, end = np.unique(data[:, 10]), np.unique(data[:, -1])
    if not {*between.tolist()} <= {ord("T"), ord(" ")}:
        return None
    if end.tolist() != [ord("Z")]:
        # Without a zone; digits after the microsecond are cut off.
        if not in_utc or not ((data[:, 20:] >= ord("0")) & (data[:, 20:] <= ord("9"))).all():
            return None
        data = np.concatenate([data[:, :26], np.full((len(data), 1), ord("Z"), np.uint8)], axis=1)
    if ord(" ") in between:
        data = data.copy()
        data[:, 10] = ord("T")
    return times.read_alike(data)

"""A column of which many rows say the same: each value once, and for each row the number of its value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Codes = NDArray[np.int64]


class Mixed(Exception):
    """A column has values of several kinds, of which 1, 1.0 and true would count as one."""


class Coded:
    """Values, each of which stands for one row or many."""

    __slots__ = ("codes", "values")

    def __init__(self, codes: Codes, values: Sequence[Any]) -> None:
        """Of the row `i`, the value is `values[codes[i]]`."""
        self.codes, self.values = codes, values

    @classmethod
    def constant(cls, value: Any, count: int) -> Coded:
        """One value for so many rows."""
        return cls(np.zeros(count, np.int64), [value])

    @classmethod
    def of(cls, column: Sequence[Any]) -> Coded:
        """The values of a column; raises `Mixed`, and `UnicodeEncodeError` where a text holds half a character."""
        kinds = {*map(type, column)} - {type(None)}
        if len(kinds) > 1:
            raise Mixed
        kind = next(iter(kinds), str)
        if kind in (str, bytes):
            return cls.read(pa.array(column, pa.string() if kind is str else pa.binary()), pa.Array.to_pylist)
        places = {value: place for place, value in enumerate(dict.fromkeys(column))}
        codes = np.fromiter(map(places.__getitem__, column), np.int64, len(column))
        return cls(codes, [*places])

    @classmethod
    def read(cls, array: pa.Array, values: Callable[[pa.Array], Sequence[Any]]) -> Coded:
        """The values of an array, which `values` makes of those that differ."""
        if not pa.types.is_dictionary(array.type):
            array = array.dictionary_encode(null_encoding="encode")
        return cls(array.indices.to_numpy().astype(np.int64), values(array.dictionary))

    def take(self, rows: NDArray[Any]) -> Coded:
        """Only these rows."""
        return Coded(self.codes[rows], self.values)

    def spread_values(self, codes: Codes) -> list[Any]:
        """The values that these codes stand for."""
        return [self.values[code] for code in codes.tolist()]

    def spread(self, values: Iterable[Any], kind: Any) -> NDArray[Any]:
        """For each row what `values` has for its value, as an array of that kind."""
        found: NDArray[Any] = np.array([*values], kind)[self.codes]
        return found

    def spread_bytes(self, values: Iterable[bytes]) -> pa.BinaryArray | bytes:
        """The same of bytes; where there is but one value, that."""
        found = [*values]
        if len(found) == 1:
            return found[0]
        return pa.array(found, pa.binary()).take(pa.array(self.codes))


def rows_together(columns: Sequence[Coded]) -> Coded:
    """The values of several columns as one column of tuples."""
    codes, parts = together(columns)
    values = (column.spread_values(part) for column, part in zip(columns, parts, strict=True))
    return Coded(codes, [*zip(*values, strict=True)])


def together(columns: Sequence[Coded]) -> tuple[Codes, list[Codes]]:
    """What several columns say together: the code of each row, and for each such code those of the columns."""
    codes = columns[0].codes
    for column in columns[1:]:
        size = len(column.values)
        if size == 1:
            continue
        # Numbered anew each time, so that no product of sizes can exceed a number.
        codes = _numbered(codes * size + column.codes)[0]
    codes, first = _numbered(codes)
    return codes, [column.codes[first] for column in columns]


def _numbered(codes: Codes) -> tuple[Codes, Codes]:
    """The same distinctions in numbers from 0 without gaps, and a row for each of them."""
    found = pa.array(codes).dictionary_encode().indices.to_numpy()
    first = np.empty(found.max() + 1 if len(found) else 0, np.int64)
    first[found[::-1]] = np.arange(len(found) - 1, -1, -1)
    return found.astype(np.int64), first

"""Parquet files: rows as column to value, every number exact."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from metering.errors import BillingError
from metering.files.pieces import PIECE, Piece
from metering.files.records import Record
from metering.files.table import Column, Table
from metering.ingestion.events import Malformed


class ParquetContent:
    """A Parquet file that can be read. Its positions are rows."""

    def __init__(self, path: Path) -> None:
        """Look at the schema; raises `BillingError` where it can't be read."""
        self.path = path
        self.read = 0
        """Rows that have been read."""
        self._file = _opened(path)
        self.size: int = self._file.metadata.num_rows
        self.columns: list[str] = list(self._file.schema_arrow.names)

    def check(self, wanted: Iterable[str]) -> None:
        """Raise `BillingError` where a column that is wanted holds floating point: what it says is not exact."""
        for name in wanted:
            kind = self._file.schema_arrow.field(name).type
            if pa.types.is_floating(kind.value_type if pa.types.is_dictionary(kind) else kind):
                raise BillingError(
                    f"The column {name!r} of {self.path} is of floating point ({kind}), which is not exact.",
                    "Write it as a decimal, such as decimal128(38, 12), as an integer, or as text.",
                )

    def pieces(self, wanted: Iterable[str], *, piece: int = PIECE, after: int = 0) -> Iterator[Piece]:
        """The rows after the first `after`, of those columns only."""
        groups, begins = [], 0
        skip = after
        for group in range(self._file.num_row_groups):
            rows = self._file.metadata.row_group(group).num_rows
            if begins + rows <= after:
                skip -= rows
            else:
                groups.append(group)
            begins += rows
        position = after
        try:
            for batch in self._file.iter_batches(piece, row_groups=groups, columns=list(wanted)):
                if skip >= batch.num_rows:
                    skip -= batch.num_rows
                    continue
                batch, skip = batch.slice(skip), 0
                first, position = position + 1, position + batch.num_rows
                sink = pa.BufferOutputStream()
                with pa.ipc.new_stream(sink, batch.schema) as stream:
                    stream.write_batch(batch)
                self.read = position
                yield Piece(first, sink.getvalue().to_pybytes(), position, batch.num_rows, {})
        except (pa.ArrowException, OSError) as error:
            raise BillingError(
                f"The Parquet file {self.path} is damaged after row {position}: {error}.",
                "Get it again and import it again: what was already kept counts once.",
            ) from error


def parquet_table(piece: Piece) -> Table:
    """The columns of a piece."""
    with pa.ipc.open_stream(piece.content) as stream:
        found = stream.read_all().combine_chunks()
    return {name: _column(column.chunk(0)) for name, column in zip(found.column_names, found.columns, strict=True)}


def _column(array: pa.Array) -> Column:
    if not array.null_count and (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        return Column(array.cast(pa.string()))
    return Column(array, _plain)


def parquet_records(piece: Piece) -> Iterator[Record]:
    """The rows of a piece as column to text, whole number, decimal, truth or nothing."""
    with pa.ipc.open_stream(piece.content) as stream:
        table = stream.read_all()
    names = table.column_names
    columns = [_plain(column) for column in table.columns]
    for number, row in enumerate(zip(*columns, strict=True), start=piece.first):
        values = dict(zip(names, row, strict=True))
        wrong = next((name for name, value in values.items() if isinstance(value, Malformed)), None)
        yield Record(number, values if wrong is None else values[wrong], None)


def _plain(column: pa.ChunkedArray) -> list[Any]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_temporal(kind):
        # As text: times keep their digits, and a zone is UTC, as it is stored.
        if pa.types.is_timestamp(kind) and kind.tz is not None:
            column = column.cast(pa.timestamp(kind.unit, "UTC"))
        texts: list[Any] = pc.cast(column, pa.string()).to_pylist()
        return texts
    if pa.types.is_nested(kind):
        return [value if value is None else _NESTED for value in column.to_pylist()]
    values: list[Any] = column.to_pylist()
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return [_text(value) for value in values]
    if pa.types.is_decimal(kind):
        return [value if value is None else _trimmed(value) for value in values]
    return values


_NESTED = Malformed("invalid_row", None, "The row has a column that is an object or a list.")


def _text(value: bytes | None) -> str | Malformed | None:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return Malformed("invalid_encoding", None, "The row has a text that is not UTF-8.")


def _trimmed(value: Decimal) -> Decimal:
    """A decimal column pads each number to its scale; 1.50 and 1.5 are one number, and make one text of a key."""
    trimmed = value.normalize() if len(value.as_tuple().digits) <= 28 else value
    return trimmed if value else Decimal(0)


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except FileNotFoundError:
        raise BillingError(f"The file {path} does not exist.", "Check the path.") from None
    except (pa.ArrowException, OSError) as error:
        raise BillingError(f"The Parquet file {path} can't be read: {error}.", "Get it again.") from error

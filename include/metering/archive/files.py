"""The files of an archived month: Parquet, with a manifest that says what they hold."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from psycopg import sql

from metering.archive.totals import SQL, Connection, Totals, formatted, totals_of
from metering.errors import BillingError

MANIFEST = "_manifest.json"
"""Begins with a line, so that programs that read a folder of Parquet pass over it."""
GROUP_BYTES = 32 * 1024 * 1024
"""Of text that make one row group."""
FILE_ROWS = 5_000_000
"""After about so many rows another file begins."""

_MOMENT = pa.timestamp("us", "UTC")
SCHEMA = pa.schema(
    [
        pa.field("team_id", pa.int32(), nullable=False),
        pa.field("occurred_at", _MOMENT, nullable=False),
        pa.field("key_digest", pa.string(), nullable=False),
        pa.field("event_key", pa.string(), nullable=False),
        pa.field("event_name", pa.string(), nullable=False),
        pa.field("quantity", pa.decimal128(38, 12), nullable=False),
        pa.field("unit", pa.string()),
        pa.field("subject", pa.string()),
        pa.field("properties", pa.string(), nullable=False),
        pa.field("batch_id", pa.int64(), nullable=False),
        pa.field("recorded_at", _MOMENT, nullable=False),
    ]
)
"""The columns of landing.usage_events. A digest is a UUID as text; properties are JSON as text."""

_MOMENTS = ("occurred_at", "recorded_at")
_TEXT_TYPES = {field.name: pa.int64() if field.name in _MOMENTS else field.type for field in SCHEMA}
_READ = {
    "read_options": pa_csv.ReadOptions(column_names=SCHEMA.names),
    "parse_options": pa_csv.ParseOptions(newlines_in_values=True),
    # What is empty is null, and what is an empty text is quoted.
    "convert_options": pa_csv.ConvertOptions(
        column_types=_TEXT_TYPES, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
    ),
}
_WRITE = pa_csv.WriteOptions(include_header=False)


def write(connection: Connection, table: sql.Composable, folder: Path, recorded_until: datetime) -> Totals:
    """Write what was recorded until then in a table of events into a folder that is not there yet; return its manifest.

    The rows and their totals are of one moment. When it returns, everything is on the disk, the manifest last.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with connection.transaction():
        connection.execute(SQL["one_moment"])
        manifest: Totals = {
            "format": 1,
            "table": "landing.usage_events",
            "recorded_until": recorded_until.isoformat(),
            **totals_of(connection, table, recorded_until),
            "files": [],
        }
        made = _write_files(_tables(connection, table, recorded_until), folder)
    manifest["files"] = [{**_facts(path), "rows": rows} for path, rows in made]
    manifest["written_at"] = datetime.now(UTC).isoformat(timespec="seconds")
    path = folder / MANIFEST
    path.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    for each in (path, folder, folder.parent):
        sync(each)
    return manifest


def read_manifest(folder: Path) -> Totals:
    """What a folder says that it holds; raises `BillingError` where it can't be read."""
    try:
        manifest: Totals = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BillingError(
            f"The manifest in {folder} can't be read: {error}.", "Bring the folder back from where it was copied to."
        ) from error
    return manifest


def check(folder: Path, manifest: Totals) -> None:
    """Compare each file with what the manifest says of it; raises `BillingError` naming the first that differs."""
    for said in manifest["files"]:
        path = folder / said["name"]
        try:
            found = _facts(path)
        except OSError as error:
            raise BillingError(
                f"The archived file {path} can't be read: {error.strerror}.",
                "Bring it back from where it was copied to; nothing was changed.",
            ) from error
        if found != {name: said[name] for name in found}:
            raise BillingError(
                f"The archived file {path} is not what its manifest says: {found['bytes']} bytes, SHA-256"
                f" {found['sha256']}, in place of {said['bytes']} and {said['sha256']}.",
                "Bring it back from where it was copied to; nothing was changed.",
            )


def load(connection: Connection, folder: Path, manifest: Totals, table: sql.Composable) -> None:
    """Read the files into a table of events."""
    with connection.cursor().copy(formatted("copy_in", table)) as copy:
        for said in manifest["files"]:
            with pq.ParquetFile(folder / said["name"]) as file:
                for batch in file.iter_batches(100_000):
                    sink = io.BytesIO()
                    pa_csv.write_csv(_with_texts(pa.Table.from_batches([batch])), sink, _WRITE)
                    copy.write(sink.getvalue())


def _tables(connection: Connection, table: sql.Composable, recorded_until: datetime) -> Iterator[pa.Table]:
    rows, size = [], 0
    with connection.cursor().copy(formatted("copy_out", table, recorded_until)) as copy:
        for row in copy:
            rows.append(bytes(row))
            size += len(row)
            if size >= GROUP_BYTES:
                yield _table(rows)
                rows, size = [], 0
    if rows:
        yield _table(rows)


def _table(rows: list[bytes]) -> pa.Table:
    """Rows as PostgreSQL writes them, as a table of the schema; every value is exact, or this fails."""
    return pa_csv.read_csv(io.BytesIO(b"".join(rows)), **_READ).cast(SCHEMA)


def _with_texts(table: pa.Table) -> pa.Table:
    """Moments as PostgreSQL reads them; the zone of all of them is UTC."""
    for name in _MOMENTS:
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, table.column(place).cast(pa.string()))
    return table


def _write_files(tables: Iterator[pa.Table], folder: Path) -> list[tuple[Path, int]]:
    made: list[tuple[Path, int]] = []
    writer: Any = None
    try:
        for table in tables:
            if writer is None or made[-1][1] >= FILE_ROWS:
                if writer is not None:
                    writer.close()
                made.append((folder / f"events-{len(made) + 1:04d}.parquet", 0))
                writer = pq.ParquetWriter(made[-1][0], SCHEMA, compression="zstd")
            writer.write_table(table)
            made[-1] = (made[-1][0], made[-1][1] + table.num_rows)
    finally:
        if writer is not None:
            writer.close()
    for path, _ in made:
        sync(path)
    return made


def _facts(path: Path) -> dict[str, Any]:
    hashed = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            hashed.update(block)
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": hashed.hexdigest()}


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

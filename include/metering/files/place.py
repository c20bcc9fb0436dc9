"""How far the import of a file came: kept in the database by what the file holds, so that it goes on from there."""

from __future__ import annotations

import time
import uuid
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import DictRow

from metering import statements
from metering.database import one
from metering.errors import BillingError
from metering.files.mapping import Mapping
from metering.files.pieces import Piece
from metering.files.reader import UsageFile
from metering.files.tally import Tally
from metering.ingestion.events import digest, to_json

SQL = statements.beside(__file__, "place")

_PATIENCE = 10.0
"""Seconds to wait for an import that was just killed to leave the server."""


class Place:
    """The place in one file. Use it as a context manager: no other import of the file goes on meanwhile."""

    def __init__(self, connection: psycopg.Connection[DictRow], file: UsageFile, file_digest: bytes) -> None:
        """Of `file`, which has that digest; `connection` must be in autocommit mode."""
        self._connection, self._file = connection, file
        self._key = {"file": uuid.UUID(bytes=file_digest), "map": uuid.UUID(bytes=_map_digest(file.decoder.mapping))}
        self.position = self.lines = 0
        self.before = Tally()
        """What earlier, interrupted imports of the file came to."""
        self.updated_at: datetime | None = None
        self.finished_at: datetime | None = None

    def __enter__(self) -> Place:
        """Take the turn of importing this file; raises `BillingError` where another process has it."""
        until = time.monotonic() + _PATIENCE
        while not one(self._connection, SQL["take_turn"], **self._key)["taken"]:
            if time.monotonic() > until:
                raise BillingError(
                    f"The file {self._file.path} is being imported by another process.",
                    "Wait for it to end, or stop it.",
                )
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        """Leave it to others."""
        if not self._connection.broken:
            self._connection.execute(SQL["leave"], self._key)

    def begin(self, again: bool = False) -> None:
        """Read the place, or start over."""
        path, connection = self._file.path, self._connection
        row = one(connection, SQL["begin"], **self._key, name=path.name, bytes=path.stat().st_size)
        if again and row["position"]:
            row = one(connection, SQL["begin_again"], **self._key)
        self._set(row)

    def advance(self, piece: Piece, landed: Tally) -> None:
        """A piece has been committed."""
        self._connection.execute(
            SQL["advance"],
            {
                **self._key,
                "position": piece.position,
                "lines": piece.first - 1 + piece.lines,
                "read": landed.read,
                "accepted": landed.accepted,
                "duplicates": landed.duplicate,
                "quarantined": landed.quarantined,
            },
        )

    def finish(self) -> None:
        """All of the file has been committed."""
        self._connection.execute(SQL["finish"], self._key)

    def _set(self, row: dict[str, Any]) -> None:
        self.position, self.lines = row["position"], row["lines"]
        self.updated_at, self.finished_at = row["updated_at"], row["finished_at"]
        self.before = Tally(row["read"], row["accepted"], row["duplicates"], row["quarantined"])


def _map_digest(mapping: Mapping | None) -> bytes:
    # What maps could not say at first is left out where it isn't said, so that files which were read then stay known.
    unsaid = {"name", "catalog"} | ({"meter"} if mapping is None or mapping.meter is None else set())
    return digest(to_json(mapping.model_dump(mode="json", exclude=unsaid) if mapping else None))

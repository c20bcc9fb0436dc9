"""Connections to the billing database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row

from metering import settings as settings_module
from metering.errors import BillingError

UNREACHABLE = (psycopg.OperationalError, psycopg.ProgrammingError)
"""What connecting raises: the second for an address that can't be understood."""


def connect(
    url: str | None = None, *, application: str = "billing", autocommit: bool = True
) -> psycopg.Connection[DictRow]:
    """Open a connection to the billing database, rows as dictionaries, the session's zone UTC.

    Autocommit, so that a `with connection.transaction():` is a real transaction whose end is a real commit, and never
    a savepoint inside an implicit one. Raises `BillingError` where the server can't be reached.
    """
    address = url or settings_module.load().database_url
    try:
        return psycopg.connect(
            address,
            autocommit=autocommit,
            row_factory=dict_row,
            application_name=application,
            options="-c timezone=UTC",
            connect_timeout=10,
        )
    except UNREACHABLE as error:
        raise BillingError(
            f"PostgreSQL can't be reached: {why(error)}", "Run `./billing up`, or check DATABASE_URL."
        ) from error


def why(error: psycopg.Error) -> str:
    """Why a connection failed, in a sentence; the hints that libpq adds in further lines are left out."""
    reason = (str(error).strip().splitlines() or ["it gave no reason"])[0]
    return f"{reason.removeprefix('connection failed: ').rstrip('.')}."


def one(connection: psycopg.Connection[DictRow], statement: str, **values: Any) -> dict[str, Any]:
    """Run a statement that returns exactly one row."""
    row = connection.execute(statement, values).fetchone()
    if row is None:
        raise LookupError("the statement returned no row")
    return row


def rows(connection: psycopg.Connection[DictRow], statement: str, **values: Any) -> list[dict[str, Any]]:
    """Run a statement and return all of its rows."""
    return connection.execute(statement, values).fetchall()


def planned_once(
    connection: psycopg.Connection[DictRow], statement: str, values: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The same, of a statement that takes longer to plan than to run: the connection keeps its first plan.

    For sessions in which `plan_cache_mode` is `force_generic_plan`.
    """
    return connection.execute(statement, values, prepare=True).fetchall()

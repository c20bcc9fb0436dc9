"""Putting exchange rates into the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import DictRow

from metering import statements
from metering.database import one, rows
from metering.rates.ecb import Quotes

SQL = statements.beside(__file__, "rates")


@dataclass(frozen=True)
class Loaded:
    """What became of the rates of a file."""

    read: int
    added: int
    """Rates that are new."""
    corrected: int
    """Of these, how many were known with another number, which stays readable."""
    passed_over: tuple[str, ...]
    """Currencies that no bill can be in."""


def load(connection: psycopg.Connection[DictRow], quotes: Quotes, source: str, *, dry_run: bool = False) -> Loaded:
    """Add the rates that are not known yet, in one transaction. Loading them again adds nothing."""
    with connection.transaction(force_rollback=dry_run):
        connection.execute(SQL["take_turn"])
        now = one(connection, SQL["record_now"])["now"]
        connection.execute(SQL["make_said"])
        with connection.cursor().copy(SQL["copy_said"]) as copying:
            for quote in quotes.quotes:
                copying.write_row((quote.currency, quote.quoted_at, quote.per_euro))
        done = one(connection, SQL["add_rates"], source=source, now=now)
        unknown = tuple(row["currency"] for row in rows(connection, SQL["unknown_currencies"]))
    return Loaded(len(quotes.quotes), done["added"], done["corrected"], unknown)


def latest(connection: psycopg.Connection[DictRow], at: datetime | None = None) -> list[dict[str, Any]]:
    """The latest rate of each currency, or the latest one at or before a moment."""
    return rows(connection, SQL["latest"], at=at)

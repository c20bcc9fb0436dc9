"""Billing periods: opened ahead of the usage that falls into them."""

from __future__ import annotations

import psycopg
from psycopg.rows import DictRow

from metering import statements
from metering.database import one

SQL = statements.beside(__file__, "periods")


def open_periods(connection: psycopg.Connection[DictRow]) -> int:
    """Open every period of every subscription that has begun by now; return how many are new.

    An open period whose subscription was given another end follows it; a finalized one never changes.
    """
    with connection.transaction():
        connection.execute(SQL["record_now"])
        return int(one(connection, SQL["open_periods"])["opened"])

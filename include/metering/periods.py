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
        opened = int(one(connection, SQL["open_periods"])["opened"])
        connection.execute(SQL["leave_ended"])
        return opened


def open_closing_periods(connection: psycopg.Connection[DictRow]) -> None:
    """Open a closing period for each subscription that is over and of which a final bill is queued to be rated again.

    It is what the difference stands on, since no other period of such a subscription is open.
    """
    connection.execute(SQL["open_closing_periods"])

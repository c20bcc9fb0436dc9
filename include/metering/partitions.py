"""Upkeep of the month partitions of landing.usage_events."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import DictRow

from metering import statements
from metering.database import one, rows

SQL = statements.beside(__file__, "partitions")

MONTHS_AHEAD = 3


def make_ahead(connection: psycopg.Connection[DictRow], months_ahead: int = MONTHS_AHEAD) -> dict[str, Any]:
    """Make the partitions of this month (UTC) and the next `months_ahead`; what is there stays as it is.

    Returns how many were made now, and every partition with its size in bytes and the planner's estimate of its rows.
    """
    made = one(connection, SQL["make_ahead"], months_ahead=months_ahead)["made"]
    sizes = {row["partition"]: {"bytes": row["bytes"], "rows": row["rows"]} for row in rows(connection, SQL["sizes"])}
    return {"made": int(made), "partitions": sizes}

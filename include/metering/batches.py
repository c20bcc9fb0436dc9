"""Upkeep of landing.batches: a row a transaction is many a second, and after some days only their sums are of use."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import DictRow

from metering import statements
from metering.database import one, rows

SQL = statements.beside(__file__, "batches")

KEPT_DAYS = 7
"""Days for which each batch stays by itself."""


def merge(connection: psycopg.Connection[DictRow], days: int = KEPT_DAYS) -> dict[str, Any]:
    """Merge the batches that came over HTTP and were metered more than `days` ago: one for each run and its months.

    Counts, bounds, and the first recorded moment stay, so that horizons, reports of the past and checks of a run's
    interval find what they did. Each run's are a transaction of their own. Batches of files keep their names. Returns
    how many there were, and how many they became.
    """
    merged = kept = 0
    for interval in rows(connection, SQL["intervals"], days=days):
        done = one(connection, SQL["merge"], **interval)
        merged, kept = merged + int(done["merged"]), kept + int(done["kept"])
    return {"merged": merged, "kept": kept}

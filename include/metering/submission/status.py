"""Where submission stands, from the ledger alone: nothing here talks to Stripe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import DictRow

from metering import statements
from metering.database import rows

SQL = statements.beside(__file__, "status")


@dataclass(frozen=True)
class Status:
    """Rows to show, each a dictionary as its statement in status.sql names it."""

    ledger: list[dict[str, Any]]
    reports: list[dict[str, Any]]
    by_state: list[dict[str, Any]]
    latest_verdicts: list[dict[str, Any]]
    held: list[dict[str, Any]]
    teams_on_hold: list[dict[str, Any]]
    last_failures: list[dict[str, Any]]


def status(connection: psycopg.Connection[DictRow]) -> Status:
    """Read where submission stands."""
    return Status(**{name: rows(connection, statement) for name, statement in SQL.items()})

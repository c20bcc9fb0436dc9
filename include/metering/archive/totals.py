"""What the events of a month come to: what is compared before anything is taken away, and after it is brought back."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import DictRow

from metering import statements

SQL = statements.beside(__file__, "archive")

Connection = psycopg.Connection[DictRow]
Totals = dict[str, Any]
"""rows, quantity, checksum, first and last moments; events: the first three by event name. All of them exact."""

FAR = datetime.max.replace(tzinfo=UTC)
"""Later than anything is recorded: all rows."""


def totals_of(connection: Connection, table: sql.Composable, recorded_until: datetime) -> Totals:
    """Count and add up what was recorded until then in a table of events."""
    found = connection.execute(formatted("totals", table, recorded_until)).fetchall()
    return {
        "rows": sum(row["rows"] for row in found),
        "quantity": str(sum((Decimal(row["quantity"]) for row in found), Decimal(0))),
        "checksum": str(sum(int(row["checksum"]) for row in found)),
        "first_occurred_at": _text(min((row["first_occurred_at"] for row in found), default=None)),
        "last_occurred_at": _text(max((row["last_occurred_at"] for row in found), default=None)),
        "last_recorded_at": _text(max((row["last_recorded_at"] for row in found), default=None)),
        "events": {
            row["event_name"]: {"rows": row["rows"], "quantity": row["quantity"], "checksum": row["checksum"]}
            for row in found
        },
    }


def differences(expected: Totals, found: Totals) -> list[str]:
    """What differs, one phrase each."""
    return [
        f"{name}: {expected[name]} expected, {found[name]} found" for name in found if expected[name] != found[name]
    ]


def formatted(name: str, table: sql.Composable, recorded_until: datetime | None = None) -> sql.Composed:
    """A statement about a table, whose name can't be a parameter."""
    return sql.SQL(SQL[name]).format(table=table, horizon=sql.Literal(recorded_until))


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None

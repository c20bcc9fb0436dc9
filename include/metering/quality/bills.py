"""The gate on what is about to be billed: made on every bill that is not final, after it was rated."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import psycopg
from psycopg.rows import DictRow

from metering import statements
from metering.database import one
from metering.quality.gate import Check, Gate, Severity, pass_through

AMOUNT_MOVED = Decimal("0.02")
"""How far the total of a period that has ended may move from one gate to the next, as a share."""

USAGE_MOVED = Decimal("0.50")
"""How far a meter's usage of a period that has ended may be from that of the period before, as a share."""

GATE = Gate(
    "bills",
    statements.beside(__file__, "bills"),
    (
        Check("lines_make_total", Severity.CRITICAL),
        Check("tiers_make_usage", Severity.CRITICAL),
        Check("tiers_make_amount", Severity.CRITICAL),
        Check("unpriced_usage", Severity.CRITICAL),
        Check("usage_without_period", Severity.WARNING),
        Check("negative_total", Severity.CRITICAL),
        Check("finer_than_currency", Severity.CRITICAL),
        Check("amount_moved", Severity.WARNING),
        Check("usage_moved", Severity.WARNING),
        Check("first_bill", Severity.INFO),
    ),
)


def gate_bills(connection: psycopg.Connection[DictRow], run_id: int) -> dict[str, Any]:
    """Check every bill that is not final and hold the teams of those that can't be right.

    A hold ends by itself when the same check finds nothing about the team any more. Needs the marts to be built.
    Returns counts (see `pass_through`) with the number of `bills`, how many `moved`, and `totals` by currency
    (strings, major units).
    """
    outcome = pass_through(
        GATE, connection, run_id, {"run_id": run_id, "amount_moved": AMOUNT_MOVED, "usage_moved": USAGE_MOVED}
    )
    seen = one(connection, GATE.statements["remember_bills"], run_id=run_id)
    return {"bills": int(seen["bills"]), "moved": int(seen["moved"]), "totals": seen["totals"], **outcome}

"""Closing billing periods: freezing the bills of periods that have ended."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
from psycopg.rows import DictRow

from metering import statements
from metering.database import one, rows
from metering.errors import BillingError

SQL = statements.beside(__file__, "closing")

GRACE = timedelta(hours=6)
"""How long after its end a period waits for late usage before its bill becomes final."""


def close_periods(connection: psycopg.Connection[DictRow], grace: timedelta = GRACE) -> dict[str, Any]:
    """Finalize the bill of every period that ended `grace` ago, and say which were and which are held.

    A period is finalized only when everything recorded up to its end and `grace` has been metered and rated, nothing
    of its subscription's ended periods is queued, and no hold is on its team. The lines are kept as they stand, with
    the recorded time up to which they know (`as_of`) and a digest. Doing it again finalizes nothing twice. Raises
    `BillingError` while a metering run is open: the marts may be between two states.
    """
    with connection.transaction():
        connection.execute(SQL["take_turn"])
        now = one(connection, SQL["record_now"])["now"]
        state = one(connection, SQL["metering_state"])
        if state["open_run"] is not None:
            raise BillingError(
                f"Metering run {state['open_run']} is not closed, so no bill can become final.",
                "Let aggregate_usage succeed, then run this again.",
            )
        values = {"grace": grace, "horizon": state["horizon"], "now": now}
        held = rows(connection, SQL["held_periods"], **values)
        connection.execute(SQL["drop_empty_closing_periods"])
        finalized = rows(connection, SQL["finalize_bills"], **values)
        connection.execute(SQL["finalize_lines"])
        connection.execute(SQL["finalize_periods"])
    return {
        "finalized": len(finalized),
        "totals": {row["currency"]: str(row["total"]) for row in _sum_by_currency(finalized)},
        "held": {f"{row['team_key']} {row['period_label']}": row["reason"] for row in held},
        "as_of": state["horizon"].isoformat() if state["horizon"] else None,
    }


def _sum_by_currency(bills: list[dict[str, Any]]) -> list[dict[str, Any]]:
    totals: dict[str, Any] = {}
    for bill in bills:
        totals[bill["currency"]] = totals.get(bill["currency"], 0) + bill["total"]
    return [{"currency": currency, "total": total} for currency, total in sorted(totals.items())]

"""The last check of the day: every step of marts.fct_reconciliation equals the one before it."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import DictRow

from metering import statements
from metering.database import one, rows
from metering.errors import BillingError

SQL = statements.beside(__file__, "differences")


class DifferenceError(BillingError):
    """Steps differ; looking again changes nothing."""


def require_zero(connection: psycopg.Connection[DictRow]) -> dict[str, Any]:
    """Return the sum of the absolute differences at each step, all zero.

    Usage that Stripe took and is still counting (verdict `settling`) is counted as such and is no difference yet.
    Raises `DifferenceError` naming the first ten places where steps differ: team, period, meter, step and how much.
    """
    summary = one(connection, SQL["summary"])
    differing = rows(connection, SQL["differing"])
    if differing:
        places = "; ".join(f"{row['place']}: {row['step']} {row['difference'].normalize():f}" for row in differing[:10])
        more = f"; and {len(differing) - 10} more" if len(differing) > 10 else ""
        raise DifferenceError(
            f"Reconciliation found {len(differing)} differences: {places}{more}.",
            "docs/runbooks/reconcile_with_stripe.md says what each step means.",
        )
    return summary

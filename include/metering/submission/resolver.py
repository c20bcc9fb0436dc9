"""Deciding what became of submissions that may not be sent again, by what Stripe's summary of their window says."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import psycopg
from psycopg.rows import DictRow

from metering import statements
from metering.database import rows
from metering.errors import BillingError
from metering.submission import planner
from metering.submission.client import Stripe
from metering.submission.reader import Span, read
from metering.submission.sender import RESEND

SQL = statements.beside(__file__, "resolver")


def resolve_undecided(connection: psycopg.Connection[DictRow], server: Stripe) -> dict[str, int]:
    """Read the window of each undecided submission; return how many are `confirmed`, `missing` and still `undecided`.

    A window has at most one submission of unknown outcome, so Stripe has either what the ledger says (it never arrived)
    or that and its quantity (it did). Absence must hold for 24 hours, since summaries lag; what is missing then leaves
    the ledger, and the next planning sends it anew under a new identifier. Any other total decides nothing.
    """
    now = server.now(connection)
    open_ones = rows(connection, SQL["undecided"], resend_after=now - RESEND)
    if not open_ones:
        return {"confirmed": 0, "missing": 0, "undecided": 0}
    spans = [Span(row["stripe_customer_id"], row["stripe_meter_id"], row["begin"], row["until"]) for row in open_ones]
    totals = read(connection, server, spans)
    there, absent = [], []
    for row, total in zip(open_ones, totals, strict=True):
        beyond: Decimal | None = None if isinstance(total, BillingError) else total - row["ledger_quantity"]
        there.append(beyond == row["quantity"])
        absent.append(beyond == 0)
    with connection.transaction():
        connection.execute(planner.SQL["take_turn"])
        decided = connection.execute(
            SQL["decide"],
            {
                **{name: [row[name] for row in open_ones] for name in ("team_id", "identifier", "attempts")},
                "there": there,
                "absent": absent,
                "now": now,
            },
        ).fetchall()
    states = Counter(row["state"] for row in decided)
    return {"confirmed": states["confirmed"], "missing": states["missing"], "undecided": states["uncertain"]}

"""The gate on what arrived: made before any of it is metered."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import psycopg
from psycopg.rows import DictRow

from metering import statements
from metering.database import one
from metering.ingestion.events import MOST
from metering.quality.gate import Check, Gate, Severity, pass_through

ABSURD_QUANTITY = Decimal(10) ** 15
"""Above this, one event's quantity is a mistake: a petabyte in bytes, or 277 hours in nanoseconds."""

QUARANTINED_SHARE = Decimal("0.05")
"""Above this share of quarantined among what a team sent in the interval, somebody should look."""

GATE = Gate(
    "arrivals",
    statements.beside(__file__, "arrivals"),
    (
        Check("counts_equal", Severity.CRITICAL),
        Check("unknown_team", Severity.CRITICAL),
        Check("unmetered_event", Severity.CRITICAL),
        Check("not_a_number", Severity.CRITICAL),
        Check("negative_quantity", Severity.CRITICAL),
        Check("absurd_quantity", Severity.CRITICAL),
        Check("uncountable_before_meter", Severity.CRITICAL),
        Check("quarantined_share", Severity.WARNING),
    ),
)


def gate_arrivals(connection: psycopg.Connection[DictRow], run_id: int) -> dict[str, Any]:
    """Check what was recorded in a run's interval, and in those of runs before it whose gate did not pass.

    For teams that this gate holds, everything since the arrivals they are held for is looked at again, without what
    has been withdrawn, so that a hold ends when its cause is gone and not when the next hour is clean. Returns counts
    (see `pass_through`) with `arrived`, the number of events. Raises `GateError` where landing contradicts itself.
    """
    bounds = one(connection, GATE.statements["bounds"], run_id=run_id)
    outcome = pass_through(
        GATE,
        connection,
        run_id,
        {**bounds, "absurd": ABSURD_QUANTITY, "most": MOST, "quarantined_share": QUARANTINED_SHARE},
    )
    return {"arrived": int(bounds["arrived"]), **outcome}

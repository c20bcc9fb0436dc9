"""Which alerts trigger: billing.alerts against the open bills of the marts."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import DictRow

from metering import statements
from metering.database import rows

SQL = statements.beside(__file__, "alerts")


def evaluate(connection: psycopg.Connection[DictRow]) -> dict[str, Any]:
    """Trigger each active alert whose measure has reached its threshold on a bill that is not final.

    An alert triggers once for each subscription, billing period and threshold, whatever happens to the measure
    afterwards; evaluating again triggers nothing twice. Returns how many triggered and which (team, alert, period).
    """
    triggered = rows(connection, SQL["trigger"])
    return {
        "triggered": len(triggered),
        "alerts": [f"{row['team_key']} {row['alert_key']} {row['period_label']}" for row in triggered],
    }

"""A long history made at once: events landed month by month, and set-based what metering and rating leave of them.

Metering looks a window up before it writes it, which is what an hour's increment needs and what years at once make slow.
Here quarter-hours, hours, days and months are filled by one plain query each, and bills are made by the models. What was
filled is compared with what metering would make of the events before anybody measures on it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from metering import runs, statements, transform
from metering.database import one, rows
from metering.errors import BillingError
from metering.settings import Settings

SQL = statements.beside(__file__, "history")

COMPARED = timedelta(days=1)
"""So much of the history, up to its end, is counted again from raw events as metering counts."""


def fill(connection: Any, since: datetime, until: datetime, events: int, told: Callable[[str], None]) -> int:
    """Fill usage of the half-open range from events that have landed; return the run that is said to have done it.

    For teams in UTC and meters that add up `quantity` and tell nothing apart. The run is left open. Raises
    `BillingError` where what is filled is not what metering would make of the events.
    """
    run = one(connection, SQL["open_run"], **one(connection, runs.SQL["take_horizon"]), events=events)
    for month in rows(connection, SQL["months"], since=since, until=until):
        told(f"Filling quarter-hours, hours and days of {month['since']:%Y-%m}.")
        for name in ("fill_quarter_hours", "fill_hours", "fill_days", "fill_months"):
            connection.execute(SQL[name], {**run, **month})
    connection.execute(SQL["vacuum_usage"])
    with connection.transaction():
        connection.execute(SQL["compare"], {"since": until - COMPARED, "until": until})
        differing = one(connection, SQL["differing"])["windows"]
    if differing:
        raise BillingError(f"{differing:,} windows are not what metering makes of events.", "This is a defect.")
    return int(run["run_id"])


def bill(connection: Any, settings: Settings, run: int, since: datetime, until: datetime) -> None:
    """Make the bills of the periods that touch the half-open range, by the models, and close the run."""
    connection.execute(SQL["queue_periods"], {"run_id": run, "since": since, "until": until})
    connection.execute(SQL["analyze_queue"])
    transform.build("tag:billing", settings, command="run")
    runs.close_run(connection, run)
    connection.execute(SQL["vacuum_bills"])

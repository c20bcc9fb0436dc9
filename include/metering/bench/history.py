"""A long history made at once: events landed month by month, and as whole sets what metering and rating leave of them.

Metering looks a window up before it writes it: what an hour's increment needs, and what makes years at once slow. Here
quarter-hours, hours, days and months are filled by one plain query each, and the models make the bills. What was filled
is compared with what metering would make of the events before anybody measures on it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

import psycopg
from psycopg.rows import DictRow

from metering import runs, statements, transform
from metering.database import one, rows
from metering.errors import BillingError
from metering.settings import Settings

SQL = statements.beside(__file__, "history")

COMPARED = timedelta(days=1)
"""So much of the history, up to its end, is counted again from raw events as metering counts."""


class Place(Protocol):
    """A database with a catalog of teams in UTC and of meters that add up quantities and tell nothing apart."""

    connection: psycopg.Connection[DictRow]
    settings: Settings
    until: datetime

    def land(self, events: int, late: int, width: timedelta, until: datetime) -> None:
        """Land events of the `width` of time before `until`."""

    def told(self, what: str) -> None:
        """Say what is under way."""


def make(place: Place, events: int) -> None:
    """Events of twelve calendar months and the one that runs, metered and billed; no bill is final.

    Raises `BillingError` where what is filled is not what metering would make of the events.
    """
    connection, until = place.connection, place.until
    since = one(connection, SQL["begin"], until=until)["since"]
    months = rows(connection, SQL["months"], since=since, until=until)
    landed = 0
    for month in months:
        due = round(events * ((month["until"] - since) / (until - since)))
        place.told(f"Landing {due - landed:,} events of {month['since']:%Y-%m}.")
        place.land(due - landed, 0, month["until"] - month["since"], month["until"])
        landed = due
    meter(place, events, since, until)


def meter(place: Place, events: int, since: datetime, until: datetime) -> None:
    """Make of `events` that have landed in [since, until), whole hours, what metering and rating leave of them.

    Nothing of the range may have been metered before. Raises `BillingError` as `make` does.
    """
    connection = place.connection
    months = rows(connection, SQL["months"], since=since, until=until)
    horizon = one(connection, runs.SQL["take_horizon"])["horizon"]
    run = one(connection, SQL["open_run"], horizon=horizon, events=events)
    for month in months:
        place.told(f"Filling quarter-hours, hours and days of {month['since']:%Y-%m}.")
        connection.execute(SQL["fill_quarter_hours"], {**run, **month})
        fill_windows(connection, **month)
    connection.execute(SQL["vacuum_usage"])
    place.told("Comparing a day of it with what metering makes of its events.")
    _compare(connection, until - COMPARED, until)
    connection.execute(SQL["queue_periods"], {**run, "since": since, "until": until})
    connection.execute(SQL["analyze_queue"])
    place.told("Making its bills.")
    transform.build("tag:billing", place.settings, command="run")
    runs.close_run(connection, run["run_id"])
    connection.execute(SQL["vacuum_bills"])
    connection.execute(SQL["settle"])


def fill_windows(connection: psycopg.Connection[DictRow], since: datetime, until: datetime) -> None:
    """Fill the hours of a range of whole hours from its quarter-hours, and the days and months that it touches."""
    for name in ("fill_hours", "fill_days", "fill_months"):
        connection.execute(SQL[name], {"since": since, "until": until})


def _compare(connection: psycopg.Connection[DictRow], since: datetime, until: datetime) -> None:
    with connection.transaction():
        connection.execute(SQL["compare"], {"since": since, "until": until})
        differing = one(connection, SQL["differing"])["windows"]
    if differing:
        raise BillingError(f"{differing:,} windows are not what metering makes of events.", "This is a defect.")

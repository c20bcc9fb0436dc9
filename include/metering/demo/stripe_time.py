"""Time at Stripe. Stripe takes usage of the last 35 days only; a demo of three months has to live through them.

With the emulator that is easy: its clock is moved in steps of at most 34 days, what is due by then is submitted, and at
the end the clock shows real time again. Stripe's own clock can't be moved: there, only the usage of the last 35 days is
submitted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import psycopg
from psycopg.rows import DictRow

from metering.database import rows
from metering.demo.outcome import SQL
from metering.errors import BillingError
from metering.settings import Settings

REACH = timedelta(days=34)
"""How far back from a moment everything can still be submitted: a day less than Stripe takes."""


def moments_due(connection: psycopg.Connection[DictRow]) -> list[datetime]:
    """The fewest moments at which all the usage that Stripe lacks can be submitted, the earliest first."""
    moments: list[datetime] = []
    for row in rows(connection, SQL["days_owed"]):
        if not moments or row["day"] >= moments[-1]:
            moments.append(row["day"] + REACH)
    return moments


class StripeTime:
    """The emulator's clock.

    It is moved while nobody sends: Airflow's hourly run may be at it too, and what it finds due by one clock would be
    refused by the other.
    """

    def __init__(self, settings: Settings, connection: psycopg.Connection[DictRow]) -> None:
        self.movable = settings.stripe_emulated
        self._connection = connection
        self._url = f"{settings.stripe_base_url}/emulator/clock"

    def move(self, moment: datetime | None) -> None:
        """Put the clock at a moment, or back to real time with None."""
        now = None if moment is None else int(moment.astimezone(UTC).timestamp())
        try:
            with self._connection.transaction():
                self._connection.execute(SQL["nobody_sends"])
                httpx.post(self._url, json={"now": now}, timeout=10, trust_env=False).raise_for_status()
        except httpx.HTTPError as error:
            raise BillingError(
                f"The emulator's clock can't be moved: {error}.", "Look at `./billing status`."
            ) from error

    @contextlib.contextmanager
    def travelling(self) -> Iterator[None]:
        """Return to real time at the end, whatever happened."""
        try:
            yield
        finally:
            if self.movable:
                self.move(None)

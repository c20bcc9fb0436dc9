"""The rate of requests to Stripe, shared by all threads and processes: moments reserved in the database.

A token bucket would have to be asked before each request. A timetable is asked once for a whole batch, and then each
thread only looks at its own clock.
"""

from __future__ import annotations

import threading
import time

import psycopg
from psycopg.rows import DictRow

from metering import statements
from metering.database import one

SQL = statements.beside(__file__, "pace")

BUCKET = "stripe"


class Pace:
    """Reserved moments of one batch, handed out in order to whichever thread asks next."""

    def __init__(self, rate: float, wait: float) -> None:
        self._interval = 1.0 / rate
        self._next = time.monotonic() + wait
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Return when the next reserved moment has come."""
        with self._lock:
            moment = self._next
            self._next += self._interval
        delay = moment - time.monotonic()
        if delay > 0:
            time.sleep(delay)


class Brake:
    """Holds all threads of a process for a while, when Stripe says that it is asked too fast."""

    def __init__(self) -> None:
        self._until = 0.0

    def hold(self, seconds: float) -> None:
        """Let nobody go on for so many seconds from now."""
        self._until = max(self._until, time.monotonic() + seconds) if seconds else self._until

    def wait(self) -> None:
        """Return when nobody is held any more."""
        while (left := self._until - time.monotonic()) > 0:
            time.sleep(left)


def reserve(connection: psycopg.Connection[DictRow], requests: int, rate: float) -> Pace:
    """Reserve moments for a number of requests at `rate` a second, in which all processes' requests share."""
    row = one(connection, SQL["reserve"], bucket=BUCKET, seconds=requests / rate)
    return Pace(rate, row["wait"])

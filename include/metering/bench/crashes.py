"""Workers that are really killed: processes forked from this one, which send themselves SIGKILL at a chosen boundary.

A boundary is the moment before any statement that is sent to PostgreSQL, `BEGIN` and `COMMIT` among them, and the
moments before and after any request to Stripe.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from metering import submission
from metering.database import connect
from metering.errors import BillingError
from metering.settings import Settings
from metering.submission.client import Stripe
from metering.submission.transport import Transport

Step = Callable[[psycopg.Connection[Any], Settings], Any]

HOURLY: tuple[Step, ...] = (submission.prepare, submission.plan, submission.submit, submission.resolve)
"""What the hourly run does."""
DEFECT = 70
"""The exit status of a worker in which something was raised that nobody explains."""


@dataclass
class Worker:
    """A process that does `steps`; where one ends with a sentence, the next begins all the same.

    `kill_at` is the number of the boundary at which it is killed, `kill_after` the seconds after which it is: neither
    for one that lives. Without `identifiers` its events have none: the control.
    """

    database: str
    values: Mapping[str, str]
    log: Path
    steps: tuple[Step, ...] = HOURLY
    kill_at: int | None = None
    kill_after: float | None = None
    identifiers: bool = True
    pid: int = field(default=0, init=False)

    def start(self) -> Worker:
        """Fork it."""
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            self._live()
        return self

    def wait(self, limit: float) -> bool:
        """Wait until it has ended, killing it when its time has come; whether it was killed.

        Raises `BillingError` where it has ended in another way than it should, or takes more than `limit` seconds.
        """
        begun = time.monotonic()
        killed = False
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            spent = time.monotonic() - begun
            if (self.kill_after is not None and spent >= self.kill_after) or spent > limit:
                os.kill(self.pid, signal.SIGKILL)
                killed = True
            if spent > limit + 10:
                raise BillingError("A killed worker does not end.", "This is a defect.")
            time.sleep(0.002)
        if killed and self.kill_after is None:
            raise BillingError(
                f"A worker did not end within {limit:g} s.", "This is a defect: something waits forever."
            )
        if os.WIFSIGNALED(status):
            return True
        if os.WEXITSTATUS(status):
            raise BillingError(f"A worker failed: {self.log.read_text()[-2000:]}", "This is a defect.")
        return False

    def _live(self) -> None:
        """Be the forked process, to its end."""
        status = 0
        try:
            if self.kill_at is not None:
                _count_boundaries(self.kill_at)
            if not self.identifiers:
                _forget_identifiers()
            settings = Settings(self.log.parent, dict(self.values))
            with connect(self.database, application="billing-stripe") as connection:
                for step in self.steps:
                    with contextlib.suppress(BillingError):  # the next run goes on
                        step(connection, settings)
        except BaseException:
            self.log.write_text(traceback.format_exc())
            status = DEFECT
        finally:
            os._exit(status)


def _count_boundaries(kill_at: int) -> None:
    lock = threading.Lock()
    crossed = 0

    def cross() -> None:
        nonlocal crossed
        with lock:
            crossed += 1
            if crossed == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    ask, request = psycopg.Connection.wait, Transport.request

    def counted_ask(self: Any, *arguments: Any, **named: Any) -> Any:
        cross()
        return ask(self, *arguments, **named)

    def counted_request(self: Any, *arguments: Any, **named: Any) -> Any:
        cross()
        try:
            return request(self, *arguments, **named)
        finally:
            cross()

    psycopg.Connection.wait = counted_ask  # type: ignore[method-assign]  # in this forked process only
    Transport.request = counted_request  # type: ignore[method-assign]  # as above


def _forget_identifiers() -> None:
    post = Stripe.post_event

    def without(self: Stripe, event: dict[str, Any], idempotency_key: str, version: str) -> str | None:
        return post(self, {name: event[name] for name in event if name != "identifier"}, idempotency_key, version)

    Stripe.post_event = without  # type: ignore[method-assign]  # in this forked process only

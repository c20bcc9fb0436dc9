"""Sending: each planned submission reaches Stripe once, whatever happens on the way.

An attempt is committed before its POST, with the identifier and the idempotency key that come from the fact, so that
whoever finds it after a crash sends the very same request again. Customers and meters are lanes: one POST at a time in
each, many lanes at once. One thread does all that concerns the database, in batches; the others only POST.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import psycopg
from psycopg.rows import DictRow

from metering import statements
from metering.database import one, rows
from metering.errors import BillingError
from metering.submission import marks, outcomes, pace
from metering.submission.client import Stripe
from metering.submission.outcomes import ACCEPTED, Outcome
from metering.submission.pace import Pace, reserve
from metering.submission.planner import OLDEST

# Stripe remembers an identifier for at least 24 hours; four of them are for clocks, queues and replies that take long.
RESEND = timedelta(hours=20)

_LEASE = timedelta(minutes=3)
_AT_ONCE = 10  # of one lane in one claim
_BATCH = 500  # in one claim
MANY = 1000
"""Submissions sent at once from which on the planner of queries is told about them."""
_SETTLE_AFTER = 0.1  # seconds that an outcome waits for others to be written with it

SQL = statements.beside(__file__, "sender")


@dataclass(frozen=True)
class _Lane:
    """Submissions of one customer and meter to be sent one after the other, before `deadline` (Unix seconds)."""

    submissions: list[dict[str, Any]]
    pace: Pace
    deadline: float


def send(connection: psycopg.Connection[DictRow], server: Stripe, *, patience: float | None = None) -> dict[str, int]:
    """Send everything that is due and return what became of it.

    Counts: `sent` (requests made), `accepted` (of them `duplicates`, which Stripe had already), `refused` (their
    windows are held with the reason), `retried` (attempts without an outcome), `later` (to be asked again in the next
    run) and `undecided` (too old to be sent again; reading the summary decides). Raises `BillingError` where Stripe
    can't be reached, does not accept the key, or gave no outcome for `patience` seconds (if not given, the settings');
    what was sent is kept, and nothing is lost or sent twice by running again.
    """
    return _Sender(connection, server, server.patience if patience is None else patience).run()


class _Sender:
    def __init__(self, connection: psycopg.Connection[DictRow], server: Stripe, patience: float) -> None:
        if not connection.autocommit:
            # Else every claim would be a savepoint of one long transaction, and a crash would forget all of them.
            raise ValueError("sending needs an autocommit connection")
        self._connection = connection
        self._server = server
        self._patience = patience
        self._owner = one(connection, SQL["who_am_i"])["owner"]
        self._results: queue.SimpleQueue[tuple[dict[str, Any], Outcome]] = queue.SimpleQueue()
        self._brake = pace.Brake()
        self._stop = threading.Event()
        self._failure: BillingError | None = None
        self._clock = (server.now(connection), time.monotonic())
        self._outstanding = 0
        self._due = 0
        self._silent = 0
        self._progress = time.monotonic()
        self._counts: Counter[str] = Counter()

    def run(self) -> dict[str, int]:
        self._connection.execute(SQL["begin_sending"])
        try:
            self._send_all()
        finally:
            if not self._connection.broken:
                self._connection.execute(SQL["end_sending"])
        if self._failure is not None:
            raise self._failure
        if self._counts["sent"] >= MANY:
            # The planner of queries still takes all of them for what they were before they were sent.
            self._connection.execute(SQL["analyze_submissions"])
        outlook = self._outlook()
        if outlook["due"]:
            raise BillingError(
                f"{outlook['due']} submissions have no outcome from Stripe yet.",
                "Run it again: what has arrived is not sent twice. `./billing stripe status` shows the last answers.",
            )
        counts = {name: self._counts[name] for name in ("sent", "accepted", "duplicates", "refused", "retried")}
        return {**counts, "later": outlook["later"], "undecided": outlook["undecided"]}

    def _send_all(self) -> None:
        with ThreadPoolExecutor(self._server.workers, thread_name_prefix="stripe") as pool:
            try:
                self._work(pool)
            finally:
                # Also on an error of the database: no thread may begin another POST.
                self._stop.set()

    def _work(self, pool: ThreadPoolExecutor) -> None:
        lanes_may_be_free = True
        most = int(min(_BATCH, max(2 * self._server.rate, 1)))
        while True:
            if lanes_may_be_free and self._outstanding <= most // 2 and not self._stop.is_set():
                lanes_may_be_free = False
                try:
                    lanes = self._claim(most)
                except BillingError as error:
                    self._give_up(error)
                    continue
                for lane in lanes:
                    self._outstanding += len(lane.submissions)
                    pool.submit(self._send_lane, lane)
            if self._outstanding:
                lanes_may_be_free = self._settle() or lanes_may_be_free
            elif self._stop.is_set() or not self._wait():
                return
            else:
                lanes_may_be_free = True

    def _claim(self, most: int) -> list[_Lane]:
        """Take what is due, the attempts and the ledger's mark committed, and say lane by lane what to send."""
        now = self._server_now()
        with marks.turn(self._connection):
            with self._connection.transaction():
                claimed = rows(
                    self._connection,
                    SQL["claim"],
                    owner=self._owner,
                    lease=_LEASE,
                    now=now,
                    resend_after=now - RESEND,
                    oldest=now - OLDEST,
                    at_once=_AT_ONCE,
                    most=most,
                    version=self._server.version,
                )
                if not claimed:
                    return []
                timetable = reserve(self._connection, len(claimed) + 1, self._server.rate)
                mark = one(self._connection, marks.SQL["advance"], now=now)["mark"]
            try:
                marks.write(self._connection, self._server, mark, now)
            except BillingError:
                self._write([(claim, outcomes.not_sent(ambiguous=claim["ambiguous"])) for claim in claimed], now)
                raise
        # A reply may take as long as the timeout, and writing it a little.
        deadline = time.time() + _LEASE.total_seconds() - self._server.timeout - 15
        lanes = groupby(claimed, key=lambda submission: (submission["team_id"], submission["meter_id"]))
        return [_Lane(list(submissions), timetable, deadline) for _, submissions in lanes]

    def _send_lane(self, lane: _Lane) -> None:
        for submission in lane.submissions:
            lane.pace.wait()
            self._brake.wait()
            if self._stop.is_set() or time.time() > lane.deadline:
                outcome = outcomes.not_sent(ambiguous=submission["ambiguous"])
            else:
                outcome = self._post(submission)
            self._brake.hold(outcome.slow_down)
            self._results.put((submission, outcome))

    def _post(self, submission: dict[str, Any]) -> Outcome:
        event = {**submission["payload"], "identifier": submission["identifier"]}
        try:
            request_id = self._server.post_event(event, submission["idempotency_key"], submission["api_version"])
        except Exception as error:
            return outcomes.of_error(
                error,
                attempt=submission["attempt"],
                ambiguous=submission["ambiguous"],
                first=self._server.backoff,
            )
        return outcomes.accepted(request_id)

    def _settle(self) -> bool:
        """Write the outcomes that are there or come within a moment; False where there are none yet."""
        try:
            batch = [self._results.get(timeout=1.0)]
        except queue.Empty:
            return False
        until = time.monotonic() + _SETTLE_AFTER
        while len(batch) < min(self._outstanding, _BATCH):
            try:
                batch.append(self._results.get(timeout=max(until - time.monotonic(), 0)))
            except queue.Empty:
                break
        self._write(batch, self._known_now())
        slow_down = max((outcome.slow_down for _, outcome in batch), default=0.0)
        if slow_down:
            self._connection.execute(pace.SQL["slow_down"], {"bucket": pace.BUCKET, "seconds": slow_down})
        self._outstanding -= len(batch)
        for _, outcome in batch:
            self._take_note(outcome)
        return True

    def _server_now(self) -> datetime:
        """Ask for Stripe's side's time."""
        self._clock = (self._server.now(self._connection), time.monotonic())
        return self._clock[0]

    def _known_now(self) -> datetime:
        """The same by our own clock since it was last asked: outcomes must be written though nobody answers."""
        moment, then = self._clock
        return moment + timedelta(seconds=time.monotonic() - then)

    def _write(self, batch: list[tuple[dict[str, Any], Outcome]], now: datetime) -> None:
        self._connection.execute(
            SQL["settle"],
            {
                "owner": self._owner,
                "now": now,
                **{
                    name: [submission[name] for submission, _ in batch] for name in ("team_id", "identifier", "attempt")
                },
                **{
                    name: [getattr(outcome, name) for _, outcome in batch]
                    for name in ("state", "http_status", "error_code", "error_message", "request_id")
                },
                **{
                    name: [getattr(outcome, name) for _, outcome in batch]
                    for name in ("forget_attempt", "server_error")
                },
                "delay": [outcome.delay for _, outcome in batch],
                "outcome": [outcome.name for _, outcome in batch],
            },
        )

    def _take_note(self, outcome: Outcome) -> None:
        if outcome.name == "not_sent":
            return
        self._counts["sent"] += 1
        if outcome.state == ACCEPTED:
            self._counts["accepted"] += 1
            self._counts["duplicates"] += outcome.name == "duplicate"
        else:
            self._counts["refused" if outcome.state == "rejected" else "retried"] += 1
        if outcome.state in (ACCEPTED, "rejected"):
            self._progress = time.monotonic()
        self._silent = self._silent + 1 if outcome.name == "no_reply" else 0
        # No lane had an answer, and none has had one since: nobody is there.
        if outcome.stop or self._silent >= max(16, 2 * self._server.workers):
            self._give_up(_explained(outcome))

    def _give_up(self, failure: BillingError) -> None:
        self._failure = self._failure or failure
        self._stop.set()

    def _wait(self) -> bool:
        """Wait until something may be due again; False where nothing is, or patience has ended."""
        outlook = self._outlook()
        if outlook["due"] != self._due:
            # Another submitter may be the one who works.
            self._due, self._progress = outlook["due"], time.monotonic()
        left = self._progress + self._patience - time.monotonic()
        if not outlook["due"] or left <= 0:
            return False
        time.sleep(min(max(outlook["wait"], 0.02), left, 0.5))
        return True

    def _outlook(self) -> dict[str, Any]:
        now = self._server_now()
        return one(
            self._connection,
            SQL["outlook"],
            now=now,
            resend_after=now - RESEND,
            oldest=now - OLDEST,
            patience=self._patience,
        )


def _explained(outcome: Outcome) -> BillingError:
    if outcome.http_status == 401:
        return BillingError(
            "Stripe does not accept the API key.",
            "Set STRIPE_API_KEY to a valid test key, or unset it to use the emulator, and run again.",
        )
    if outcome.http_status == 403:
        return BillingError(
            f"The API key may not send usage: {outcome.error_message}",
            "Give it write access to meter events and run again.",
        )
    return BillingError(
        "Stripe does not answer.", "Run it again when it can be reached: what has arrived is not sent twice."
    )

"""Submission under faults: seeds of random rounds, and kills at each boundary, judged by what Stripe has in the end.

Everything is real but Stripe and the time: PostgreSQL, the emulator's process, and workers that are forked and killed.
What is waited for in hours is waited for by the emulator's clock, and pauses between attempts are short by the settings
that everybody has.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import stripe
from psycopg import sql
from psycopg.rows import DictRow

from metering import statements, submission
from metering.bench.crashes import HOURLY, Step, Worker
from metering.bench.emulator import Emulator
from metering.bench.submitting import SQL as CATALOG
from metering.database import connect, one, rows
from metering.errors import BillingError
from metering.settings import Settings
from metering.submission import client

SQL = statements.beside(__file__, "stripe_faults")

KINDS = (
    "reset_before",
    "reset_after",
    "cut_body",
    "hang",
    "rate_limited_429",
    "conflict_409",
    "error_500_before",
    "error_500_after",
)
"""Before and after Stripe's commit, half a body, no answer, a limiter, a lock, and a 500 before and after it."""
HALF = 1 - 0.5 ** (1 / len(KINDS))
"""The chance of each kind at which half of all POSTs meet one."""
TEAMS, METERS = 3, 2
ROUNDS, QUIET = 8, 16
"""Rounds with faults, and at most so many without, within which everything must have come to its end."""
LIMIT = 180.0
"""Seconds that a worker may take, faults and all."""

Connection = psycopg.Connection[DictRow]
Told = Callable[[str], None]
Window = tuple[int, int, datetime, datetime]
"""team_id, meter_id, start and end (UTC)."""


@dataclass(frozen=True)
class Outcome:
    """What one seed did, and what was wrong in the end: of so many `windows`, at Stripe and in the ledger."""

    seed: int
    windows: int
    mismatched: int
    waiting: int
    quiet_rounds: int
    seconds: float
    tally: Counter[str]
    """`faults`, `kills`, `restores`, `adoptions`, `jumps`, `refusals`, `pairs` (two submitters at once), `events`."""

    @property
    def is_right(self) -> bool:
        """Each window at Stripe equals its target, and nothing waits."""
        return not self.mismatched and not self.waiting


class Rig:
    """PostgreSQL, the emulator, and a database for each trial.

    `url` is a migrated database that becomes the one of which those of all trials are copies, `home` a folder to write
    in, `version` that of the API for meter events. `identifiers` is false for the control.
    """

    def __init__(
        self, url: str, home: Path, emulator: Emulator, *, version: str = "v1", identifiers: bool = True
    ) -> None:
        """Put the catalog into the database."""
        self.emulator, self.identifiers = emulator, identifiers
        name = urlsplit(url).path[1:]
        self._template, self._trial, self._backup = name, f"{name}_trial", f"{name}_backup"
        self._server = url.removesuffix(name) + "postgres"
        self.url = url.removesuffix(name) + self._trial
        self._log = home / "worker.log"
        self.noon = datetime.now(UTC).replace(hour=13, minute=0, second=0, microsecond=0)
        today = self.noon.replace(hour=0)
        self.edge = today - timedelta(days=3) + timedelta(hours=5, minutes=30)
        self.values = {
            "BILLING_STRIPE_URL": emulator.url,
            "BILLING_STRIPE_RATE": "5000",
            "BILLING_STRIPE_WORKERS": "6",
            "BILLING_STRIPE_TIMEOUT": "0.12",
            "BILLING_STRIPE_BACKOFF": "0.004",
            "BILLING_STRIPE_PATIENCE": "0.5",
            "BILLING_STRIPE_METER_EVENTS": version,
        }
        # Where nothing is made to fail, a slow machine is waited for.
        self.calm = {**self.values, "BILLING_STRIPE_TIMEOUT": "20", "BILLING_STRIPE_PATIENCE": "20"}
        self.settings = Settings(home, self.calm)
        with connect(url, application="billing-bench") as connection, connection.transaction():
            connection.execute(CATALOG["make_mart"])
            connection.execute(CATALOG["make_teams"], {"teams": TEAMS})
            connection.execute(CATALOG["make_meters"], {"meters": METERS})
            period = {"start": today - timedelta(days=40), "edge": self.edge, "until": today + timedelta(days=60)}
            connection.execute(SQL["make_periods"], period)
        days = [today + timedelta(days=day) for day in range(-6, 3)]
        pieces = [(day, day + timedelta(days=1)) for day in days if day != self.edge.replace(hour=0, minute=0)]
        cut = self.edge.replace(hour=0, minute=0)
        pieces += [(cut, self.edge), (self.edge, cut + timedelta(days=1))]
        self.windows: list[Window] = [
            (team, meter, *piece) for team in range(1, TEAMS + 1) for meter in range(1, METERS + 1) for piece in pieces
        ]

    def begin(self) -> None:
        """An empty Stripe whose clock is at 13:00 UTC, and a database that knows the catalog."""
        self.emulator.post("reset", {})
        self.emulator.set_clock(self.noon)
        self._copy(self._template, self._trial)

    def back_up(self) -> None:
        """Keep the database as it is."""
        self._copy(self._trial, self._backup)

    def restore(self) -> None:
        """Make the database what it was when it was backed up last."""
        self._copy(self._backup, self._trial)

    def end(self) -> None:
        """Leave no database behind but the first."""
        with psycopg.connect(self._server, autocommit=True) as admin:
            for name in (self._trial, self._backup):
                admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def worker(
        self, *steps: Step, kill_at: int | None = None, kill_after: float | None = None, calm: bool = False
    ) -> Worker:
        """Start a worker; a `calm` one is not in a hurry."""
        return Worker(
            self.url,
            self.calm if calm else self.values,
            self._log,
            steps or HOURLY,
            kill_at=kill_at,
            kill_after=kill_after,
            identifiers=self.identifiers,
        ).start()

    @contextlib.contextmanager
    def connected(self) -> Iterator[Connection]:
        """A connection to the trial's database: none may be open when it is copied."""
        with connect(self.url, application="billing-bench") as connection:
            yield connection

    def fill_mart(self, truth: dict[Window, Decimal]) -> None:
        """Let the mart say what Stripe should have."""
        names = ("team_id", "meter_id", "window_start", "window_end")
        values: dict[str, Any] = {name: [window[at] for window in truth] for at, name in enumerate(names)}
        with self.connected() as connection, connection.transaction():
            connection.execute(SQL["empty_mart"])
            connection.execute(SQL["fill_mart"], {**values, "quantity": list(truth.values())})

    def wrong(self, truth: dict[Window, Decimal]) -> tuple[int, int]:
        """How many windows differ at Stripe from their target, and how much waits, is held, or is owed."""
        with self.connected() as connection:
            counterparts = rows(connection, SQL["counterparts"])
            waiting = one(connection, SQL["waiting"])
        there: dict[tuple[int, int, int], Decimal] = defaultdict(Decimal)
        api = client.connect(self.settings).api
        for pair in counterparts:
            summaries = api.v1.billing.meters.event_summaries.list(
                pair["stripe_meter_id"],
                {
                    "customer": pair["stripe_customer_id"],
                    "start_time": int((self.noon - timedelta(days=40)).replace(hour=0).timestamp()),
                    "end_time": int((self.noon + timedelta(days=60)).replace(hour=0).timestamp()),
                    "value_grouping_window": "hour",
                    "limit": 100,
                },
            )
            for summary in summaries.auto_paging_iter():
                value = Decimal(str(summary.aggregated_value))
                there[pair["team_id"], pair["meter_id"], summary.start_time // 3600] += value
        for (team, meter, start, end), quantity in truth.items():
            there[team, meter, int((start + (end - start) / 2).timestamp()) // 3600] -= quantity
        return sum(1 for difference in there.values() if difference), sum(waiting.values())

    def _copy(self, source: str, target: str) -> None:
        with psycopg.connect(self._server, autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(target)))
            for attempt in range(100):
                try:
                    admin.execute(
                        sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
                            sql.Identifier(target), sql.Identifier(source)
                        )
                    )
                    return
                except psycopg.errors.ObjectInUse:  # the session of a killed worker ends within a moment
                    if attempt == 99:
                        raise
                    time.sleep(0.02)


class Trial:
    """One seed."""

    def __init__(self, rig: Rig, seed: int) -> None:
        """Begin it."""
        self._rig, self._seed = rig, seed
        self._dice = random.Random(seed)  # noqa: S311 - repeatable, no secret
        self._clock = rig.noon
        self._truth: dict[Window, Decimal] = {}
        self._tally: Counter[str] = Counter()
        self._has_backup = self._was_restored = False
        self._archived: str | None = None
        self._deleted: set[str] = set()

    def run(self) -> Outcome:
        """All rounds, and what is wrong after them."""
        begun = time.monotonic()
        self._rig.begin()
        lag = self._dice.choice((0, 0, 300, 900))
        self._rig.emulator.post("settings", {"summary_lag_seconds": lag})
        for _ in range(ROUNDS):
            self._noisy_round()
        self._rig.emulator.clear_faults()
        mismatched, waiting, rounds = 0, 0, 0
        while rounds < QUIET:
            rounds += 1
            self._quiet_round()
            mismatched, waiting = self._rig.wrong(self._truth)
            # Only from noon of the last day on can all of it have been sent.
            is_due = self._clock > max(end for _, _, _, end in self._rig.windows)
            if is_due and not mismatched and not waiting:
                break
        self._tally["events"] = self._rig.emulator.get("state")["meter_events"]
        spent = time.monotonic() - begun
        return Outcome(self._seed, len(self._truth), mismatched, waiting, rounds, spent, self._tally)

    def _noisy_round(self) -> None:
        dice, rig = self._dice, self._rig
        self._change_targets()
        self._move(dice.choice((timedelta(minutes=1), timedelta(minutes=dice.randint(2, 90)), self._jump())))
        if dice.random() < 0.15:
            self._refuse()
        elif dice.random() < 0.3:
            self._mend()
        self._order_faults()
        if dice.random() < 0.2:
            rig.back_up()
            self._has_backup = True
        at_once = 2 if dice.random() < 0.3 else 1
        self._tally["pairs"] += at_once == 2
        self._work(*[HOURLY] * at_once)
        self._tally["faults"] += sum(fault["fired"] for fault in rig.emulator.get("faults"))
        rig.emulator.clear_faults()
        if self._has_backup and dice.random() < 0.15:
            rig.restore()
            self._tally["restores"] += 1
            # Usage comes again from who sent it, and is metered and rated again.
            rig.fill_mart(self._truth)
        if dice.random() < 0.5:
            self._adopt_where_behind(kill=True)

    def _quiet_round(self) -> None:
        self._move(self._dice.choice((timedelta(minutes=61), timedelta(hours=5), timedelta(hours=13))))
        self._mend()
        self._adopt_where_behind(kill=False)
        self._rig.worker(calm=True).wait(LIMIT)

    def _work(self, *submitters: tuple[Step, ...]) -> None:
        workers = []
        for steps in submitters:
            death = self._dice.random()
            kill_at = self._dice.randint(1, 90) if death < 0.4 else None
            kill_after = self._dice.uniform(0.0, 0.4) if 0.4 <= death < 0.6 else None
            workers.append(self._rig.worker(*steps, kill_at=kill_at, kill_after=kill_after))
        for worker in workers:
            self._tally["kills"] += worker.wait(LIMIT)

    def _adopt_where_behind(self, *, kill: bool) -> None:
        """What an operator does on reading that the database is older than what Stripe has."""
        with self._rig.connected() as connection:
            if not one(connection, SQL["is_behind"])["is_behind"]:
                return
        self._move(timedelta(minutes=61))
        self._order_faults()
        if kill:
            self._work((_adopt,))
        else:
            self._rig.worker(_adopt).wait(LIMIT)
        self._tally["faults"] += sum(fault["fired"] for fault in self._rig.emulator.get("faults"))
        self._rig.emulator.clear_faults()
        with self._rig.connected() as connection:
            self._tally["adoptions"] += not one(connection, SQL["is_behind"])["is_behind"]

    def _change_targets(self) -> None:
        """New windows, late usage, corrections up and down to nothing, and windows that leave the mart."""
        dice = self._dice
        for window in self._rig.windows:
            fate = dice.random()
            if fate < 0.25:
                self._truth[window] = Decimal(dice.randint(1, 10_000_000)) / 10 ** dice.choice((0, 1, 3, 6))
            elif fate < 0.32 and window in self._truth:
                self._truth[window] = Decimal(0)
            elif fate < 0.36:
                self._truth.pop(window, None)
            elif fate < 0.40 and window in self._truth:
                self._truth[window] += dice.choice((1, -1)) * min(self._truth[window], Decimal("0.5"))
        self._rig.fill_mart(self._truth)

    def _order_faults(self) -> None:
        everywhere = {"method": "POST", "path": "/v?/*"}
        self._rig.emulator.post(
            "faults",
            [
                {
                    "kind": kind,
                    "times": None,
                    "chance": HALF,
                    "seed": self._dice.randrange(2**31),
                    "match": everywhere,
                    "seconds": 1.0,
                    "saved": self._dice.random() < 0.8,
                }
                for kind in self._dice.sample(KINDS, len(KINDS))
            ],
        )

    def _move(self, by: timedelta) -> None:
        """Stripe's time goes on while no worker lives."""
        self._clock += by
        self._rig.emulator.set_clock(self._clock)
        self._tally["jumps"] += by >= timedelta(hours=1)

    def _jump(self) -> timedelta:
        return timedelta(hours=self._dice.uniform(1, 26))

    def _refuse(self) -> None:
        """Somebody deactivates a meter or deletes a customer at Stripe, which it tells only after it has accepted."""
        with self._rig.connected() as connection:
            pairs = rows(connection, SQL["counterparts"])
        if not pairs:
            return
        pair = self._dice.choice(sorted(pairs, key=lambda pair: (pair["team_id"], pair["meter_id"])))
        api = client.connect(self._rig.settings).api
        with contextlib.suppress(stripe.InvalidRequestError):  # a restored database may name one that is gone
            if self._archived is None and self._dice.random() < 0.6:
                api.v1.billing.meters.deactivate(pair["stripe_meter_id"])
                self._archived = pair["stripe_meter_id"]
            else:
                api.v1.customers.delete(pair["stripe_customer_id"])
                self._deleted.add(pair["team_key"])
            self._tally["refusals"] += 1

    def _mend(self) -> None:
        """The meter is active again, and each deleted customer gets a successor."""
        if self._archived is not None:
            client.connect(self._rig.settings).api.v1.billing.meters.reactivate(self._archived)
            self._archived = None
        for team in sorted(self._deleted):
            self._rig.worker(partial(_replace, team), calm=True).wait(LIMIT)
            with self._rig.connected() as connection:
                customers = {
                    row["team_key"]: row["stripe_customer_id"] for row in rows(connection, SQL["counterparts"])
                }
            # A database that was restored may know of no customer at all yet.
            customer = customers.get(team)
            found = client.connect(self._rig.settings).api.v1.customers.retrieve(customer) if customer else None
            if found is not None and not getattr(found, "deleted", False):
                self._deleted.discard(team)


def _adopt(connection: Connection, settings: Settings) -> Any:
    return submission.adopt(connection, settings, keep=True)


def _replace(team: str, connection: Connection, settings: Settings) -> Any:
    return submission.replace_customer(connection, team, settings)


def run_seeds(rig: Rig, seeds: Iterable[int], told: Callable[[Outcome], None]) -> list[Outcome]:
    """Try each seed; `told` hears of each outcome as it comes."""
    outcomes = []
    for seed in seeds:
        outcomes.append(Trial(rig, seed).run())
        told(outcomes[-1])
    return outcomes


def kill_everywhere(rig: Rig, told: Told, *, every: int = 1) -> list[Outcome]:
    """Kill a worker at each boundary there is, let another one do its work, and look: with and without lost replies.

    An outcome's `seed` is the number of the boundary; with `every`, only each so many-th is one at which it is killed.
    """
    first, second = rig.windows[0], rig.windows[-1 - METERS]
    outcomes: list[Outcome] = []
    for lost in (False, True):
        at, killed = 0, True
        while killed:
            at, begun = at + every, time.monotonic()
            truth = {first: Decimal("3.5"), second: Decimal(4)}
            rig.begin()
            rig.emulator.set_clock(rig.noon + timedelta(days=3))
            rig.fill_mart(truth)
            if lost:
                rig.emulator.post("faults", {"kind": "reset_after", "times": 1})
            killed = rig.worker(kill_at=at).wait(LIMIT)
            truth[first] = Decimal(3)
            rig.fill_mart(truth)
            for _ in range(2):
                rig.worker(calm=True).wait(LIMIT)
            mismatched, waiting = rig.wrong(truth)
            tally = Counter({"kills": int(killed), "faults": int(lost)})
            spent = time.monotonic() - begun
            outcomes.append(Outcome(at, len(truth), mismatched, waiting, 0, spent, tally))
        told(f"Killed at boundaries up to the {at - every}th{', one reply lost' if lost else ''}.")
    if len(outcomes) * every < 100:
        raise BillingError(f"Only {len(outcomes)} boundaries were found.", "This is a defect of the bench.")
    return outcomes

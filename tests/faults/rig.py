"""What a fault is done to: a server, two services on one database, clients that send to both."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import psycopg
from psycopg.rows import DictRow

from metering import database
from metering.settings import Settings

from . import audit
from .disk import Disk
from .load import Load
from .meter_repeatedly import meter
from .server import Server
from .service import Service

Note = Callable[[str, object], None]

EMPTY = (
    "TRUNCATE landing.usage_events, landing.event_keys, landing.batches, landing.quarantined_events,"
    " landing.quarantine_actions,"
    " billing.metering_runs, billing.buckets_to_meter, billing.periods_to_rate, intermediate.int_usage_buckets,"
    " marts.fct_usage_hourly, marts.fct_usage_daily, marts.fct_usage_monthly, marts.fct_rated_usage,"
    " marts.fct_bill_lines, marts.fct_stripe_usage"
)


@dataclass
class Rig:
    """A whole system of ingestion, and the randomness that a test's faults come from."""

    folder: Path
    server: Server
    services: Sequence[Service]
    disk: Disk | None
    api_key: str
    settings: Settings
    times: int
    """How often each fault is to happen."""
    rng: random.Random = field(default_factory=random.Random)
    note: Note = lambda name, value: None
    faults: list[str] = field(default_factory=list)

    @property
    def thorough(self) -> bool:
        """Whether there is time to meter through dbt after each kind of fault."""
        return self.times >= 20

    def renewed(self, seed: str, note: Note) -> Rig:
        """The same system for another test. Its random moments come from `seed`, which is printed where it fails."""
        print(f"seed: {seed}")
        return replace(self, rng=random.Random(seed), note=note, faults=[])

    def empty(self) -> None:
        """Forget all usage and what was made of it; the catalog stays."""
        with self.connect() as connection:
            connection.execute(EMPTY)

    def load(self, addresses: Sequence[str] = (), *, pause: float = 0.02) -> Load:
        """Clients of the services, or of `addresses`."""
        seed = f"{self.rng.randrange(1 << 30)}"
        to = addresses or [service.address for service in self.services]
        return Load(to, self.api_key, seed, self.folder / "spools", pause=pause)

    def moment(self, load: Load) -> None:
        """Wait for a random moment of a load: mostly once it flows again, at times while it is still being mended."""
        if self.rng.random() < 0.8:
            load.wait_for_answers()
        time.sleep(self.rng.uniform(0, 0.6))

    def fault(self, what: str) -> None:
        """Note what was done."""
        self.faults.append(what)

    def mend(self) -> None:
        """Start what does not run."""
        self.server.start()
        for service in self.services:
            service.start()

    def connect(self) -> psycopg.Connection[DictRow]:
        """A connection to the database."""
        return database.connect(self.server.url, application="faults")

    def settle(self, load: Load, *, metered: bool | None = None) -> audit.Figures:
        """Have everything delivered, and compare what was counted with what was used, event by event.

        With `metered` (default: where the test is thorough) also what the real dbt models make of it, to the last cent.
        """
        self.mend()
        tally = load.finish()
        with self.connect() as connection:
            figures = audit.landed(connection, load.expected, tally)
            if self.thorough if metered is None else metered:
                meter(connection, self.settings)
                audit.metered(connection, load.expected)
        self.note("faults", len(self.faults))
        for name, value in vars(figures).items():
            self.note(name, value)
        print(f"{len(self.faults)} faults: {self.faults}")
        return figures

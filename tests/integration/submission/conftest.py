"""What the tests of submission have: an emulator process of their own, a mart to fill, and both sides' totals."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from psycopg.rows import DictRow

from metering import submission
from metering.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
NOON = datetime.now(UTC).replace(hour=13, minute=0, second=0, microsecond=0)
TODAY = NOON.replace(hour=0)


@dataclass
class Emulator:
    """A running emulator process and its admin routes."""

    url: str

    def post(self, path: str, body: object) -> Any:
        reply = requests.post(f"{self.url}/emulator/{path}", json=body, timeout=10)
        reply.raise_for_status()
        return reply.json()

    def get(self, path: str) -> Any:
        reply = requests.get(f"{self.url}/emulator/{path}", timeout=10)
        reply.raise_for_status()
        return reply.json()

    def fault(self, kind: str, **details: object) -> None:
        self.post("faults", {"kind": kind, **details})

    def clear_faults(self) -> None:
        requests.delete(f"{self.url}/emulator/faults", timeout=10).raise_for_status()

    def set_clock(self, moment: datetime) -> None:
        self.post("clock", {"now": int(moment.timestamp())})

    @property
    def events(self) -> int:
        return int(self.get("state")["meter_events"])


@pytest.fixture(scope="session")
def emulator_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    state = tmp_path_factory.mktemp("emulator") / "state.sqlite"
    process = subprocess.Popen(
        [sys.executable, "-m", "metering.stripe_emulator", "--port", "0", "--state", str(state), "--allow-reset"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "include")},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield line.split(" at ")[1].split(",")[0]
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()  # type: ignore[union-attr]


@pytest.fixture
def emulator(emulator_process: str) -> Emulator:
    """The emulator, emptied, its clock at 13:00 UTC of today."""
    running = Emulator(emulator_process)
    running.post("reset", {})
    running.set_clock(NOON)
    return running


@pytest.fixture
def settings(emulator: Emulator, tmp_path: Path) -> Settings:
    return Settings(tmp_path, billing_values(emulator))


def slow_to_retry(settings: Settings) -> Settings:
    """The same, but that nothing which has failed comes up again within the run."""
    return Settings(settings.home, {**settings.values, "BILLING_STRIPE_BACKOFF": "30"})


def billing_values(emulator: Emulator) -> dict[str, str]:
    """Settings with which tests needn't wait long."""
    return {"BILLING_STRIPE_URL": emulator.url, "BILLING_STRIPE_TIMEOUT": "2", "BILLING_STRIPE_BACKOFF": "0.05"}


class Billing:
    """A small catalogue, a mart to fill, the tasks to run, and both sides' totals."""

    def __init__(self, connection: psycopg.Connection[DictRow], settings: Settings, emulator: Emulator) -> None:
        self.connection = connection
        self.settings = settings
        self.emulator = emulator
        connection.execute(
            "CREATE SCHEMA marts; CREATE TABLE marts.fct_stripe_usage (team_id integer, meter_id integer,"
            " dimensions jsonb, window_start timestamptz, window_end timestamptz, subscription_key text,"
            " period_start timestamptz, quantity numeric)"
        )
        connection.execute(
            "INSERT INTO billing.meters (meter_key, meter_name, event_name, aggregation, unit)"
            " VALUES ('api_calls', 'API calls', 'api', 'sum', 'call'), ('storage', 'Storage', 'gb', 'sum', 'GB-hour')"
        )

    def teams(self, number: int) -> None:
        """Teams 1..number, each with one period that holds the last 20 days."""
        self.connection.execute(
            "INSERT INTO billing.teams (team_key, team_name, time_zone) SELECT 't' || n, 'Team ' || n, 'UTC'"
            " FROM generate_series(1, %s) n",
            (number,),
        )
        self.connection.execute(
            "INSERT INTO billing.billing_periods (team_id, subscription_key, period_start, period_end, period_label,"
            " time_zone, currency) SELECT team_id, 'main', %s, %s, 'p', 'UTC', 'USD' FROM billing.teams",
            (TODAY - timedelta(days=20), TODAY + timedelta(days=10)),
        )

    def use(self, team: int, quantity: str, *, day: int = 0, meter: int = 1) -> None:
        """What the mart says about one day, `day` days ago; replaces what it said."""
        start = TODAY - timedelta(days=day)
        self.connection.execute(
            "DELETE FROM marts.fct_stripe_usage WHERE team_id = %s AND meter_id = %s AND window_start = %s",
            (team, meter, start),
        )
        self.connection.execute(
            "INSERT INTO marts.fct_stripe_usage VALUES (%s, %s, '{}', %s, %s, 'main', %s, %s)",
            (team, meter, start, start + timedelta(days=1), TODAY - timedelta(days=20), Decimal(quantity)),
        )

    def use_everywhere(self, days: int, *, plus: str = "0") -> None:
        """A quantity of its own for each team, meter and one of the last days."""
        self.connection.execute("TRUNCATE marts.fct_stripe_usage")
        self.connection.execute(
            "INSERT INTO marts.fct_stripe_usage SELECT team_id, meter_id, '{}', day, day + interval '1 day', 'main',"
            " %s, team_id * 1000 + meter_id * 100 + extract(day FROM day) + 0.125 + %s"
            " FROM billing.teams, billing.meters, generate_series(%s, %s, interval '1 day') AS day",
            (TODAY - timedelta(days=20), Decimal(plus), TODAY - timedelta(days=days - 1), TODAY),
        )

    def prepare(self) -> dict[str, int]:
        return submission.prepare(self.connection, self.settings)

    def plan(self) -> dict[str, Any]:
        return submission.plan(self.connection, self.settings)

    def submit(self) -> dict[str, int]:
        return submission.submit(self.connection, self.settings)

    def resolve(self) -> dict[str, Any]:
        return submission.resolve(self.connection, self.settings)

    def reconcile(self) -> dict[str, Any]:
        return submission.reconcile(self.connection, self.settings)

    def all(self) -> dict[str, int]:
        """The four tasks in their order; what `submit` counted."""
        self.prepare()
        self.plan()
        counts = self.submit()
        self.resolve()
        return counts

    def fetch(self, query: str, *values: object) -> list[dict[str, Any]]:
        return self.connection.execute(query, values).fetchall()

    def states(self) -> dict[str, int]:
        found = self.fetch("SELECT state, count(*) AS n FROM billing.stripe_submissions GROUP BY state")
        return {row["state"]: row["n"] for row in found}

    def targets(self) -> dict[tuple[str, str], Decimal]:
        """What the mart says Stripe should have, by Stripe's ids of customer and meter."""
        found = self.fetch(
            "SELECT stripe_customer_id AS c, stripe_meter_id AS m, sum(quantity) AS q FROM marts.fct_stripe_usage"
            " JOIN billing.stripe_customers USING (team_id) JOIN billing.stripe_meters USING (meter_id)"
            " GROUP BY 1, 2"
        )
        return {(row["c"], row["m"]): row["q"] for row in found}

    def at_stripe(self) -> dict[tuple[str, str], Decimal]:
        """What the emulator says it has, for each pair that the mart names."""
        totals = {}
        for customer, meter in self.targets():
            reply = requests.get(
                f"{self.emulator.url}/v1/billing/meters/{meter}/event_summaries",
                params={
                    "customer": customer,
                    "start_time": int((TODAY - timedelta(days=60)).timestamp()),
                    "end_time": int((TODAY + timedelta(days=60)).timestamp()),
                },
                headers={"Authorization": "Bearer sk_test_x"},
                timeout=10,
            )
            reply.raise_for_status()
            data = reply.json(parse_float=Decimal, parse_int=Decimal)["data"]
            totals[customer, meter] = sum((Decimal(row["aggregated_value"]) for row in data), Decimal(0))
        return totals


@pytest.fixture
def billing(connection: psycopg.Connection[DictRow], settings: Settings, emulator: Emulator) -> Billing:
    return Billing(connection, settings, emulator)

"""A database with every model deployed, in which three months of early 2025 were used, billed and closed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import DictRow

from metering import closing, runs, transform
from metering.archive import months
from metering.database import connect
from metering.ingestion.catalog import Catalog
from metering.ingestion.events import Event, Fact, Reject
from metering.ingestion.landing import Landing
from metering.ingestion.validation import Judge
from metering.settings import Settings


class Nowhere:
    """Events of a test."""

    def payload(self, index: int) -> str:
        return f"event {index}"

    def line(self, index: int) -> int | None:
        return None


@dataclass
class House:
    """One billing database, the folder of its archive, and what the tests do to both."""

    connection: psycopg.Connection[DictRow]
    settings: Settings

    def value(self, statement: str, *values: Any) -> Any:
        row = self.connection.execute(statement, values or None).fetchone()
        assert row is not None
        (found,) = row.values()
        return found

    def land(self, *events: Event) -> tuple[list[Fact], list[Reject]]:
        """Land events as the service does."""
        judged = Judge(Catalog.load(self.connection)).sort(events, Nowhere())
        kept = Landing(self.connection).land("http", judged.facts, judged.rejects)
        return judged.facts, kept

    def aggregate(self, start: datetime | None = None, end: datetime | None = None) -> int:
        """What the aggregation DAG does, without Airflow."""
        run = runs.open_run(self.connection, "test", start, end)
        transform.build("tag:usage", self.settings)
        transform.build("tag:billing", self.settings)
        runs.close_run(self.connection, run)
        return run

    def archive(self, name: str = "2025-01") -> months.Month:
        """Archive a month and tell where it is then."""
        months.archive(self.connection, months.find(self.connection, name), self.settings.archive)
        return months.find(self.connection, name)

    def find(self, name: str = "2025-01") -> months.Month:
        return months.find(self.connection, name)

    def events(self) -> list[str]:
        """Every event in landing.usage_events, whole, as text."""
        found = self.connection.execute("SELECT events::text AS e FROM landing.usage_events AS events").fetchall()
        return sorted(row["e"] for row in found)


def event(number: int, at: str | None = None, **fields: Any) -> Event:
    """One of the events of the three months; alike whenever it is made."""
    moment = datetime(2025, 1, 1, 0, 7, tzinfo=UTC).timestamp() + number * 3600 * 9
    calls = number % 3 > 0
    made = {
        "event": "call" if calls else "storage",
        "team": ("acme", "delhi")[number % 2],
        "quantity": Decimal(1) if calls else Decimal(number % 17) * Decimal("3.125"),
        "idempotency_key": f"key-{number}",
        "time": at or datetime.fromtimestamp(moment, UTC).isoformat(),
        "properties": {"endpoint": f"/{number % 4}"} if calls else {},
    }
    return Event(**{**made, **fields})


def _fill(house: House) -> None:
    house.connection.execute(Path(__file__).with_name("usage.sql").read_text(encoding="utf-8"))
    strange = [
        event(0, subject="", unit="GB-hour", idempotency_key='"quoted",\n\\N\tline é'),
        event(
            1, subject="a\\b'c\"", properties={"endpoint": "", "note": 'x\n"y",\\. é', "n": Decimal("1.50"), "b": None}
        ),
        event(3, quantity=Decimal("12345678901234567890123456.000000000001"), at="2025-01-31T23:59:59.999999Z"),
        event(4, at="2025-01-01T00:00:00Z"),
    ]
    house.land(*strange, *(event(number) for number in range(5, 240)))


@pytest.fixture
def used(database_url: str, tmp_path: Path) -> Iterator[House]:
    """Usage that has landed and been metered, without dbt: what archiving itself needs."""
    with connect(database_url) as connection:
        house = House(connection, Settings(home=tmp_path, values={"DATABASE_URL": database_url}))
        _fill(house)
        run = runs.open_run(connection, "test")
        runs.close_run(connection, run)
        connection.execute("UPDATE billing.billing_periods SET status = 'finalized', finalized_at = now()")
        yield house


@pytest.fixture
def billed(deployed_database_url: str, tmp_path: Path, dbt_home: Path) -> Iterator[House]:
    """The same, metered, rated and closed by the real models."""
    values = {"DATABASE_URL": deployed_database_url, "BILLING_ARCHIVE": str(tmp_path / "archive")}
    with connect(deployed_database_url) as connection:
        house = House(connection, Settings(home=dbt_home, values=values))
        _fill(house)
        house.aggregate()
        assert closing.close_periods(connection)["finalized"] == 9
        yield house


Marts = Callable[[], dict[str, list[str]]]


@pytest.fixture
def marts(billed: House) -> Marts:
    """Every row of every table that usage becomes."""
    tables = (
        "fct_usage_hourly",
        "fct_usage_daily",
        "fct_usage_monthly",
        "fct_rated_usage",
        "fct_bill_lines",
        "fct_bills",
    )

    def read() -> dict[str, list[str]]:
        found = {
            "buckets": "SELECT concat_ws('|', team_id, meter_id, bucket_start, dimensions, event_count, quantity) AS r"
            " FROM intermediate.int_usage_buckets WHERE recorded_to = 'infinity'",
            **{name: f"SELECT to_jsonb(mart)::text AS r FROM marts.{name} AS mart" for name in tables},
        }
        return {name: sorted(row["r"] for row in billed.connection.execute(q).fetchall()) for name, q in found.items()}

    return read

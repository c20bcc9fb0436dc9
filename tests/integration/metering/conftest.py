"""A database with every model deployed, and small hands to put usage into it."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from metering import runs, transform
from metering.settings import Settings


@dataclass
class House:
    """One billing database and what the tests do to it."""

    connection: psycopg.Connection[DictRow]
    settings: Settings
    teams: dict[str, int] = field(default_factory=dict)

    def query(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        return self.connection.execute(statement, values or None).fetchall()

    def value(self, statement: str, *values: Any) -> Any:
        (row,) = self.query(statement, *values)
        (value,) = row.values()
        return value

    def meter(self, key: str, event: str, aggregation: str = "sum", dims: tuple[str, ...] = (), **more: Any) -> int:
        return self.value(
            "insert into billing.meters (meter_key, meter_name, event_name, aggregation, unit, dimensions,"
            " value_property, parameters) values (%s, %s, %s, %s, 'unit', %s, %s, %s) returning meter_id",
            key, key, event, aggregation, list(dims), more.get("value_property"), Jsonb(more.get("parameters", {})),
        )  # fmt: skip

    def plan(self, key: str) -> int:
        return self.value("insert into billing.plans (plan_key, plan_name) values (%s, %s) returning plan_id", key, key)

    def price(self, key: str, plan: int, meter: int, currency: str = "USD", match: dict[str, str] | None = None) -> int:
        return self.value(
            "insert into billing.prices (price_key, price_name, plan_id, meter_id, currency, match)"
            " values (%s, %s, %s, %s, %s, %s) returning price_id",
            key, key, plan, meter, currency, Jsonb(match or {}),
        )  # fmt: skip

    def version(
        self, price: int, effective: str, model: str, tiers: list[tuple[str, str | None, str, str]], **more: Any
    ) -> int:
        version = self.value(
            "insert into billing.price_versions (price_id, effective_from, model, charge_unit, per_period_hour)"
            " values (%s, %s, %s, 'unit', %s) returning price_version_id",
            price, effective, model, more.get("per_period_hour", False),
        )  # fmt: skip
        for number, (over, up_to, unit_amount, flat_amount) in enumerate(tiers, start=1):
            self.connection.execute(
                "insert into billing.price_tiers values (%s, %s, %s, %s, %s, %s)",
                (version, number, over, up_to, unit_amount, flat_amount),
            )
        return version

    def team(self, key: str, plan: int, starts: str, zone: str = "UTC", currency: str = "USD", anchor: int = 1) -> int:
        self.teams[key] = self.value(
            "insert into billing.teams (team_key, team_name, time_zone) values (%s, %s, %s) returning team_id",
            key,
            key,
            zone,
        )
        self.connection.execute(
            "insert into billing.subscriptions (team_id, currency, time_zone, anchor_day, starts_at)"
            " values (%s, %s, %s, %s, %s::timestamp at time zone %s)",
            (self.teams[key], currency, zone, anchor, starts, zone),
        )
        self.connection.execute(
            "insert into billing.subscription_plans (team_id, effective_from, plan_id) values (%s, '2000-01-01Z', %s)",
            (self.teams[key], plan),
        )
        return self.teams[key]

    def event(self, team: str, key: str, name: str, at: str, quantity: str = "1", **properties: str) -> None:
        """Land one event, as landing does: recorded now, in its month's partition."""
        with self.connection.transaction():
            recorded = self.value("select landing.record_now()")
            self.connection.execute("select landing.ensure_months(array[%s::timestamptz])", (at,))
            batch = self.value(
                "insert into landing.batches (recorded_at, source, accepted, duplicates, quarantined,"
                " first_occurred_at, last_occurred_at) values (%s, 'test', 1, 0, 0, %s, %s) returning batch_id",
                recorded, at, at,
            )  # fmt: skip
            digest = uuid.UUID(bytes=hashlib.sha256(key.encode()).digest()[:16])
            self.connection.execute(
                "insert into landing.event_keys (team_id, key_digest, content_digest, occurred_at)"
                " values (%s, %s, %s, %s)",
                (self.teams[team], digest, digest, at),
            )
            self.connection.execute(
                "insert into landing.usage_events (team_id, occurred_at, key_digest, event_key, event_name, quantity,"
                " properties, batch_id, recorded_at) values (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
                (self.teams[team], at, digest, key, name,
                 Decimal(quantity), Jsonb(properties), batch, recorded),
            )  # fmt: skip

    def aggregate(self, start: datetime | None = None, end: datetime | None = None, finance: bool = False) -> int:
        """What the aggregation DAG does, without Airflow, and in one call of dbt."""
        run = runs.open_run(self.connection, "test", start, end)
        transform.build("tag:usage tag:billing tag:finance" if finance else "tag:usage tag:billing", self.settings)
        runs.close_run(self.connection, run)
        return run

    def bills(self) -> dict[tuple[str, str], Decimal]:
        return {
            (row["team_key"], row["period_label"]): row["total"].normalize()
            for row in self.query("select team_key, period_label, total from marts.fct_bills")
        }


@pytest.fixture
def house(deployed_database_url: str, dbt_home: Path) -> Iterator[House]:
    from metering.database import connect

    with connect(deployed_database_url) as connection:
        yield House(connection, Settings(home=dbt_home, values={"DATABASE_URL": deployed_database_url}))

"""What the gates read, as plain tables that a test fills: marts by the contracts of dbt_project, and what lands."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from metering import runs

JULY = datetime(2026, 7, 1, tzinfo=UTC)
AUGUST = datetime(2026, 8, 1, tzinfo=UTC)

Connection = psycopg.Connection[dict[str, Any]]


class Landing:
    """Lands events the way the ingestion service does: one batch, one recorded moment."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.number = 0

    def land(self, *events: tuple[Any, ...], accepted: int | None = None, at: datetime = JULY) -> None:
        """Events as (team_id, event name, quantity, properties); `accepted` is what the batch claims where it lies."""
        with self.connection.transaction():
            recorded = self.connection.execute("SELECT landing.record_now() AS now").fetchone()["now"]
            batch = self.connection.execute(
                "INSERT INTO landing.batches (recorded_at, source, accepted, duplicates, quarantined,"
                " first_occurred_at, last_occurred_at) VALUES (%s, 'test', %s, 0, 0, %s, %s) RETURNING batch_id",
                (recorded, len(events) if accepted is None else accepted, at, at),
            ).fetchone()["batch_id"]
            for team, name, quantity, *properties in events:
                self.number += 1
                said = Jsonb(properties[0] if properties else {})
                self.connection.execute(
                    "INSERT INTO landing.usage_events (team_id, occurred_at, key_digest, event_key, event_name,"
                    " quantity, batch_id, recorded_at, properties)"
                    " VALUES (%s, %s, md5(%s)::uuid, %s, %s, %s, %s, %s, %s)",
                    (team, at, str(self.number), str(self.number), name, quantity, batch, recorded, said),
                )

    def withdraw(self, where: str) -> None:
        """Withdraw events, as a correction does."""
        with self.connection.transaction():
            self.connection.execute(
                "INSERT INTO landing.event_withdrawals"
                " SELECT team_id, key_digest, occurred_at, landing.record_now(), 'mistake'"
                f" FROM landing.usage_events WHERE {where}"
            )

    def open_run(self) -> int:
        """A metering run over what landed since the last."""
        return runs.open_run(self.connection, "test")


@pytest.fixture
def landing(connection: Connection) -> Landing:
    """Two teams and two meters to land events for, without events yet."""
    connection.execute(
        """
        INSERT INTO billing.teams (team_key, team_name, time_zone) VALUES
            ('acme', 'Acme', 'UTC'), ('zen', 'Zen', 'UTC');
        INSERT INTO billing.meters (meter_key, meter_name, event_name, aggregation, unit, allow_negative) VALUES
            ('calls', 'Calls', 'api.call', 'sum', 'call', false),
            ('credits', 'Credits', 'credit', 'sum', 'credit', true);
        SELECT landing.ensure_months(ARRAY['2026-07-01Z', '2026-08-01Z']::timestamptz[]);
        """
    )
    return Landing(connection)


class Marts:
    """Bills, lines and tiers as dbt would have built them."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def bill(self, team: int, amount: str, *, start: datetime = JULY, end: datetime = AUGUST, **wrong: Any) -> None:
        """A bill of one line of one tier; `wrong` replaces a value where it should not fit: total, quantity, cost."""
        values = {
            "team": team, "start": start, "end": end, "amount": Decimal(amount), "label": f"{start:%Y-%m}",
            "total": Decimal(amount), "quantity": Decimal(100), "tiers": Decimal(100), "cost": Decimal(amount),
            "currency": "USD", "status": "closing", **wrong,
        }  # fmt: skip
        for statement in (
            "DELETE FROM marts.fct_bills WHERE team_id = %(team)s AND period_start = %(start)s",
            "DELETE FROM marts.fct_bill_lines WHERE team_id = %(team)s AND period_start = %(start)s",
            "DELETE FROM marts.fct_rated_usage WHERE team_id = %(team)s AND period_start = %(start)s",
            "INSERT INTO billing.billing_periods (team_id, subscription_key, period_start, period_end, period_label,"
            " time_zone, currency) VALUES (%(team)s, 'main', %(start)s, %(end)s, %(label)s, 'UTC', %(currency)s)"
            " ON CONFLICT DO NOTHING",
            "INSERT INTO marts.fct_bills SELECT %(team)s, team_key, 'main', %(start)s, %(end)s, %(label)s,"
            " %(currency)s, %(total)s, %(status)s FROM billing.teams WHERE team_id = %(team)s",
            "INSERT INTO marts.fct_bill_lines VALUES (%(team)s, 'main', %(start)s, 'calls@1', 'usage', %(start)s, 1,"
            " %(quantity)s, %(quantity)s, %(currency)s, %(amount)s)",
            "INSERT INTO marts.fct_rated_usage VALUES (%(team)s, 'main', %(start)s, 'calls@1', %(tiers)s, %(cost)s, 0)",
        ):
            self.connection.execute(statement, values)


@pytest.fixture
def marts(connection: Connection, landing: Landing) -> Marts:
    """The tables that the gate on bills reads, empty."""
    connection.execute((Path(__file__).parent / "marts.sql").read_text(encoding="utf-8"))
    return Marts(connection)

"""The whole way in the running system: a file becomes bills at Stripe, and nothing that is done twice counts twice."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from metering import database
from metering.processes.airflow_api import AirflowApi

CATALOG = """
meters:
  - {meter: pages, name: Pages, event: page_printed, aggregation: sum, unit: page, dimensions: [color]}
  - {meter: jobs, name: Jobs, event: page_printed, aggregation: count, unit: job}
plans:
  - plan: print
    name: Print
    prices:
      - price: print/pages
        name: Pages
        meter: pages
        currency: USD
        versions:
          - effective_from: 2020-01-01T00:00:00Z
            model: graduated
            charge_unit: page
            tiers: [{up_to: 100, unit_amount: "0.10"}, {unit_amount: "0.05"}]
      - price: print/color
        name: Pages in color
        meter: pages
        currency: USD
        match: {color: "yes"}
        versions:
          - {effective_from: 2020-01-01T00:00:00Z, model: per_unit, charge_unit: page, tiers: [{unit_amount: "0.25"}]}
      - price: print/jobs
        name: Jobs
        meter: jobs
        currency: USD
        versions:
          - {effective_from: 2020-01-01T00:00:00Z, model: volume, charge_unit: job, tiers: [
              {up_to: 2, unit_amount: "1"}, {unit_amount: "0.5"}]}
teams:
  - {team: north, name: North, time_zone: Asia/Kathmandu, subscription: {plan: print, currency: USD, starts: START}}
  - {team: south, name: South, time_zone: America/New_York, subscription: {plan: print, currency: USD, starts: START}}
"""
MAP = """
time: {column: when, zone: UTC}
key: {column: id}
team: {column: team}
event: {value: page_printed}
quantity: {column: pages}
properties: {color: color}
catalog: catalog.yaml
"""
TABLES = {
    "landing.usage_events": "team_id, occurred_at, key_digest",
    "intermediate.int_usage_buckets": "team_id, meter_id, bucket_start, dimensions, recorded_from",
    "marts.fct_usage_hourly": "team_id, meter_id, hour_start, dimensions",
    "marts.fct_usage_daily": "team_id, meter_id, day_start, dimensions",
    "marts.fct_usage_monthly": "team_id, meter_id, month_start, dimensions",
    "marts.fct_rated_usage": "team_id, period_start, line_key, tier",
    "marts.fct_bill_lines": "team_id, period_start, line_key",
    "marts.fct_stripe_usage": "team_id, meter_id, window_start",
    "billing.stripe_targets": "team_id, meter_id, window_start, revision",
    "billing.stripe_submissions": "team_id, meter_id, window_start, sequence",
    "billing.finalized_bill_lines": "team_id, period_start, line_key",
}


def _snapshot(settings: Any) -> dict[str, list[str]]:
    with database.connect(settings.database_url) as connection:
        return {
            table: [row["line"] for row in connection.execute(f"SELECT t::text AS line FROM {table} t ORDER BY {key}")]  # type: ignore[call-overload]  # names of ours, not of a user
            for table, key in TABLES.items()
        }


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Usage of last month, three rows of it broken and one there twice; a map and a catalog."""
    folder = tmp_path_factory.mktemp("usage")
    start = (datetime.now(UTC).replace(day=1) - timedelta(days=1)).replace(day=1).date()
    day = start + timedelta(days=9)
    rows = [
        "id,when,team,pages,color",
        f"a,{day} 10:00:00,north,150,no",
        f"b,{day} 10:07:30,north,3.5,yes",
        f"c,{day} 11:00:00,north,1,yes",
        f"d,{day} 12:00:00,south,40,",
        f"e,{day} 12:00:00,south,many,no",
        f"a,{day} 10:00:00,north,150,no",
        f"f,{day} 12:00:00,nobody,1,no",
        "g,last Tuesday,south,1,no",
    ]
    (folder / "usage.csv").write_text("\n".join(rows) + "\n")
    (folder / "map.yaml").write_text(MAP)
    (folder / "catalog.yaml").write_text(CATALOG.replace("START", start.isoformat()))
    return folder


@pytest.fixture(scope="session")
def billed(running_system: Any, files: Path) -> dict[str, Any]:
    """What the demo of that file said."""
    return _demo(running_system, files)


def _demo(system: Any, files: Path) -> dict[str, Any]:
    summary = files / "summary.json"
    done = system.billing(
        *("demo", "--events", str(files / "usage.csv"), "--map", str(files / "map.yaml"), "--summary", str(summary)),
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(summary.read_text()))


def test_a_file_becomes_bills_that_equal_stripe(running_system: Any, billed: dict[str, Any]) -> None:
    assert billed["events"] == {"sent": 8, "landed": 4, "duplicate": 1, "quarantined": 3}
    last_month = (datetime.now(UTC).replace(day=1) - timedelta(days=1)).strftime("%Y-%m")
    totals = {bill["team"]: Decimal(bill["actual"]) for bill in billed["bills"] if bill["period"] == last_month}
    # North: 100 pages at 0.10, 50 at 0.05; 4.5 in color at 0.25, 1.125 rounded up; 3 jobs at 0.50. South: 40 and a job.
    assert totals == {"north": Decimal("15.13"), "south": Decimal("5.00")}
    assert all(bill["equal"] for bill in billed["bills"])
    assert set(billed["reconciliation"].values()) == {"0"}
    assert billed["submissions"]["sent"] == billed["submissions"]["confirmed"] == 4
    with database.connect(running_system.settings.database_url) as connection:
        held = connection.execute(
            "SELECT line, reason FROM landing.quarantined_events WHERE status = 'held' ORDER BY line"
        ).fetchall()
    assert [(row["line"], row["reason"]) for row in held] == [
        (6, "invalid_quantity"), (8, "unknown_team"), (9, "invalid_time")
    ]  # fmt: skip


def test_the_same_file_again_changes_no_bill_and_submits_nothing(
    running_system: Any, billed: dict[str, Any], files: Path
) -> None:
    before = _snapshot(running_system.settings)
    again = _demo(running_system, files)
    assert again["events"] == {"sent": 8, "landed": 0, "duplicate": 5, "quarantined": 3}
    assert again["submissions"]["sent"] == 0
    assert again["bills"] == billed["bills"]
    assert _snapshot(running_system.settings) == before


def test_a_backfill_from_the_ui_gives_the_same_tables(running_system: Any, billed: dict[str, Any]) -> None:
    before = _snapshot(running_system.settings)
    with database.connect(running_system.settings.database_url) as connection:
        # Spoil an hour: a table that says more than the events do is what a backfill must mend.
        connection.execute("UPDATE marts.fct_usage_hourly SET quantity = quantity + 1 WHERE event_count = 2")
        first = connection.execute("SELECT min(occurred_at) AS at FROM landing.usage_events").fetchone()
    assert first is not None
    assert _snapshot(running_system.settings) != before
    hour = first["at"].replace(minute=0, second=0, microsecond=0)
    with AirflowApi(running_system.settings, user="admin") as airflow:
        backfill = airflow.client.post(
            "/backfills",
            json={
                "dag_id": "aggregate_usage",
                "from_date": (hour).isoformat(),
                "to_date": (hour + timedelta(hours=1)).isoformat(),
                "reprocess_behavior": "completed",
                "max_active_runs": 1,
                "run_backwards": False,
                "dag_run_conf": {},
            },
        )
        assert backfill.status_code == 200, backfill.text
        until = time.monotonic() + 300
        while True:
            told = airflow.client.get(f"/backfills/{backfill.json()['id']}").json()
            if told["completed_at"]:
                break
            assert time.monotonic() < until, told
            time.sleep(1)
        runs = airflow.client.get("/dags/aggregate_usage/dagRuns", params={"run_type": "backfill"}).json()["dag_runs"]
    assert runs
    assert {run["state"] for run in runs} == {"success"}
    assert _snapshot(running_system.settings) == before

"""A small sample through the client library, over HTTP, into the real ingestion service: exactly what was planned."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from metering import catalog, runs, sample, transform
from metering.demo.outcome import compare_bills
from metering.ingestion.keys import create_api_key
from metering.processes.ports import free_port
from metering.sample.events import Sample
from metering.sample.sending import send
from metering.settings import Settings
from usage_client import UsageClient

Connection = psycopg.Connection[dict[str, Any]]
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
FEW = ("acme", "annapurna", "idle")


@pytest.fixture
def database_url(deployed_database_url: str) -> str:
    return deployed_database_url


@pytest.fixture
def service(database_url: str, tmp_path: Path) -> Iterator[str]:
    """The ingestion service on this test's database."""
    port = free_port()
    environment = {**os.environ, "DATABASE_URL": database_url, "BILLING_HOME": str(tmp_path)}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "metering.ingestion", "--port", str(port)],
            env={**environment, "PYTHONPATH": str(Path(sample.__file__).parents[2])},
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{url}/health", timeout=2).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture(scope="module")
def few() -> Sample:
    """The sample of a few teams only: its duplicates, conflicts and wrong events among them."""
    whole = sample.make_sample(NOW)
    events = [event for event in whole.events if event.team in (*FEW, "acme-typo") or "wrong/" in event.idempotency_key]
    usage = tuple(part for part in whole.plan.usage if part.team.key in FEW)
    landed = sum(part.events for part in usage)
    first, again, conflicts = {}, 0, 0
    for event in events:
        if event.idempotency_key.startswith("wrong/"):
            continue
        if first.setdefault(event.idempotency_key, event) != event:
            conflicts += 1
        else:
            again += 1
    quarantined = {**whole.quarantined, "conflict": conflicts}
    return replace(
        whole,
        plan=replace(whole.plan, usage=usage),
        events=events,
        landed=landed,
        duplicate=again - landed,
        quarantined=quarantined,
    )


def test_what_lands_and_is_billed_is_what_was_planned_and_sending_it_again_changes_nothing(
    connection: Connection, database_url: str, service: str, few: Sample, dbt_home: Path
) -> None:
    catalog.apply(connection, sample.catalog(NOW))
    key = create_api_key(connection)
    wrong = sum(few.quarantined.values())
    first = send(service, key, few)
    assert (first.accepted, first.duplicate, first.quarantined) == (few.landed, few.duplicate, wrong)
    again = send(service, key, few)
    assert (again.accepted, again.duplicate, again.quarantined) == (0, few.landed + few.duplicate, wrong)
    planned = {(part.team.key, part.product.event): 0 for part in few.plan.usage}
    for part in few.plan.usage:
        planned[part.team.key, part.product.event] += part.total * (1_000_000 if part.product.whole else 1)
    landed = connection.execute(
        "SELECT team_key, event_name, sum(quantity) * 1000000 AS total FROM landing.usage_events"
        " JOIN billing.teams USING (team_id) GROUP BY 1, 2"
    ).fetchall()
    assert {(row["team_key"], row["event_name"]): int(row["total"]) for row in landed} == planned
    settings = Settings(home=dbt_home, values={"DATABASE_URL": database_url})
    run = runs.open_run(connection, "test")
    transform.build("tag:usage", settings)
    transform.build("tag:billing", settings)
    runs.close_run(connection, run)
    bills = compare_bills(connection, sample.bills_of_plan(few.plan, datetime.now(UTC)))
    assert len({bill.currency for bill in bills}) > 1
    assert {bill.team for bill in bills if bill.actual} >= {"acme", "annapurna"}
    assert [bill for bill in bills if not bill.equal] == []


def test_a_key_that_was_revoked_or_never_given_is_reported_and_nothing_is_lost(
    connection: Connection, service: str
) -> None:
    catalog.apply(connection, sample.catalog(NOW))
    with UsageClient(service, "bk_nobody") as client:
        client.track("api_request", 3, team="acme", time=NOW)
        assert client.flush(20)
        assert client.tally.failed == 1
        assert "401" in client.failed_batches[0].reason


def test_a_key_derived_by_the_client_is_a_duplicate_the_second_time(connection: Connection, service: str) -> None:
    catalog.apply(connection, sample.catalog(NOW))
    with UsageClient(service, create_api_key(connection, "acme"), team="acme") as client:
        client.track("api_request", 3, time=NOW, properties={"endpoint": "search"})
        client.track("api_request", "3.0", time=NOW, properties={"endpoint": "search"})
        assert client.flush(20)
        assert (client.tally.accepted, client.tally.duplicate) == (1, 1)

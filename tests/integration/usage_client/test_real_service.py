"""The real service, really killed: what was tracked meanwhile lands once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from metering.ingestion.keys import create_api_key
from metering.processes.ports import free_port
from metering.settings import PROJECT_ROOT
from usage_client import RetryPolicy, UsageClient

Connection = psycopg.Connection[dict[str, Any]]
Until = Callable[..., None]


class Service:
    """The ingestion service, at one address through all its lives."""

    def __init__(self, database_url: str, home: Path, until: Until) -> None:
        self._port = free_port()
        self._environment = {
            **os.environ, "DATABASE_URL": database_url, "BILLING_HOME": str(home),
            "PYTHONPATH": str(PROJECT_ROOT / "include"),
        }  # fmt: skip
        self._until = until
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "metering.ingestion", "--port", str(self._port)],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._until(self._is_ready)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health").is_success
        except httpx.TransportError:
            return False


@pytest.fixture
def service(database_url: str, tmp_path: Path, until: Until) -> Iterator[Service]:
    running = Service(database_url, tmp_path, until)
    yield running
    running.kill()


def test_what_was_tracked_while_the_service_was_killed_and_away_lands_once(
    connection: Connection, service: Service, tmp_path: Path, until: Until
) -> None:
    connection.execute("INSERT INTO billing.teams (team_key, team_name, time_zone) VALUES ('acme', 'Acme', 'UTC')")
    connection.execute(
        "INSERT INTO billing.meters (meter_key, meter_name, event_name, aggregation, unit)"
        " VALUES ('calls', 'Calls', 'api_request', 'sum', 'request')"
    )
    key = create_api_key(connection, "acme")
    service.start()
    usage = UsageClient(
        service.url, key, spool=tmp_path / "spool", batch_size=100, flush_seconds=0.02, retry=RetryPolicy(0.05, 0.2)
    )
    at = datetime.now(UTC)

    def track(first: int, last: int) -> None:
        for number in range(first, last):
            assert usage.track("api_request", number, time=at, properties={"endpoint": "/items/{id}"})

    track(0, 1000)
    until(lambda: usage.tally.accepted > 0)
    track(1000, 3000)
    service.kill()
    track(3000, 4000)
    until(lambda: usage.pending == 0)
    assert usage.spool.events > 0
    service.start()
    assert usage.flush(60)
    tally = usage.close()
    landed = connection.execute(
        "SELECT count(*) AS events, sum(quantity) AS total FROM landing.usage_events"
    ).fetchone()
    assert landed == {"events": 4000, "total": sum(range(4000))}
    # What was committed just before the service died, and not answered, was sent again.
    assert tally.accepted + tally.duplicate == 4000
    assert tally.tracked + tally.recovered == tally.sent + tally.spooled
    assert (tally.failed, tally.lost, tally.dropped, tally.quarantined, tally.refused) == (0, 0, 0, 0, 0)

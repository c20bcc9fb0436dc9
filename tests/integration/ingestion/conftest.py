"""A database for each file of tests, emptied before each test; a catalog; the real service as processes of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg
import pytest
from psycopg import sql
from psycopg.rows import DictRow

from metering import database
from metering.ingestion.keys import create_api_key
from metering.processes.ports import free_port
from metering.settings import PROJECT_ROOT

Connection = psycopg.Connection[DictRow]


@dataclass
class Running:
    """A running service."""

    process: subprocess.Popen[bytes]
    address: str
    log: Path

    def kill(self) -> None:
        """End it at once, in the middle of whatever it does."""
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """End it in peace, if it still runs."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


@pytest.fixture(scope="module")
def database_url(postgres_server: str, template_database: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a migrated database for one file of tests."""
    name = f"{template_database}_{request.module.__name__.rpartition('.')[2]}"
    with psycopg.connect(postgres_server, autocommit=True) as server:
        server.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template_database))
        )
        yield urlunsplit(urlsplit(postgres_server)._replace(path=f"/{name}"))
        server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    """A connection to the database, in which nothing has landed and nobody has a key."""
    with database.connect(database_url, application="tests") as opened:
        opened.execute(
            "TRUNCATE landing.usage_events, landing.event_keys, landing.batches,"
            " landing.quarantined_events, landing.quarantine_actions"
        )
        opened.execute("DELETE FROM billing.api_keys")
        yield opened


@pytest.fixture
def catalog(connection: Connection) -> None:
    """Two teams; one meter of quantities, one of a property."""
    connection.execute(
        "INSERT INTO billing.teams (team_key, team_name, time_zone)"
        " VALUES ('acme', 'Acme', 'UTC'), ('globex', 'Globex', 'UTC') ON CONFLICT DO NOTHING"
    )
    connection.execute(
        "INSERT INTO billing.meters (meter_key, meter_name, event_name, aggregation, value_property, unit)"
        " VALUES ('calls', 'Calls', 'call', 'sum', NULL, 'call'),"
        " ('tokens', 'Tokens', 'prompt', 'sum', 'tokens', 'token')"
        " ON CONFLICT DO NOTHING"
    )


@pytest.fixture
def api_key(connection: Connection, catalog: None) -> str:
    """A key for all teams."""
    return create_api_key(connection)


@pytest.fixture
def start(database_url: str, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts services on the database; ends them after the test."""
    started: list[Running] = []

    def start_one(port: int | None = None, *arguments: str) -> Running:
        running = _start(database_url, tmp_path / f"service-{len(started)}.log", port, *arguments)
        started.append(running)
        return running

    yield start_one
    for running in started:
        running.end()


@pytest.fixture(scope="module")
def service(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service that runs as long as the file's tests."""
    running = _start(database_url, tmp_path_factory.mktemp("service") / "service.log", None)
    yield running
    running.end()


def _start(database_url: str, log: Path, port: int | None, *arguments: str) -> Running:
    port = port or free_port()
    environment = {**os.environ, "DATABASE_URL": database_url, "PYTHONPATH": str(PROJECT_ROOT / "include")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "metering.ingestion", "--port", str(port), *arguments],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    running = Running(process, f"http://127.0.0.1:{port}", log)
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(f"{running.address}/health").status_code == 200:
                return running
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(log.read_text())

"""A deployed database with a catalog, two teams and their keys, and the real service in front of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from metering import periods
from metering.database import connect
from metering.ingestion.keys import create_api_key
from metering.processes.ports import free_port
from metering.settings import PROJECT_ROOT, Settings

from ...conftest import database_from
from ..metering.conftest import House

TIERS = [("0", "1000", "0", "0"), ("1000", "10000", "0.001", "0"), ("10000", None, "0.0008", "0")]


@dataclass
class World:
    """The database, the service, and a client for each of several keys."""

    house: House
    url: str
    address: str
    keys: dict[str, str] = field(default_factory=dict)

    def ask(self, path: str, key: str = "anyone", method: str = "GET", **more: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.keys[key]}"} if key in self.keys else {}
        return httpx.request(method, f"{self.address}{path}", headers=headers, timeout=60, **more)

    def get(self, path: str, who: str = "anyone", **params: Any) -> Any:
        reply = self.ask(path, who, params=params)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def send(self, events: list[dict[str, Any]], key: str = "anyone") -> dict[str, Any]:
        reply = self.ask("/api/usage/track", key, "POST", json=events)
        assert reply.status_code == 200, reply.text
        said: dict[str, Any] = reply.json()
        return said

    def period(self, team: str, back: int = 0) -> dict[str, Any]:
        """The billing period that runs, or the one so many before it."""
        return self.house.query(
            "select * from billing.billing_periods where team_id = %s order by period_start desc offset %s limit 1",
            self.house.teams[team],
            back,
        )[0]


@pytest.fixture(scope="module")
def world(
    postgres_server: str,
    deployed_template_database: str,
    dbt_home: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:
    """One world for each file of tests."""
    with database_from(postgres_server, deployed_template_database) as url:
        log = tmp_path_factory.mktemp("service") / "service.log"
        with connect(url) as connection, log.open("wb") as output:
            house = House(connection, Settings(home=dbt_home, values={"DATABASE_URL": url}))
            furnish(house)
            port = free_port()
            process = subprocess.Popen(
                [sys.executable, "-m", "metering.ingestion", "--port", str(port)],
                env={**os.environ, "DATABASE_URL": url, "PYTHONPATH": str(PROJECT_ROOT / "include")},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                found = World(house, url, f"http://127.0.0.1:{port}")
                _wait(process, found.address, log)
                found.keys = {
                    "anyone": create_api_key(connection, scopes=["track", "read", "admin"]),
                    "acme": create_api_key(connection, "acme", ["track", "read", "admin"]),
                    "globex": create_api_key(connection, "globex", ["track", "read", "admin"]),
                    "reader": create_api_key(connection, "acme", ["read"]),
                    "tracker": create_api_key(connection, "acme", ["track"]),
                }
                yield found
            finally:
                process.terminate()
                process.wait(30)


def furnish(house: House) -> None:
    """Two teams in two zones on one plan: a graduated price for searches, another for the rest, compute by instance."""
    calls = house.meter("calls", "call", dims=("endpoint",))
    compute = house.meter("compute", "job", dims=("instance",), value_property="hours")
    house.meter("jobs", "job", aggregation="count")
    plan = house.plan("standard")
    search = house.price("standard/search", plan, calls, match={"endpoint": "search"})
    house.version(search, "2020-01-01Z", "graduated", TIERS)
    other = house.price("standard/other", plan, calls)
    house.version(other, "2020-01-01Z", "per_unit", [("0", None, "0.013", "0")])
    large = house.price("standard/large", plan, compute, match={"instance": "large"})
    house.version(large, "2020-01-01Z", "per_unit", [("0", None, "2.75", "0")])
    begin = (datetime.now() - timedelta(days=130)).strftime("%Y-%m-01")
    house.team("acme", plan, begin, zone="Asia/Kathmandu")
    house.team("globex", plan, begin, zone="UTC")
    periods.open_periods(house.connection)


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(f"{address}/health").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(log.read_text())

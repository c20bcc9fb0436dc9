"""API keys: their rates over real sockets, and the command that makes and changes them."""

from __future__ import annotations

import os
import subprocess
import time
from decimal import Decimal

import httpx
import psycopg
import pytest
from psycopg.rows import DictRow

from metering.errors import BillingError
from metering.ingestion.keys import Limit, create_api_key, limit_api_key, list_api_keys
from metering.settings import PROJECT_ROOT

from .conftest import Running

Connection = psycopg.Connection[DictRow]


def send(service: Running, key: str, events: int, name: str) -> httpx.Response:
    body = [{"event": "call", "idempotency_key": f"{name}-{number}"} for number in range(events)]
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(f"{service.address}/api/usage/track", json=body, headers=headers, timeout=30)


def test_a_key_sends_no_more_than_its_rate_and_is_told_when_to_come_again(
    service: Running, catalog: None, connection: Connection
) -> None:
    slow = create_api_key(connection, "acme", limit=Limit(Decimal(10), 20))
    free = create_api_key(connection, "acme")
    assert send(service, slow, 30, "a").status_code == 200  # the burst, and ten more, which are waited for
    refused = send(service, slow, 1, "b")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limited")
    assert refused.headers["retry-after"] in ("1", "2")
    assert send(service, free, 1, "c").status_code == 200
    time.sleep(int(refused.headers["retry-after"]))
    assert send(service, slow, 1, "b").json()["accepted"] == 1
    landed = connection.execute("SELECT count(*) AS n FROM landing.usage_events").fetchone()
    assert landed == {"n": 32}


def test_a_rate_can_be_changed_and_lifted(service: Running, catalog: None, connection: Connection) -> None:
    key = create_api_key(connection, "acme", limit=Limit(Decimal("0.001"), 1))
    assert [send(service, key, 1, name).status_code for name in "ab"] == [200, 429]
    assert limit_api_key(connection, key, None) == key[:9]
    until = time.monotonic() + 6
    while send(service, key, 1, "c").status_code != 200:
        assert time.monotonic() < until
        time.sleep(0.2)
    limit_api_key(connection, key[:9], Limit.of(Decimal("2.5")))
    (listed,) = list_api_keys(connection)
    assert (listed["rate_per_second"], listed["rate_burst"]) == (Decimal("2.500"), 25)
    with pytest.raises(BillingError, match="No API key"):
        limit_api_key(connection, "bk_nobody", None)


@pytest.mark.parametrize(("rate", "burst"), [("0", None), ("-1", None), ("NaN", None), ("1e9", None), ("5", 0)])
def test_a_rate_that_means_nothing_is_refused(rate: str, burst: int | None) -> None:
    with pytest.raises(BillingError, match="There is no"):
        Limit.of(Decimal(rate), burst)


def test_the_command_makes_limits_lists_and_revokes(catalog: None, connection: Connection, database_url: str) -> None:
    environment = {**os.environ, "DATABASE_URL": database_url, "PYTHONPATH": str(PROJECT_ROOT / "include")}

    def keys(*arguments: str) -> tuple[int, str]:
        program = str(PROJECT_ROOT / ".venv" / "bin" / "python")
        command = [program, "-m", "metering.cli", "keys", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    status, key = keys("create", "acme", "--scope", "read", "--rate", "2.5", "--burst", "7")
    assert status == 0 and key.startswith("bk_")
    hint = key[:9]
    assert "2.5/s, 7 at once" in keys("list")[1]
    assert f"{hint}: 1000/s, 10000 at once." in keys("limit", hint, "--rate", "1000")[1]
    assert f"{hint} is not limited." in keys("limit", hint, "--unlimited")[1]
    for wrong in (("limit", hint), ("limit", hint, "--rate", "many"), ("create", "acme", "--burst", "5")):
        status, said = keys(*wrong)
        assert status == 1 and "Traceback" not in said
    assert keys("revoke", hint)[0] == 0
    assert keys("limit", hint, "--unlimited")[0] == 1
    assert "revoked" in keys("list")[1]

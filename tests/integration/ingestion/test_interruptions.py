"""What was acknowledged is there, once, whatever is killed meanwhile."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import psutil
import psycopg
from psycopg.rows import DictRow

from metering.processes.ports import free_port

from .conftest import Running

Connection = psycopg.Connection[DictRow]


class Sender:
    """Sends numbered events and repeats each request until it is acknowledged."""

    def __init__(self, address: str, key: str, name: str) -> None:
        self.address, self.key, self.name = address, key, name
        self.acknowledged: set[str] = set()
        self.repeated = 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        number = 0
        with httpx.Client(base_url=self.address, headers={"authorization": f"Bearer {self.key}"}, timeout=10) as client:
            while not self.stop.is_set():
                keys = [f"{self.name}-{number + place}" for place in range(40)]
                number += 40
                body = [
                    {"team": "acme", "event": "call", "idempotency_key": key, "time": "2026-10-05T12:00:00Z"}
                    for key in keys
                ]
                while not self._sent(client, body):
                    self.repeated += 1
                    time.sleep(0.05)
                self.acknowledged.update(keys)

    def _sent(self, client: httpx.Client, body: list[dict[str, Any]]) -> bool:
        try:
            reply = client.post("/api/usage/track", json=body)
        except httpx.TransportError:
            return False
        assert reply.status_code in (200, 503), reply.text
        if reply.status_code == 200:
            said = reply.json()
            assert said["accepted"] + said["duplicate"] == len(body)
        return reply.status_code == 200

    def finish(self) -> None:
        self.stop.set()
        self.thread.join(30)
        assert not self.thread.is_alive()


def test_killing_the_service_loses_nothing_and_counts_nothing_twice(
    start: Callable[..., Running], api_key: str, connection: Connection
) -> None:
    port = free_port()
    service = start(port)
    senders = [Sender(service.address, api_key, f"sender-{number}") for number in range(3)]
    for _ in range(3):
        time.sleep(random.uniform(0.2, 0.5))
        service.kill()
        service = start(port)
    time.sleep(0.3)
    _check(senders, connection)


def test_several_processes_serve_one_port_and_each_may_be_killed(
    start: Callable[..., Running], api_key: str, connection: Connection
) -> None:
    service = start(None, "--processes", "2")
    first = psutil.Process(service.process.pid)
    senders = [Sender(service.address, api_key, f"sender-{number}") for number in range(4)]
    killed = _servers(first)
    for process in killed:
        time.sleep(0.3)
        process.kill()
    until = time.monotonic() + 20
    while len([process for process in _servers(first) if process not in killed]) < 2:
        assert time.monotonic() < until, service.log.read_text()
        time.sleep(0.1)
    time.sleep(0.5)
    _check(senders, connection)
    # Killed as it is, the first takes those along that it has started: nobody goes on serving unseen.
    left = _servers(first)
    service.kill()
    _, alive = psutil.wait_procs(left, timeout=60)
    assert alive == []


def _servers(first: psutil.Process) -> list[psutil.Process]:
    """The processes that serve; not what Python starts beside them, nor those that are dead already."""
    alive = (process for process in first.children() if process.status() != psutil.STATUS_ZOMBIE)
    return [process for process in alive if "spawn_main" in " ".join(process.cmdline())]


def test_ending_every_connection_of_postgresql_loses_nothing_and_counts_nothing_twice(
    start: Callable[..., Running], api_key: str, connection: Connection
) -> None:
    service = start()
    senders = [Sender(service.address, api_key, f"sender-{number}") for number in range(3)]
    for _ in range(8):
        time.sleep(random.uniform(0.1, 0.3))
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE 'billing-ingestion%'"
        )
    time.sleep(0.3)
    _check(senders, connection)


def _check(senders: list[Sender], connection: Connection) -> None:
    for sender in senders:
        sender.finish()
    acknowledged = set().union(*(sender.acknowledged for sender in senders))
    landed = [row["event_key"] for row in connection.execute("SELECT event_key FROM landing.usage_events").fetchall()]
    assert len(acknowledged) > 200
    assert len(landed) == len(set(landed))
    assert acknowledged == set(landed)
    assert connection.execute("SELECT count(*) AS n FROM landing.event_keys").fetchone() == {"n": len(landed)}

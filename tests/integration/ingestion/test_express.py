"""The express way gives the replies of the ordinary one, or leaves the request to it."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import psycopg
import pytest
import uvicorn
from psycopg.rows import DictRow

from metering.ingestion.app import create_app
from metering.ingestion.express import Express
from metering.ingestion.keys import Limit, create_api_key
from metering.ingestion.protocol import BoundedHttp
from metering.ingestion.worker import Unavailable, Worker

Connection = psycopg.Connection[DictRow]
TIME = "2026-10-05T12:00:00Z"
GOOD: dict[str, Any] = {"team": "acme", "event": "call", "idempotency_key": "a", "time": TIME}


@dataclass
class Served:
    """The service in a thread of this process, and what its express way has taken."""

    port: int
    end: Callable[[], None] = lambda: None
    taken: list[bool] = field(default_factory=list)

    def open(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def ask(self, request: bytes) -> tuple[bytes, dict[str, str], Any]:
        """Status line, headers and JSON of the reply to one request."""
        with self.open() as connection:
            connection.sendall(request)
            return reply_on(connection)


def reply_on(connection: socket.socket) -> tuple[bytes, dict[str, str], Any]:
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    headers = {name.lower(): value for name, value in (line.decode().split(": ", 1) for line in lines)}
    while len(body) < int(headers["content-length"]):
        body += connection.recv(65536)
    assert len(body) == int(headers["content-length"])
    assert headers.pop("date")
    return status, headers, json.loads(body)


@pytest.fixture
def served(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    found = Served(0)
    take = Express.take

    def watched(self: Express, *arguments: Any) -> bool:
        found.taken.append(take(self, *arguments))
        return found.taken[-1]

    monkeypatch.setattr(Express, "take", watched)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        found.port = listener.getsockname()[1]
        configuration = uvicorn.Config(
            create_app(database_url),
            http=BoundedHttp,
            ws="none",
            lifespan="on",
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=5,
        )
        server = uvicorn.Server(configuration)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        found.end = lambda: setattr(server, "should_exit", True)
        yield found
        found.end()
        thread.join()


def request(key: str, body: bytes, *headers: str, line: str = "POST /api/usage/track HTTP/1.1") -> bytes:
    said = [line, "Host: localhost", f"Authorization: Bearer {key}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(said).encode() + b"\r\n\r\n" + body


def sent(*events: dict[str, Any]) -> bytes:
    return json.dumps([{**GOOD, **event} for event in events]).encode()


BODIES: dict[str, tuple[bool, bytes, tuple[str, ...]]] = {
    "one event": (True, json.dumps(GOOD).encode(), ()),
    "a batch of all kinds": (
        True,
        sent({}, {}, {"quantity": 2}, {"quantity": -1}, {"colour": "red"}, {"idempotency_key": None}),
        (),
    ),
    "an envelope": (True, b'{"events": %b}' % sent({}), ("Content-Type: application/json; charset=utf-8",)),
    "lines": (True, json.dumps(GOOD).encode() + b"\n{oh", ("Content-Type: application/x-ndjson",)),
    "in short": (True, sent({}, {}, {"quantity": -1}), ("Prefer: return=minimal",)),
    "the last of a connection": (True, sent({}), ("Connection: close",)),
    "no list": (False, b'{"events": 5}', ()),
    "nothing": (False, b"[]", ()),
    "an unknown event": (False, sent({"event": "cal"}), ()),
    "another type": (False, sent({}), ("Content-Type: text/csv",)),
    "another charset": (False, sent({}), ("Content-Type: application/json; charset=utf-16",)),
    "a header twice": (False, sent({}), ("X-A: 1", "X-A: 1")),
    "a CloudEvent": (False, b"{}", ("ce-specversion: 1.0", "ce-id: 1", "ce-source: s", "ce-type: call")),
}


@pytest.mark.parametrize("name", BODIES)
def test_both_ways_say_the_same(
    served: Served, api_key: str, connection: Connection, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    express, body, headers = BODIES[name]
    asked = request(api_key, body, *headers)
    served.ask(request(api_key, b"[]"))  # so that the key and the catalog are remembered
    served.taken.clear()
    first = served.ask(asked)
    assert served.taken == [express]
    landed = kept(connection)
    connection.execute(
        "TRUNCATE landing.usage_events, landing.event_keys, landing.quarantined_events, landing.quarantine_actions"
    )
    monkeypatch.setattr(Express, "may_take", lambda *_: False)
    assert served.ask(asked) == first
    assert kept(connection) == landed
    assert served.taken == [express]


def kept(connection: Connection) -> list[DictRow]:
    events = "SELECT event_key, quantity, occurred_at FROM landing.usage_events ORDER BY event_key"
    held = "SELECT reason, payload, times_seen FROM landing.quarantined_events ORDER BY payload"
    return [*connection.execute(events), *connection.execute(held)]


def test_a_key_may_do_what_it_may(served: Served, connection: Connection, catalog: None) -> None:
    own, reader = create_api_key(connection, "acme"), create_api_key(connection, scopes=["read"])
    slow = create_api_key(connection, limit=Limit.of(Decimal("0.01"), 2))
    for key in (own, reader, slow):
        served.ask(request(key, b"[]"))
    nobody = served.ask(request("bk_" + "x" * 43, sent({})))
    assert (nobody[0], nobody[2]["error"]["code"]) == (b"HTTP/1.1 401 Unauthorized", "invalid_api_key")
    assert served.ask(request(reader, sent({})))[2]["error"]["code"] == "missing_scope"
    assert served.ask(request(own, sent({"team": "globex"})))[2]["error"]["code"] == "foreign_team"
    served.taken.clear()
    assert served.ask(request(own, sent({"team": None})))[2]["accepted"] == 1
    assert served.ask(request(slow, sent({"idempotency_key": "b"})))[2]["accepted"] == 1
    refused = served.ask(request(slow, sent({"idempotency_key": "c"})))
    assert served.taken == [True, True, False]
    assert refused[2]["error"]["code"] == "rate_limited" and int(refused[1]["retry-after"]) > 90


def test_requests_one_after_the_other_and_in_pieces_are_answered_in_order(served: Served, api_key: str) -> None:
    served.ask(request(api_key, b"[]"))
    served.taken.clear()
    with served.open() as connection:
        # Three at once: those that come while the first is under way wait for it.
        connection.sendall(b"".join(request(api_key, sent({"idempotency_key": key})) for key in "abc"))
        received = b""
        while received.count(b'"accepted":1') < 3:
            received += connection.recv(65536)
        assert [received.index(b'"idempotency_key":"%c"' % key) for key in b"abc"] == sorted(
            received.index(b'"idempotency_key":"%c"' % key) for key in b"abc"
        )
        whole = request(api_key, sent({"idempotency_key": "d"}))
        for piece in (whole[:20], whole[20:-30], whole[-30:-5], whole[-5:]):
            connection.sendall(piece)
            time.sleep(0.05)
        assert reply_on(connection)[2]["accepted"] == 1
    assert served.taken[0] and served.taken[-1]


@pytest.mark.parametrize("header", ["Expect: 100-continue", "Content-Encoding: gzip"])
def test_what_is_to_be_read_in_another_way_is_not_waited_for(served: Served, api_key: str, header: str) -> None:
    served.ask(request(api_key, b"[]"))
    served.taken.clear()
    whole = request(api_key, gzip.compress(sent({})) if "gzip" in header else sent({}), header)
    head, _, body = whole.partition(b"\r\n\r\n")
    with served.open() as connection:
        connection.sendall(head + b"\r\n\r\n")
        if header.startswith("Expect"):
            connection.settimeout(0.8)  # less than a body is waited for
            assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert reply_on(connection)[2]["accepted"] == 1
    assert served.taken == []


def test_a_body_that_does_not_come_is_waited_for_in_the_ordinary_way(
    served: Served, api_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metering.ingestion.protocol.BODY_SECONDS", 0.05)
    monkeypatch.setattr("metering.ingestion.request_body.BODY_SECONDS", 0.3)
    served.ask(request(api_key, b"[]"))
    served.taken.clear()
    whole = request(api_key, sent({}))
    with served.open() as connection:
        connection.sendall(whole[:-5])
        time.sleep(0.15)
        connection.sendall(whole[-5:])
        assert reply_on(connection)[2]["accepted"] == 1
    with served.open() as connection:
        connection.sendall(whole[:-5])
        assert reply_on(connection)[2]["error"]["code"] == "too_slow"
    assert served.taken == []


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [(Unavailable("away"), 503, "unavailable"), (LookupError("a mistake"), 500, "internal_error")],
)
def test_what_could_not_be_committed_is_not_acknowledged(
    served: Served, api_key: str, monkeypatch: pytest.MonkeyPatch, failure: Exception, status: int, code: str
) -> None:
    async def fail(self: Worker, function: Callable[..., Any]) -> Any:
        await asyncio.sleep(0.01)
        raise failure

    served.ask(request(api_key, b"[]"))
    monkeypatch.setattr(Worker, "run", fail)
    served.taken.clear()
    said = served.ask(request(api_key, sent({})))
    assert served.taken == [True]
    assert said[0].startswith(b"HTTP/1.1 %d " % status) and said[2]["error"]["code"] == code
    monkeypatch.setattr(Express, "may_take", lambda *_: False)
    assert served.ask(request(api_key, sent({}))) == said


def commit_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Worker.run

    async def slowly(self: Worker, function: Callable[..., Any]) -> Any:
        await asyncio.sleep(0.2)
        return await run(self, function)

    monkeypatch.setattr(Worker, "run", slowly)


def test_a_service_that_ends_answers_what_it_has_taken(
    served: Served, api_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.ask(request(api_key, b"[]"))
    commit_slowly(monkeypatch)
    with served.open() as connection:
        connection.sendall(request(api_key, sent({})))
        time.sleep(0.05)
        served.end()
        said = reply_on(connection)
        assert said[2]["accepted"] == 1 and said[1]["connection"] == "close"
        assert connection.recv(1) == b""


def test_a_sender_that_has_gone_troubles_nobody(
    served: Served, api_key: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.ask(request(api_key, b"[]"))
    commit_slowly(monkeypatch)
    with served.open() as gone:
        gone.sendall(request(api_key, sent({})))
        time.sleep(0.05)
    assert served.ask(request(api_key, sent({"idempotency_key": "b"})))[2]["accepted"] == 1
    assert served.ask(request(api_key, sent({})))[2]["duplicate"] == 1

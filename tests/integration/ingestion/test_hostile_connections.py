"""What a hostile sender does beneath the body: header tricks, broken chunks, what two could read differently."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Iterator

import httpx
import psycopg
import pytest
import uvicorn
from psycopg.rows import DictRow
from uvicorn.server import ServerState

from metering.ingestion import protocol
from metering.ingestion.app import create_app
from metering.ingestion.protocol import BoundedHttp

from .conftest import Running

Connection = psycopg.Connection[DictRow]

BODY = b'[{"team": "acme", "event": "call", "idempotency_key": "smuggled"}]'
LENGTH = b"Content-Length: %d" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked"


@pytest.fixture(autouse=True)
def unharmed(service: Running, connection: Connection) -> Iterator[None]:
    """After each: the service answers, in the same process, and nothing has landed."""
    yield
    assert service.process.poll() is None
    assert httpx.get(f"{service.address}/health/live", timeout=30).json() == {"status": "live"}
    assert connection.execute("SELECT count(*) AS n FROM landing.usage_events").fetchone() == {"n": 0}


def exchange(service: Running, sent: bytes) -> bytes:
    """Send bytes and return all that comes until the service closes, or says nothing more for half a second."""
    host, port = service.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=15) as connection:
        with contextlib.suppress(OSError):  # it may have heard enough; what it said is there to be read
            connection.sendall(sent)
        received = b""
        while True:
            try:
                part = connection.recv(65536)
            except (TimeoutError, ConnectionResetError):
                break
            if not part:
                break
            received += part
            connection.settimeout(0.5)
    return received


def statuses(received: bytes) -> list[int]:
    return [int(line[9:12]) for line in received.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


def request(key: str, *headers: bytes, body: bytes = BODY, line: bytes = b"POST /api/usage/track HTTP/1.1") -> bytes:
    said = [line, b"Host: localhost", b"Authorization: Bearer " + key.encode(), *headers]
    return b"\r\n".join(said) + b"\r\n\r\n" + body


NOT_HTTP = {
    "conflicting content-length": (LENGTH, b"Content-Length: 5"),
    "content-length twice": (LENGTH, LENGTH),
    "content-length in a list": (b"Content-Length: 66, 66",),
    "content-length and chunked": (LENGTH, CHUNKED),
    "chunked and content-length": (CHUNKED, LENGTH),
    "a negative content-length": (b"Content-Length: -1",),
    "a content-length in hexadecimal": (b"Content-Length: 0x42",),
    "a content-length beyond 64 bits": (b"Content-Length: 99999999999999999999999",),
    "a content-length with a sign": (b"Content-Length: +66",),
    "chunked, but not at last": (b"Transfer-Encoding: chunked, identity",),
    "chunked by another name": (b"Transfer-Encoding: xchunked",),
    "chunked behind a tab": (b"Transfer-Encoding:\x0bchunked",),
    "a chunk without a size": (CHUNKED,),
    "a header without a colon": (b"nonsense", LENGTH),
    "a header with a blank in its name": (b"Content Length: 5", LENGTH),
    "a zero byte in a header": (b"X-A: a\0b", LENGTH),
    "a carriage return in a header": (b"X-A: a\rb: c", LENGTH),
    "a blank before the colon": (b"Content-Length : 66",),
}


@pytest.mark.parametrize("name", NOT_HTTP)
def test_what_two_parties_could_read_differently_is_refused(service: Running, api_key: str, name: str) -> None:
    received = exchange(service, request(api_key, *NOT_HTTP[name]))
    assert statuses(received) == [400], received
    assert json.loads(received.partition(b"\r\n\r\n")[2])["error"]["code"] == "bad_request"


CHUNKS = {
    "a size that is no number": b"zz\r\nabc\r\n0\r\n\r\n",
    "a size beyond 64 bits": b"FFFFFFFFFFFFFFFFF\r\nabc",
    "a negative size": b"-5\r\nabc\r\n0\r\n\r\n",
    "a size too small": b"3\r\nabcdef\r\n0\r\n\r\n",
    "a chunk without its end": b"3\r\nabcX0\r\n\r\n",
}


@pytest.mark.parametrize("name", CHUNKS)
def test_broken_chunks_are_refused(service: Running, api_key: str, name: str) -> None:
    received = exchange(service, request(api_key, CHUNKED, body=CHUNKS[name]))
    assert statuses(received)[:1] == [400], received


def test_a_body_that_never_ends_is_cut_off_at_its_limit(service: Running, api_key: str) -> None:
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    received = exchange(service, request(api_key, CHUNKED, body=chunk * 600))
    assert statuses(received) == [413], received[:500]


def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(service: Running, api_key: str) -> None:
    received = exchange(service, request(api_key, b"Content-Length: 99999999999", body=b""))
    assert statuses(received) == [413], received
    waiting = request(api_key, b"Content-Length: 99999999999", b"Expect: 100-continue", body=b"")
    assert statuses(exchange(service, waiting)) == [413]


REPEATED = {
    "authorization": (b"Authorization: Bearer bk_another", LENGTH),
    "content-type": (b"Content-Type: application/json", b"Content-Type: application/x-ndjson", LENGTH),
    "content-encoding": (b"Content-Encoding: identity", b"content-encoding: gzip", LENGTH),
}


@pytest.mark.parametrize("name", REPEATED)
def test_a_header_that_decides_something_is_not_taken_twice(service: Running, api_key: str, name: str) -> None:
    received = exchange(service, request(api_key, *REPEATED[name]))
    assert statuses(received) == [400] and b"repeated_header" in received and name.encode() in received


ENORMOUS = {
    "one header": (b"X-A: " + b"a" * 300_000, LENGTH),
    "many headers": (*(b"X-%d: a" % number for number in range(500)), LENGTH),
    "a key": (b"X-Key: " + b"a" * 40_000, LENGTH),
}


@pytest.mark.parametrize("name", ENORMOUS)
def test_enormous_headers_are_refused(service: Running, api_key: str, name: str) -> None:
    received = exchange(service, request(api_key, *ENORMOUS[name]))
    assert statuses(received) == [431], received
    assert json.loads(received.partition(b"\r\n\r\n")[2])["error"]["code"] == "headers_too_large"


def test_a_header_that_never_ends_is_refused(service: Running) -> None:
    received = exchange(service, b"POST /api/usage/track HTTP/1.1\r\nX-A: " + b"a" * 5_000_000)
    assert statuses(received) == [431], received[:200]
    received = exchange(service, b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert statuses(received) == [431], received[:200]


def test_what_is_another_protocol_is_refused(service: Running) -> None:
    for sent in (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"EHLO x\r\n", bytes(100)):
        assert statuses(exchange(service, sent)) == [400]


def test_asking_for_another_protocol_changes_nothing(service: Running, api_key: str) -> None:
    for upgrade in (b"h2c", b"websocket"):
        sent = request(
            api_key, b"Connection: Upgrade", b"Upgrade: " + upgrade, line=b"GET /health/live HTTP/1.1", body=b""
        )
        assert statuses(exchange(service, sent)) == [200]


def test_an_address_of_somebody_else_is_never_redirected_to(service: Running) -> None:
    sent = b"GET /health/ HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: evil.example\r\n\r\n"
    received = exchange(service, sent)
    assert statuses(received) == [404] and b"evil" not in received


@pytest.mark.parametrize(
    "path", [b"/..%2f..%2fetc/passwd", b"/%00", b"/%ff", b"//evil.example/", b"/docs/%2e%2e/x", b"*"]
)
def test_paths_that_lead_nowhere_are_told_so(service: Running, path: bytes) -> None:
    received = exchange(service, b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert statuses(received) in ([404], [400]), received


async def test_headers_that_come_too_slowly_are_not_waited_for(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.2)
    configuration = uvicorn.Config(create_app(database_url), log_config=None)
    configuration.load()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: BoundedHttp(configuration, ServerState(), {}), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"POST /api/usage/track HTTP/1.1\r\n")
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


def test_a_flood_of_nonsense_is_a_few_lines_of_the_log_and_quotes_none_of_it(service: Running, api_key: str) -> None:
    before = len(service.log.read_text().splitlines())
    began = time.monotonic()
    for _ in range(15):
        exchange(service, b"secret-nonsense\r\n\r\n")
        httpx.post(
            f"{service.address}/api/usage/track", headers={"authorization": "Bearer secret-key"}, json=["secret"]
        )
    seconds = time.monotonic() - began
    written = service.log.read_text().splitlines()[before:]
    assert 2 <= len(written) <= 2 * (seconds + 2)
    assert "secret" not in "".join(written)
    assert {json.loads(line)["event"] for line in written} == {"Invalid HTTP request received.", "request_failed"}

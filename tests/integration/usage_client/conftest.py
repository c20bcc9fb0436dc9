"""A real HTTP server that keeps usage as the service does, and misbehaves as it is told."""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

import usage_client

Start = Callable[..., "subprocess.Popen[str]"]


class MisbehavingServer(ThreadingHTTPServer):
    """Does `script`, an action a request, and then behaves: each action is a status, with headers, or a way to fail."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: list[Any] = []
        self.kept: dict[str, dict[str, Any]] = {}
        self.batches: list[list[dict[str, Any]]] = []
        self.times: list[float] = []
        self.headers: list[dict[str, str]] = []
        self.limit: int | None = None
        self.fails_at: set[str] = set()
        """Keys of events that break it."""

    def told_by(self, usage: usage_client.UsageClient) -> list[dict[str, Any]]:
        """What has arrived once a client has sent all it had, in the order of its times."""
        assert usage.flush()
        return sorted(self.kept.values(), key=lambda event: str(event["time"]))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what these tests are about."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def keep(self, events: list[dict[str, Any]]) -> dict[str, Any]:
        """Land a batch and account for it, as the service does with `Prefer: return=minimal`."""
        reply: dict[str, Any] = {"accepted": 0, "duplicate": 0, "quarantined": 0, "refused": 0, "events": []}
        for index, event in enumerate(events):
            key = event["idempotency_key"]
            if event["event"] == "unknown":
                status, reason = "quarantined", "unknown_event"
            elif key not in self.kept:
                status, reason = "accepted", None
                self.kept[key] = event
            elif {**self.kept[key], "observed_at": ""} == {**event, "observed_at": ""}:
                status, reason = "duplicate", None
            else:
                status, reason = "quarantined", "conflict"
            reply[status] += 1
            if status != "accepted":
                reply["events"].append({"index": index, "status": status, "idempotency_key": key, "reason": reason})
        return reply


class _Handler(BaseHTTPRequestHandler):
    server: MisbehavingServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        server = self.server
        server.times.append(time.monotonic())
        server.headers.append({name.lower(): value for name, value in self.headers.items()})
        events = json.loads(gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body)
        server.batches.append(events)
        action = server.script.pop(0) if server.script else None
        if server.limit is not None and len(events) > server.limit:
            self._reply(413, {"error": {"code": "body_too_large"}})
        elif server.fails_at & {event["idempotency_key"] for event in events}:
            self._reply(500, {"error": {"code": "internal_error"}})
        elif action is None:
            self._reply(200, server.keep(events))
        elif action == "reset before the commit":
            self._reset()
        elif action == "reset after the commit":
            server.keep(events)
            self._reset()
        elif action == "garbage after the commit":
            server.keep(events)
            self._reply(200, None)
        elif action == "hang for long":
            time.sleep(20)
        elif action == "hang":
            time.sleep(1.5)
            self._reply(200, server.keep(events))
        else:
            status, headers = action if isinstance(action, tuple) else (action, {})
            self._reply(status, {"error": {"code": "told_to"}}, headers)

    def _reply(self, status: int, content: object, headers: dict[str, str] | None = None) -> None:
        body = b"{not json" if content is None else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[MisbehavingServer]:
    """A server of this test's own."""
    served = MisbehavingServer()
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield served
    served.shutdown()
    served.server_close()
    thread.join()


def until(true: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something is so, and fail where it does not become so."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture
def usage(server: MisbehavingServer) -> Iterator[usage_client.UsageClient]:
    """A client of that server, which sends when it is told to."""
    with usage_client.UsageClient(server.url, "bk_secret", flush_seconds=60) as client:
        yield client


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    """Somebody who calls applications."""
    with httpx.Client(verify=False, timeout=60) as client:  # reading all certificates takes longer than most tests
        yield client


@pytest.fixture(name="until")
def _until() -> Callable[..., None]:
    return until


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts Python programs (a text, or a module as a list of arguments), and ends those that a test has left."""
    processes: list[subprocess.Popen[str]] = []

    def begin(program: str | list[str], *arguments: object, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *(["-c", program] if isinstance(program, str) else program), *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(Path(usage_client.__file__).parents[1]), **environment},
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        processes.append(process)
        return process

    yield begin
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # it leads a group of its own, with its workers in it
        process.communicate()

"""What a call costs the application: `python -m usage_client.bench [--calls 20000]`.

Each way of metering is measured with the service answering and with the service down (nobody listens); `track` besides
with a service that hangs (takes connections and says nothing), and with what is pending on disk. All of it happens in
this process, with the client's own threads beside it; the stand-in for the service is a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import multiprocessing
import resource
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from usage_client import asgi, wsgi
from usage_client.aio import AsyncUsageClient
from usage_client.base import BaseClient
from usage_client.client import UsageClient
from usage_client.compute import ComputeMeter

TARGET_US = 50.0
"""What a call may cost with the service away, in microseconds."""

Step = Callable[[int], Any]
Way = Callable[[BaseClient], Step]
"""Makes a call, ready to be made with a number."""


@dataclass(frozen=True)
class Cost:
    """What a call cost in one state of the service; times in microseconds."""

    way: str
    """What was called."""
    service: str
    """In which state the service was."""
    calls: int
    cpu: float
    """Of the calling thread's processor time, in the mean."""
    mean: float
    """By the clock on the wall, as are the following: what else the machine does counts, too."""
    p50: float
    p99: float
    worst: float
    dropped: int
    """Events for which there was no room."""
    memory_mb: float
    """The most this process has taken."""

    @property
    def too_dear(self) -> bool:
        """Whether it costs more than it may with the service away."""
        return "answers" not in self.service and min(self.cpu, self.mean) > TARGET_US


def measure(calls: int = 20_000, report: Callable[[Cost], None] = lambda _: None) -> list[Cost]:
    """Measure every way with so many calls; `report` is told of each as it is known."""
    costs: list[Cost] = []

    def row(way: str, service: str, url: str, **options: Any) -> None:
        costs.append(_cost(way, service, url, calls, **options))
        report(costs[-1])

    quiet = logging.getLogger("usage_client")
    level = quiet.level
    quiet.setLevel(logging.CRITICAL)
    try:
        with _sink() as answering, _silent() as (closed, hanging):
            for service, url in (("answers", answering), ("down", closed)):
                for way in WAYS:
                    row(way, service, url)
            row("track", "hangs", hanging, timeout=1.0)
            for service, url, durable in (
                ("answers, durable", answering, True),
                ("down, spool", closed, False),
                ("down, durable", closed, True),
            ):
                with tempfile.TemporaryDirectory() as folder:
                    row("track", service, url, spool=folder, durable=durable)
    finally:
        quiet.setLevel(level)
    return costs


def _track(usage: BaseClient) -> Step:
    """An event whose key is derived."""

    def call(number: int) -> None:
        properties = {"endpoint": "/v1/items/{id}", "method": "GET", "status": 200, "number": number}
        usage.track("api_request", 1, team="acme", time=datetime.now(UTC), properties=properties)

    return call


def _track_with_key(usage: BaseClient) -> Step:
    def call(number: int) -> None:
        properties = {"endpoint": "/v1/items/{id}", "method": "GET", "status": 200, "number": number}
        usage.track("api_request", 1, team="acme", properties=properties, idempotency_key=f"bench-{number}")

    return call


def _track_in_loop(usage: BaseClient) -> Step:
    track = _track(usage)

    async def call(number: int) -> None:
        track(number)

    return call


def _asgi(usage: BaseClient) -> Step:
    """A whole call of an application that does nothing but answer."""

    async def app(scope: asgi.Scope, _: asgi.Receive, send: asgi.Send) -> None:
        scope["usage_client.endpoint"] = "/v1/items/{id}"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> asgi.Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_: asgi.Message) -> None:
        pass

    metered = asgi.UsageMiddleware(app, usage, team=lambda _: "acme")

    async def call(number: int) -> None:
        await metered({"type": "http", "method": "GET", "path": f"/v1/items/{number}"}, receive, send)

    return call


def _wsgi(usage: BaseClient) -> Step:
    """A whole call of an application that does nothing but answer."""

    def app(environ: wsgi.Environ, start_response: wsgi.StartResponse) -> list[bytes]:
        environ["usage_client.endpoint"] = "/v1/items/{id}"
        start_response("200 OK", [])
        return [b""]

    def start_response(*_: Any) -> wsgi.Write:
        return lambda _: None

    metered = wsgi.UsageMiddleware(app, usage, team=lambda _: "acme")

    def call(number: int) -> None:
        answer: Any = metered({"REQUEST_METHOD": "GET", "PATH_INFO": f"/v1/items/{number}"}, start_response)
        for _ in answer:
            pass
        answer.close()

    return call


def _decorator(usage: BaseClient) -> Step:
    """A whole call of a function that does nothing."""

    @ComputeMeter(usage).metered(team=lambda _: "acme", instance_type="m5.large", cpus=2)
    def call(_: int) -> None:
        pass

    return call


def _context_manager(usage: BaseClient) -> Step:
    compute = ComputeMeter(usage)

    def call(number: int) -> None:
        with compute.run(team="acme", job=f"bench-{number}", instance_type="m5.large", cpus=2):
            pass

    return call


WAYS: dict[str, Way] = {
    "track": _track,
    "track, key given": _track_with_key,
    "track, in an event loop": _track_in_loop,
    "ASGI middleware": _asgi,
    "WSGI middleware": _wsgi,
    "decorator": _decorator,
    "context manager": _context_manager,
}
IN_LOOP = ("track, in an event loop", "ASGI middleware")
"""Ways that are awaited in an event loop, with the client for asyncio."""


def _cost(way: str, service: str, url: str, calls: int, **options: Any) -> Cost:
    waits = way in IN_LOOP
    usage = (AsyncUsageClient if waits else UsageClient)(url, "bench", **options)
    call = WAYS[way](usage)
    taken: list[int] = []
    clock = time.perf_counter_ns

    async def in_loop() -> int:
        await call(-1)  # the first starts threads
        processor = time.thread_time_ns()
        for number in range(calls):
            began = clock()
            await call(number)
            taken.append(clock() - began)
        return time.thread_time_ns() - processor

    def outside() -> int:
        call(-1)
        processor = time.thread_time_ns()
        for number in range(calls):
            began = clock()
            call(number)
            taken.append(clock() - began)
        return time.thread_time_ns() - processor

    processor = asyncio.run(in_loop()) if waits else outside()
    usage.end(0.1)
    tally = usage.tally
    taken.sort()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024 * 1024)
    mean, p50, p99, worst = (
        nanoseconds / 1000
        for nanoseconds in (statistics.fmean(taken), taken[calls // 2], taken[calls * 99 // 100], taken[-1])
    )
    return Cost(way, service, calls, processor / calls / 1000, mean, p50, p99, worst, tally.dropped, memory)


class _Sink(BaseHTTPRequestHandler):
    """Takes everything."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        reply = json.dumps({"accepted": body.count(b'"idempotency_key"'), "events": []}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


def _serve(tell: Any) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Sink)
    tell.send(server.server_address[1])
    server.serve_forever()


@contextmanager
def _sink() -> Iterator[str]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.kill()
        process.join()


@contextmanager
def _silent() -> Iterator[tuple[str, str]]:
    """An address at which nobody listens, and one at which nobody answers."""
    with socket.socket() as bound, socket.socket() as listening:
        bound.bind(("127.0.0.1", 0))
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"http://127.0.0.1:{bound.getsockname()[1]}", f"http://127.0.0.1:{listening.getsockname()[1]}"


def verdict(costs: list[Cost]) -> str:
    """Whether what may not cost much does not, in a sentence."""
    dear = [f"{cost.way} with a service that is {cost.service}" for cost in costs if cost.too_dear]
    if dear:
        return f"Over {TARGET_US:.0f} µs a call: {'; '.join(dear)}."
    return f"No call with the service away costs {TARGET_US:.0f} µs."


def main() -> int:
    """Print what a call costs; fails where it is too much with the service away."""
    parser = argparse.ArgumentParser(
        prog="python -m usage_client.bench",
        description="What a call of the usage client costs the application that makes it, in microseconds.",
        epilog="example: python -m usage_client.bench --calls 5000",
    )
    parser.add_argument("--calls", type=int, default=20_000, help="calls of each way (default: %(default)s)")
    arguments = parser.parse_args()
    numbers = f"{'cpu':>8} {'mean':>8} {'p50':>8} {'p99':>8} {'worst':>9} {'dropped':>8} {'MB':>5}"
    print(f"{'call':<24} {'service':<17} {numbers}")
    costs = measure(
        max(arguments.calls, 100),
        lambda cost: print(
            f"{cost.way:<24} {cost.service:<17} {cost.cpu:>8.1f} {cost.mean:>8.1f} {cost.p50:>8.1f} {cost.p99:>8.1f}"
            f" {cost.worst:>9.0f} {cost.dropped:>8} {cost.memory_mb:>5.0f}",
            flush=True,
        ),
    )
    print(verdict(costs))
    return 1 if any(cost.too_dear for cost in costs) else 0


if __name__ == "__main__":
    sys.exit(main())

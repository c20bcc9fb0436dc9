"""What a call costs the application: `python -m usage_client.bench [--calls 100000]`.

Each row is one state of the service, measured in this process, with the client's own threads beside it: the service
answers, is down (nobody listens), hangs (takes connections and says nothing), and is down with a spool on disk. The
stand-in for the service is a process of its own.
"""

from __future__ import annotations

import argparse
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

from usage_client.client import UsageClient

TARGET_US = 50.0
"""What a call may cost with the service down, in microseconds."""


@dataclass(frozen=True)
class Cost:
    """What `track` cost in one state of the service; times in microseconds."""

    name: str
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


def measure(calls: int = 100_000, report: Callable[[Cost], None] = lambda _: None) -> list[Cost]:
    """Measure every state with so many calls; `report` is told of each as it is known."""
    costs: list[Cost] = []

    def row(name: str, url: str, **options: Any) -> None:
        costs.append(_cost(name, url, calls, **options))
        report(costs[-1])

    quiet = logging.getLogger("usage_client")
    level = quiet.level
    quiet.setLevel(logging.CRITICAL)
    try:
        with _sink() as url:
            row("service answers", url)
            row("service answers, key given", url, given=True)
            with tempfile.TemporaryDirectory() as folder:
                row("service answers, durable", url, spool=folder, durable=True)
        with _silent() as (closed, hanging):
            row("service down", closed)
            row("service hangs", hanging, timeout=1.0)
            with tempfile.TemporaryDirectory() as folder:
                row("service down, spool", closed, spool=folder)
            with tempfile.TemporaryDirectory() as folder:
                row("service down, durable", closed, spool=folder, durable=True)
    finally:
        quiet.setLevel(level)
    return costs


def _cost(name: str, url: str, calls: int, *, given: bool = False, **options: Any) -> Cost:
    usage = UsageClient(url, "bench", **options)
    usage.track("warm_up")
    taken: list[int] = []
    clock = time.perf_counter_ns
    processor = time.thread_time_ns()
    for number in range(calls):
        properties = {"endpoint": "/v1/items/{id}", "method": "GET", "status": 200, "number": number}
        key = f"bench-{number}" if given else None
        moment = datetime.now(UTC)
        began = clock()
        usage.track("api_request", 1, team="acme", time=moment, properties=properties, idempotency_key=key)
        taken.append(clock() - began)
    processor = time.thread_time_ns() - processor
    tally = usage.close(timeout=0.1)
    taken.sort()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024 * 1024)
    mean, p50, p99, worst = (
        nanoseconds / 1000
        for nanoseconds in (statistics.fmean(taken), taken[calls // 2], taken[calls * 99 // 100], taken[-1])
    )
    return Cost(name, calls, processor / calls / 1000, mean, p50, p99, worst, tally.dropped, memory)


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


def main() -> int:
    """Print what a call costs; fails where it is too much with the service down."""
    parser = argparse.ArgumentParser(
        prog="python -m usage_client.bench",
        description="What a call of the usage client costs the application that makes it.",
        epilog="example: python -m usage_client.bench --calls 20000",
    )
    parser.add_argument("--calls", type=int, default=100_000, help="calls in each state (default: %(default)s)")
    arguments = parser.parse_args()
    print(f"{'µs a call':<28} {'cpu':>8} {'mean':>8} {'p50':>8} {'p99':>8} {'worst':>10} {'dropped':>9} {'MB':>6}")
    costs = measure(
        max(arguments.calls, 100),
        lambda cost: print(
            f"{cost.name:<28} {cost.cpu:>8.1f} {cost.mean:>8.1f} {cost.p50:>8.1f} {cost.p99:>8.1f} {cost.worst:>10.0f}"
            f" {cost.dropped:>9} {cost.memory_mb:>6.0f}",
            flush=True,
        ),
    )
    dear = [cost.name for cost in costs if "answers" not in cost.name and min(cost.cpu, cost.mean) > TARGET_US]
    print(
        f"Over {TARGET_US:.0f} µs: {', '.join(dear)}."
        if dear
        else f"No call with the service away costs {TARGET_US:.0f} µs."
    )
    return 1 if dear else 0


if __name__ == "__main__":
    sys.exit(main())

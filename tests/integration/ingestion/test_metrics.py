"""Metrics as real collectors receive them: a UDP socket for StatsD, an HTTP server for OpenTelemetry's OTLP."""

from __future__ import annotations

import gzip
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from psycopg.rows import DictRow

from metering.errors import BillingError
from metering.ingestion.collectors import metrics_for
from metering.ingestion.statsd import DATAGRAM, MAX_SAMPLES, StatsD
from metering.processes.ports import free_port
from metering.settings import PROJECT_ROOT, Settings

Connection = psycopg.Connection[DictRow]


@pytest.fixture
def agent() -> Iterator[socket.socket]:
    """A UDP socket that collects."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(5)
        yield listener


def lines(agent: socket.socket, until: str) -> list[str]:
    """All lines up to the one that has `until` in it."""
    received: list[str] = []
    while not any(until in line for line in received):
        datagram = agent.recv(65536)
        assert len(datagram) <= DATAGRAM
        received += datagram.decode().split("\n")
    return received


@pytest.fixture
def collector() -> Iterator[tuple[str, list[Any]]]:
    """An OTLP collector, and the metrics that it has been sent."""
    received: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.path == "/v1/metrics"
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for scope in resource.scope_metrics:
                    received.extend(scope.metrics)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()
    thread.join()
    server.server_close()


def test_both_collectors_are_told_rates_depth_latency_and_reasons(
    agent: socket.socket,
    collector: tuple[str, list[Any]],
    database_url: str,
    api_key: str,
    tmp_path: Path,
) -> None:
    endpoint, otlp = collector
    port = free_port()
    environment = {
        **os.environ,
        "DATABASE_URL": database_url,
        "PYTHONPATH": str(PROJECT_ROOT / "include"),
        "BILLING_STATSD_ADDRESS": f"127.0.0.1:{agent.getsockname()[1]}",
        "BILLING_OTLP_ENDPOINT": endpoint,
        "BILLING_METRICS_SECONDS": "0.5",
    }
    with (tmp_path / "log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "metering.ingestion", "--port", str(port)],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(600):
            assert process.poll() is None, (tmp_path / "log").read_text()
            try:
                if httpx.get(f"{address}/health").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.05)
        event = {"team": "acme", "event": "call", "idempotency_key": "secret-key"}
        events = [event, event, {**event, "quantity": -1}, {**event, "idempotency_key": "b"}]
        headers = {"authorization": f"Bearer {api_key}"}
        assert httpx.post(f"{address}/api/usage/track", json=events, headers=headers).status_code == 200
        assert httpx.post(f"{address}/api/usage/track", json=events).status_code == 401
        told = lines(agent, "missing_api_key")
        until = time.monotonic() + 10
        while "billing.ingestion.refusals" not in {metric.name for metric in otlp}:
            assert time.monotonic() < until
            time.sleep(0.05)
    finally:
        process.terminate()
        process.wait(20)
    text = "\n".join(told)
    for line in (
        "billing.ingestion.requests:1|c|#operation:post_api_usage_track,status:200",
        "billing.ingestion.events:2|c|#outcome:accepted",
        "billing.ingestion.events:1|c|#outcome:duplicate",
        "billing.ingestion.events:1|c|#outcome:quarantined",
        "billing.ingestion.rejects:1|c|#reason:negative_quantity",
        "billing.ingestion.refusals:1|c|#reason:missing_api_key",
    ):
        assert line in told, text
    assert re.search(r"request\.duration:\d+\.\d{3}\|ms\|#operation:post_api_usage_track", text)
    assert re.search(r"^billing\.ingestion\.landing\.duration:\d+\.\d{3}\|ms$", text, re.MULTILINE)
    assert "billing.ingestion.queue.events:0|g" in told and "billing.ingestion.bodies.bytes:0|g" in told
    assert "secret" not in text and "acme" not in text and api_key[:9] not in text
    by_name = {metric.name: metric for metric in otlp}
    assert set(by_name) == {
        f"billing.ingestion.{name}"
        for name in (
            "requests",
            "request.duration",
            "refusals",
            "events",
            "rejects",
            "landing.duration",
            "queue.events",
            "bodies.bytes",
        )
    }
    outcomes = {
        point.attributes[0].value.string_value: point.as_int
        for point in by_name["billing.ingestion.events"].sum.data_points
    }
    assert outcomes == {"accepted": 2, "duplicate": 1, "quarantined": 1}
    assert by_name["billing.ingestion.landing.duration"].histogram.data_points[0].count == 1


def test_plain_statsd_has_the_tags_in_the_names(agent: socket.socket) -> None:
    sink = StatsD("127.0.0.1", agent.getsockname()[1], "statsd")
    sink.begin({"queue.events": lambda: 7.0})
    sink.count("refusals", 2, {"reason": "queue_full"})
    sink.count("refusals", 1, {"reason": "queue_full"})
    sink.flush()
    assert set(lines(agent, "queue.events")) == {
        "billing.ingestion.refusals.queue_full:3|c",
        "billing.ingestion.queue.events:7|g",
    }


def test_a_flood_of_durations_is_sampled_with_its_rate(agent: socket.socket) -> None:
    sink = StatsD("127.0.0.1", agent.getsockname()[1])
    for _ in range(4 * MAX_SAMPLES):
        sink.duration("landing.duration", 0.25, {})
    sink.begin({"queue.events": lambda: 0.0})
    sink.flush()
    received = lines(agent, "queue.events")
    assert received.count("billing.ingestion.landing.duration:250.000|ms|@0.250000") == MAX_SAMPLES


def test_a_collector_that_is_away_troubles_nobody() -> None:
    for host in ("127.0.0.1", "no-such-host.invalid"):
        sink = StatsD(host, free_port())
        sink.count("events", 1, {"outcome": "accepted"})
        sink.flush()
        sink.close()


def test_nobody_collects_unless_the_settings_say_who(tmp_path: Path) -> None:
    assert not metrics_for(Settings(tmp_path, {})).on
    assert metrics_for(Settings(tmp_path, {"BILLING_STATSD_ADDRESS": "localhost:8125"})).on


@pytest.mark.parametrize(
    "values",
    [
        {"BILLING_STATSD_ADDRESS": "localhost"},
        {"BILLING_STATSD_ADDRESS": "localhost:port"},
        {"BILLING_STATSD_ADDRESS": "localhost:8125", "BILLING_STATSD_FLAVOUR": "carbon"},
        {"BILLING_OTLP_ENDPOINT": "localhost:4317"},
        {"BILLING_METRICS_SECONDS": "often"},
    ],
)
def test_settings_that_mean_nothing_are_said_in_a_sentence(tmp_path: Path, values: dict[str, str]) -> None:
    with pytest.raises(BillingError) as caught:
        metrics_for(Settings(tmp_path, values))
    assert "BILLING_" in caught.value.message and caught.value.remedy

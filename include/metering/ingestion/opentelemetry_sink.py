"""Measurements to an OpenTelemetry collector, by OTLP over HTTP."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Mapping

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from metering.ingestion.metrics import COUNTS, DURATIONS, PREFIX, Gauges

TIMEOUT_SECONDS = 5


class OpenTelemetry:
    """A `metrics.Sink` of OpenTelemetry's own SDK, which sends from a thread of its own."""

    def __init__(self, endpoint: str, seconds: float) -> None:
        """Send to the collector at `endpoint`, such as http://127.0.0.1:4318, every `seconds`."""
        exporter = OTLPMetricExporter(endpoint.rstrip("/") + "/v1/metrics", timeout=TIMEOUT_SECONDS)
        reader = PeriodicExportingMetricReader(exporter, export_interval_millis=seconds * 1000)
        resource = Resource.create(
            {"service.name": "billing-ingestion", "service.instance.id": f"{socket.gethostname()}:{os.getpid()}"}
        )
        self._provider = MeterProvider([reader], resource)
        self._meter = self._provider.get_meter("metering.ingestion")
        self._counts = {name: self._meter.create_counter(PREFIX + name) for name in COUNTS}
        self._durations = {name: self._meter.create_histogram(PREFIX + name, unit="s") for name in DURATIONS}

    def begin(self, gauges: Gauges) -> None:
        """See `metrics.Sink`."""
        for name, value in gauges.items():
            self._meter.create_observable_gauge(PREFIX + name, [_observer(value)])

    def count(self, name: str, number: int, tags: Mapping[str, str]) -> None:
        """See `metrics.Sink`."""
        self._counts[name].add(number, tags)

    def duration(self, name: str, seconds: float, tags: Mapping[str, str]) -> None:
        """See `metrics.Sink`."""
        self._durations[name].record(seconds, tags)

    def flush(self) -> None:
        """See `metrics.Sink`: the SDK's reader sends at its own time."""

    def close(self) -> None:
        """See `metrics.Sink`."""
        self._provider.shutdown(timeout_millis=TIMEOUT_SECONDS * 1000)


def _observer(value: Callable[[], float]) -> Callable[[CallbackOptions], Iterable[Observation]]:
    return lambda _: [Observation(value())]

"""Who collects the service's measurements, as the settings say: by default nobody."""

from __future__ import annotations

from urllib.parse import urlsplit

from metering.errors import BillingError
from metering.ingestion.metrics import Metrics, Sink
from metering.ingestion.statsd import Flavour, StatsD
from metering.settings import Settings

_FLAVOURS: dict[str, Flavour] = {"dogstatsd": "dogstatsd", "statsd": "statsd"}


def metrics_for(settings: Settings) -> Metrics:
    """Measure for whom the settings name; raises `BillingError` where they mean nothing."""
    sinks: list[Sink] = []
    seconds = _seconds(settings.get("BILLING_METRICS_SECONDS", "10") or "")
    address = settings.get("BILLING_STATSD_ADDRESS")
    if address:
        flavour = settings.get("BILLING_STATSD_FLAVOUR", "dogstatsd") or ""
        if flavour not in _FLAVOURS:
            raise BillingError(f"BILLING_STATSD_FLAVOUR={flavour!r} is not known.", "Give dogstatsd or statsd.")
        sinks.append(StatsD(*_host_and_port(address), _FLAVOURS[flavour]))
    endpoint = settings.get("BILLING_OTLP_ENDPOINT")
    if endpoint:
        if urlsplit(endpoint).scheme not in ("http", "https"):
            message = f"BILLING_OTLP_ENDPOINT={endpoint!r} is not an address of OTLP over HTTP."
            raise BillingError(message, "Give one such as http://127.0.0.1:4318.")
        # It takes half a second to import, and most services don't need it.
        from metering.ingestion.opentelemetry_sink import OpenTelemetry

        sinks.append(OpenTelemetry(endpoint, seconds))
    return Metrics(sinks, seconds=seconds)


def _host_and_port(address: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"udp://{address}")
        if parts.hostname and parts.port and not parts.path:
            return parts.hostname, parts.port
    except ValueError:
        pass
    raise BillingError(
        f"BILLING_STATSD_ADDRESS={address!r} is not a host and port.", "Give one such as 127.0.0.1:8125."
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 3600:
        raise BillingError(f"BILLING_METRICS_SECONDS={text!r} is no interval.", "Give seconds, from 0.1 to 3600.")
    return seconds

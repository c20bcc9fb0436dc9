"""The one place that makes a Stripe client, and knows Stripe's time and how fast to ask."""

from __future__ import annotations

import json
import logging
import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
import stripe
from psycopg.rows import DictRow

from metering.database import one
from metering.errors import BillingError
from metering.settings import Settings
from metering.submission.transport import Transport

# The SDK would otherwise read a file of the user's home directory for each request and send what it measured.
stripe.enable_telemetry = False
# And it would log two lines for each request; what became of each stands in the journal of attempts.
logging.getLogger("stripe").setLevel(logging.WARNING)

_CONNECT_TIMEOUT = 5.0
# A test account may make 25 requests a second in all; the emulator is held just under a live account's 1,000.
_RATE, _EMULATOR_RATE = "25", "900"
_WORKERS = "8"
_JITTER, _EMULATOR_JITTER = "60", "0.001"


@dataclass(frozen=True)
class Stripe:
    """A client with what belongs to it. `rate` is in requests a second, `timeout` in seconds."""

    api: stripe.StripeClient
    transport: Transport
    emulator_url: str | None
    rate: float
    workers: int
    timeout: float
    backoff: float = 0.25
    """The pause after a first failed attempt, in seconds; those after the next are longer."""
    patience: float = 90.0
    """Seconds without any progress after which the rest is left to the next run."""
    version: str = "v1"
    """Of the API to which meter events go that were never sent: v1, or v2."""

    def post_event(self, event: dict[str, Any], idempotency_key: str, version: str) -> str | None:
        """Send a meter event (event_name, identifier, payload, timestamp in Unix seconds) to v1 or v2; the request id.

        Raises whatever the SDK does. Both versions promise to count an identifier once within 24 hours.
        """
        options: Any = {"idempotency_key": idempotency_key}
        reply: Any
        if version == "v2":
            moment = datetime.fromtimestamp(event["timestamp"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            reply = self.api.v2.billing.meter_events.create({**event, "timestamp": moment}, options)  # type: ignore[typeddict-item]  # the SDK wants its own TypedDict
        else:
            reply = self.api.v1.billing.meter_events.create(event, options)  # type: ignore[arg-type]  # as above
        response = reply.last_response
        return None if response is None else response.request_id

    def now(self, connection: psycopg.Connection[DictRow]) -> datetime:
        """The time on Stripe's side (UTC): the emulator's clock, which can be moved, else the database's."""
        if self.emulator_url is None:
            moment: datetime = one(connection, "SELECT clock_timestamp() AS now")["now"]
            return moment
        try:
            body, _, _ = self.transport.request("GET", f"{self.emulator_url}/emulator/clock", None)
            return datetime.fromtimestamp(json.loads(body)["now"], UTC)
        except (stripe.APIConnectionError, ValueError, KeyError) as error:
            raise BillingError(
                f"The Stripe emulator at {self.emulator_url} does not answer.",
                "Start it with `./billing up`, or set BILLING_STRIPE_URL to where it is.",
            ) from error

    def preflight(self) -> None:
        """Make one cheap call; raises `BillingError` for a wrong key or a server that can't be reached."""
        try:
            self.api.v1.billing.meters.list({"limit": 1})
        except stripe.StripeError as error:
            raise explained(error) from error


def connect(settings: Settings) -> Stripe:
    """Make a client from the settings; raises `BillingError` for a key that is none, or live and not allowed.

    Retries are off: each POST is journalled by the sender, which knows what may be sent again. Timeouts are explicit,
    and the settings BILLING_STRIPE_RATE (requests a second), BILLING_STRIPE_WORKERS (requests at once),
    BILLING_STRIPE_TIMEOUT (seconds until a reply is given up), BILLING_STRIPE_BACKOFF (seconds of the first pause),
    BILLING_STRIPE_PATIENCE (seconds without progress after which a run ends) and BILLING_STRIPE_METER_EVENTS (v1 or v2)
    say how.
    """
    base = settings.stripe_base_url
    workers = int(_number(settings, "BILLING_STRIPE_WORKERS", _WORKERS, most=64))
    timeout = _number(settings, "BILLING_STRIPE_TIMEOUT", "20", most=60)
    transport = Transport(
        base or stripe.DEFAULT_API_BASE,
        connect_timeout=_CONNECT_TIMEOUT,
        read_timeout=timeout,
        connections=workers + 2,
    )
    api = stripe.StripeClient(
        settings.stripe_api_key,
        max_network_retries=0,
        http_client=transport,
        base_addresses={"api": base, "meter_events": base} if base else None,
    )
    return Stripe(
        api=api,
        transport=transport,
        emulator_url=base if settings.stripe_emulated else None,
        rate=_number(
            settings, "BILLING_STRIPE_RATE", _EMULATOR_RATE if settings.stripe_emulated else _RATE, most=10_000
        ),
        workers=workers,
        timeout=timeout,
        backoff=_number(settings, "BILLING_STRIPE_BACKOFF", "0.25", most=60),
        patience=_number(settings, "BILLING_STRIPE_PATIENCE", "90", most=3600),
        version=_version(settings),
    )


def explained(error: stripe.StripeError) -> BillingError:
    """A failed call in a sentence, with what to do about it."""
    if isinstance(error, stripe.AuthenticationError):
        return BillingError(
            "Stripe does not accept the API key.",
            "Set STRIPE_API_KEY to a valid test key, or unset it for the emulator.",
        )
    if isinstance(error, stripe.PermissionError):
        return BillingError(
            f"The API key is not allowed to do this: {error.user_message}",
            "Give the restricted key write access to customers, billing meters and meter events.",
        )
    if isinstance(error, stripe.APIConnectionError):
        return BillingError(
            "Stripe can't be reached.", "Check the network, or start the emulator with `./billing up`, and run again."
        )
    return BillingError(
        f"Stripe refused a request ({error.http_status}): {error.user_message or error}",
        "Nothing was lost: run again after mending the cause.",
    )


def start_apart(settings: Settings) -> None:
    """Sleep for some of the seconds of BILLING_STRIPE_JITTER, by chance; nobody else shares the emulator."""
    most = _number(
        settings, "BILLING_STRIPE_JITTER", _EMULATOR_JITTER if settings.stripe_emulated else _JITTER, most=900
    )
    time.sleep(most * random.random())  # noqa: S311 - spreads load, keeps no secret


def _version(settings: Settings) -> str:
    version = settings.get("BILLING_STRIPE_METER_EVENTS", "v1") or "v1"
    if version not in ("v1", "v2"):
        raise BillingError(f"BILLING_STRIPE_METER_EVENTS={version!r} is neither v1 nor v2.", "Change it, or unset it.")
    return version


def _number(settings: Settings, name: str, default: str, *, most: float) -> float:
    text = settings.get(name, default) or default
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 < value <= most:
        raise BillingError(f"{name}={text!r} is not a number over 0 and up to {most:g}.", "Change it, or unset it.")
    return value

"""The one place that makes a Stripe client, and knows Stripe's time and how fast to ask."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime

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


@dataclass(frozen=True)
class Stripe:
    """A client with what belongs to it. `rate` is in requests a second, `timeout` in seconds."""

    api: stripe.StripeClient
    transport: Transport
    emulator_url: str | None
    rate: float
    workers: int
    timeout: float

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

    Retries are off: each POST is journalled by the sender, which knows what may be sent again. Timeouts are explicit.
    BILLING_STRIPE_RATE (requests a second), BILLING_STRIPE_WORKERS (requests at once) and BILLING_STRIPE_TIMEOUT
    (seconds until a reply is given up) can be set.
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


def _number(settings: Settings, name: str, default: str, *, most: float) -> float:
    text = settings.get(name, default) or default
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 < value <= most:
        raise BillingError(f"{name}={text!r} is not a number over 0 and up to {most:g}.", "Change it, or unset it.")
    return value

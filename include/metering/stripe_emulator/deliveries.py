"""Deliveries: each event on its way to each endpoint that wants it, again and again until a 2xx comes.

No order is promised, an event may come twice, and each attempt is signed anew: that is how Stripe sends.
"""

import hmac
import json
import logging
import sqlite3
import time

import httpx

from metering.stripe_emulator import objects
from metering.stripe_emulator.call import Call
from metering.stripe_emulator.errors import Json

_log = logging.getLogger("metering.stripe_emulator")

# Seconds after each failed attempt: closer at first, then every few hours, for three days in all.
RETRIES = (60, 300, 1800, 7200, 18_000, 36_000, 36_000, 36_000, 36_000, 36_000, 36_000)
_HELD_SECONDS = 60
_TIMEOUT = 10.0


def enqueue(call: Call, event: Json) -> None:
    """Put an event on its way to every enabled endpoint that wants its type."""
    for row in call.store.all("objects_of_kind", kind="webhook_endpoint"):
        endpoint: Json = json.loads(row["body"])
        wanted = endpoint["enabled_events"]
        if endpoint["status"] == "enabled" and ("*" in wanted or event["type"] in wanted):
            add(call, endpoint["id"], event)


def add(call: Call, endpoint: str, event: Json) -> None:
    """One event for one endpoint, with what a fault does to its way."""
    fault = call.faults.take_delivery(event)
    outstanding = {"pending_webhooks": 1} if "pending_webhooks" in event else {}
    body = json.dumps({**event, **outstanding}, separators=(",", ":"))
    kind = None if fault is None else fault.kind
    due: int | None = call.now
    if fault is not None and kind == "webhook_delayed":
        due = call.now + int(fault.duration)
    if kind == "webhook_out_of_order":
        due = call.now + _HELD_SECONDS
    held = kind == "webhook_out_of_order"
    if not held:
        call.store.run("release_held", endpoint=endpoint, due_at=due)
    status = "pending"
    if kind == "webhook_dropped":
        due, status = None, "dropped"
    for _ in range(2 if kind == "webhook_duplicated" else 1):
        call.store.run(
            "add_delivery",
            event=event["id"],
            endpoint=endpoint,
            due_at=due,
            held=int(held),
            status=status,
            body=body,
        )


async def attempt(client: httpx.AsyncClient, url: str, secret: str, body: str, signed_at: int) -> bool:
    """Send a body once. True for a 2xx; anything else, and no answer at all, is False."""
    headers = {
        "content-type": "application/json; charset=utf-8",
        "stripe-signature": signature(secret, body, signed_at),
        "user-agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
    }
    try:
        reply = await client.post(url, content=body.encode(), headers=headers, timeout=_TIMEOUT)
    except httpx.HTTPError as error:
        _log.info("A webhook could not be delivered to %s: %s", url, error)
        return False
    return reply.is_success


def signature(secret: str, body: str, at: int) -> str:
    """The ``Stripe-Signature`` header: HMAC-SHA256 of time and body under the endpoint's secret."""
    digest = hmac.new(secret.encode(), f"{at}.{body}".encode(), "sha256").hexdigest()
    return f"t={at},v1={digest}"


def signing_time(call: Call) -> int:
    """The time a signature carries: the real one, as receivers hold it against their own clock."""
    return call.now if call.settings.webhook_signature_clock == "emulator" else int(time.time())


def settle(call: Call, row: sqlite3.Row, *, delivered: bool) -> None:
    """Note what came of an attempt, and when the next one is."""
    attempts = row["attempts"] + 1
    again = None if delivered or attempts > len(RETRIES) else call.now + RETRIES[attempts - 1]
    status = "delivered" if delivered else "failed" if again is None else "pending"
    call.store.run("change_delivery", seq=row["seq"], due_at=again, attempts=attempts, status=status)


def give_up(call: Call, row: sqlite3.Row) -> None:
    """Nothing is sent to an endpoint that is gone or disabled."""
    call.store.run("change_delivery", seq=row["seq"], due_at=None, attempts=row["attempts"], status="dropped")


def secret_of(call: Call, endpoint: str) -> tuple[str, str] | None:
    """The address and secret of an endpoint that still takes events."""
    destination = objects.find(call.store, "event_destination", endpoint)
    if destination is not None:
        return destination.private["url"], destination.private["secret"]
    thing = objects.find(call.store, "webhook_endpoint", endpoint)
    if thing is None or thing.body["status"] != "enabled":
        return None
    return thing.body["url"], thing.private["secret"]

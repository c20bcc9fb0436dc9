"""The event stream of v2: a short-lived session, then batches that are answered before they are validated."""

import secrets

from metering.stripe_emulator.call import Call, new_id, rfc3339
from metering.stripe_emulator.errors import Json, StripeError, bad_request
from metering.stripe_emulator.meter_events import RefusedError, from_json, receive
from metering.stripe_emulator.store import Store

SESSION_SECONDS = 15 * 60
MAX_EVENTS = 100

_LATER = frozenset(
    {
        "archived_meter",
        "meter_event_customer_not_found",
        "meter_event_invalid_value",
        "meter_event_no_customer_defined",
        "meter_event_value_not_found",
        "meter_event_value_too_many_digits",
        "no_meter",
        "timestamp_in_future",
        "timestamp_too_far_in_past",
    }
)


def create_session(call: Call) -> Json:
    """POST /v2/billing/meter_event_session"""
    token = f"token_test_{secrets.token_urlsafe(24)}"
    call.store.run("add_session", token=token, expires_at=call.now + SESSION_SECONDS)
    return {
        "object": "v2.billing.meter_event_session",
        "id": new_id("mes_test"),
        "authentication_token": token,
        "created": rfc3339(call.now),
        "expires_at": rfc3339(call.now + SESSION_SECONDS),
        "livemode": False,
    }


def create(call: Call) -> Json:
    """POST /v2/billing/meter_event_stream: up to 100 events, answered with ``{}`` whatever becomes of them."""
    events = call.parameters["events"]
    if len(events) > MAX_EVENTS:
        raise bad_request(f"A request can hold at most {MAX_EVENTS} events.", code="too_many_events", param="events")
    for sent in events:
        try:
            receive(call, from_json(sent, call.now), _LATER)
        except RefusedError:
            # A duplicate: nothing is counted, and Stripe has no error report for it.
            continue
    return {}


def check_token(store: Store, token: str | None, now: int) -> None:
    """Raise unless the token is of a session that has not expired."""
    row = None if token is None else store.one("session", token=token)
    if row is None:
        raise StripeError(401, "Invalid meter event session token.", code="invalid_authentication_token")
    if row["expires_at"] <= now:
        raise StripeError(
            401,
            "The meter event session has expired. Create a new one.",
            kind="temporary_session_expired",
            code="billing_meter_event_session_expired",
        )

"""Meter events: the only way usage enters, and write-only."""

from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from metering.stripe_emulator import customers, meters, quantity
from metering.stripe_emulator.call import Call, rfc3339
from metering.stripe_emulator.errors import Json, StripeError, bad_request

IDENTIFIER_MEMORY_SECONDS = 24 * 3600
PAST_SECONDS = 35 * 24 * 3600
FUTURE_SECONDS = 5 * 60
_MAX_PAYLOAD_VALUE = 100

# What each way in finds out only after it has answered; everything else it refuses at once.
_V1_LATER = frozenset({"no_meter", "archived_meter", "meter_event_customer_not_found"})
_V2_LATER = frozenset({"meter_event_customer_not_found"})

# v2 has its own names for what it refuses at once.
_V2_CODES = {
    "meter_event_no_customer_defined": "payload_no_customer_defined",
    "meter_event_value_not_found": "payload_no_value_defined",
    "meter_event_invalid_value": "payload_invalid_value",
    "meter_event_value_too_many_digits": "payload_invalid_value",
}


class RefusedError(Exception):
    """An event that does not count. ``code`` is Stripe's word in its error reports."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Event:
    """A meter event as sent. ``timestamp`` is in Unix seconds, UTC."""

    event_name: str
    identifier: str
    timestamp: int
    payload: dict[str, str]


def create_v1(call: Call) -> Json:
    """POST /v1/billing/meter_events"""
    sent = call.parameters
    event = Event(
        sent["event_name"], sent.get("identifier") or str(uuid4()), sent.get("timestamp", call.now), sent["payload"]
    )
    later = _V1_LATER if call.settings.v1_meter_errors == "asynchronous" else frozenset()
    try:
        receive(call, event, later)
    except RefusedError as refusal:
        raise _v1_error(refusal) from refusal
    return {
        "object": "billing.meter_event",
        "created": call.now,
        "event_name": event.event_name,
        "identifier": event.identifier,
        "livemode": False,
        "payload": event.payload,
        "timestamp": event.timestamp,
    }


def create_v2(call: Call) -> Json:
    """POST /v2/billing/meter_events"""
    event = from_json(call.parameters, call.now)
    try:
        receive(call, event, _V2_LATER)
    except RefusedError as refusal:
        raise bad_request(refusal.message, code=_V2_CODES.get(refusal.code, refusal.code)) from refusal
    return {
        "object": "v2.billing.meter_event",
        "created": rfc3339(call.now),
        "event_name": event.event_name,
        "identifier": event.identifier,
        "livemode": False,
        "payload": event.payload,
        "timestamp": rfc3339(event.timestamp),
    }


def from_json(sent: Json, now: int) -> Event:
    """An event of the v2 API, whose time is RFC 3339; a time without a zone is refused."""
    timestamp = now
    if "timestamp" in sent:
        timestamp = unix_seconds(sent["timestamp"], "timestamp")
    return Event(sent["event_name"], sent.get("identifier") or str(uuid4()), timestamp, sent["payload"])


def unix_seconds(text: str, param: str) -> int:
    """RFC 3339 text as Unix seconds, a part of a second dropped."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise bad_request(f"Invalid timestamp: {text}; it must be RFC 3339 with a time zone.", param=param)
    return int(moment.timestamp() // 1)


def lane(parameters: Json) -> str | None:
    """Stripe works on one call at a time for each customer and meter.

    The customer is looked for under the default key: a meter with a key of its own is not held to one call.
    """
    payload = parameters.get("payload", {})
    customer = payload.get("stripe_customer_id")
    return None if customer is None else f"{parameters.get('event_name')} {customer}"


def receive(call: Call, event: Event, later: frozenset[str]) -> None:
    """Store an event.

    Raises RefusedError for what is found at once. What is in ``later`` answers well, counts nowhere, and shows in an
    error report. A duplicate is always found at once.
    """
    after = call.now - IDENTIFIER_MEMORY_SECONDS
    if call.store.one("remembered_identifier", identifier=event.identifier, after=after) is not None:
        raise RefusedError("duplicate_meter_event", f"An event already exists with identifier {event.identifier}.")
    meter = meters.of_event_name(call.store, event.event_name)
    meter_id = None if meter is None else meter["id"]
    customer_id, value = None, "0"
    refusal: RefusedError | None = None
    try:
        _check_time(event.timestamp, call.now)
        customer_id, value = _reading(event, meter)
        _check_can_count(call, event, meter, customer_id)
    except RefusedError as found:
        if found.code not in later:
            raise
        refusal = found
        call.store.run(
            "add_meter_error",
            meter_id=meter_id,
            code=found.code,
            message=found.message,
            idempotency_key=call.idempotency_key,
            at=call.now,
        )
    call.store.run(
        "add_meter_event",
        identifier=event.identifier,
        event_name=event.event_name,
        meter_id=meter_id,
        customer_id=customer_id,
        value=value,
        timestamp=event.timestamp,
        received_at=call.now,
        refused=None if refusal is None else refusal.code,
    )


def _check_time(timestamp: int, now: int) -> None:
    earliest, latest = now - PAST_SECONDS, now + FUTURE_SECONDS
    if timestamp < earliest:
        raise RefusedError(
            "timestamp_too_far_in_past",
            "The event timestamp cannot be more than 35 days in past. "
            f"Expected a timestamp greater than or equal to {earliest}.",
        )
    if timestamp > latest:
        raise RefusedError(
            "timestamp_in_future",
            "The event timestamp cannot be more than 5 minutes in the future. "
            f"Expected a timestamp less than or equal to {latest}.",
        )


def _reading(event: Event, meter: Json | None) -> tuple[str, str]:
    """The customer and the value that the payload names, the value exactly as written."""
    customer_key, value_key, formula = "stripe_customer_id", "value", "sum"
    if meter is not None:
        customer_key = meter["customer_mapping"]["event_payload_key"]
        value_key = meter["value_settings"]["event_payload_key"]
        formula = meter["default_aggregation"]["formula"]
    for name, text in event.payload.items():
        if len(text) > _MAX_PAYLOAD_VALUE:
            raise RefusedError("meter_event_invalid_value", f"Invalid payload: {name} is longer than 100 characters.")
    customer_id = event.payload.get(customer_key, "")
    if not customer_id:
        raise RefusedError("meter_event_no_customer_defined", f"The event payload must contain '{customer_key}'.")
    value = event.payload.get(value_key)
    if value is None and formula == "count":
        return customer_id, "1"
    if value is None:
        raise RefusedError("meter_event_value_not_found", f"The event payload must contain '{value_key}'.")
    if not quantity.is_written_out(value):
        raise RefusedError("meter_event_invalid_value", f"Invalid value in the event payload: {value}.")
    if quantity.significant_digits(value) > quantity.MAX_DIGITS:
        raise RefusedError(
            "meter_event_value_too_many_digits",
            f"The value in the event payload has more than {quantity.MAX_DIGITS} significant digits: {value}.",
        )
    return customer_id, value


def _check_can_count(call: Call, event: Event, meter: Json | None, customer_id: str) -> None:
    if meter is None:
        raise RefusedError("no_meter", f"No meter found for the event name {event.event_name}.")
    if meter["status"] != "active":
        raise RefusedError("archived_meter", f"The meter {meter['id']} for {event.event_name} is inactive.")
    if not customers.exists(call.store, customer_id):
        raise RefusedError("meter_event_customer_not_found", f"No such customer: '{customer_id}'")


def _v1_error(refusal: RefusedError) -> StripeError:
    if refusal.code == "duplicate_meter_event":
        # As observed by others: no code, and a header that stops the SDK from trying again.
        return StripeError(400, refusal.message, headers={"stripe-should-retry": "false"})
    param = "timestamp" if refusal.code.startswith("timestamp") else "payload"
    return bad_request(refusal.message, param=param)

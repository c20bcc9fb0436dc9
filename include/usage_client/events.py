"""An event as it goes over the wire, and the key that makes it count once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

Quantity = Decimal | int | str
Event = dict[str, Any]


def prepare(
    event: str | None,
    quantity: Quantity = 1,
    *,
    meter: str | None = None,
    team: str | None = None,
    unit: str | None = None,
    time: datetime | str | None = None,
    subject: str | None = None,
    properties: Mapping[str, Any] | None = None,
    idempotency_key: str | None = None,
) -> tuple[str, bytes]:
    """The key of an event, and the event as the service takes it: a line of JSON, without its end.

    A missing key is derived from all the rest. A missing time is now: the time of the fact where the key is derived;
    where a key is given, only when it was observed, so that a process that repeats it later contradicts nothing.

    Raises TypeError for a quantity in floating point, which has lost what was counted, and for what is no JSON;
    ValueError for what names neither an event nor a meter, a naive time, numbers that are not finite and half
    characters. All of that is said of the event itself: in a batch, it would spoil those around it.
    """
    known = "time" if time is not None or not idempotency_key else "observed_at"
    made: Event = {"event": event, "quantity": _text(quantity), known: rfc3339(time)}
    if event is None:
        del made["event"]
        if meter is None:
            raise ValueError("neither an event nor a meter is named")
    if meter is not None:
        made["meter"] = meter
    if team is not None:
        made["team"] = team
    if unit is not None:
        made["unit"] = unit
    if subject is not None:
        made["subject"] = subject
    if properties:
        made["properties"] = dict(properties)
    if idempotency_key:
        made["idempotency_key"] = idempotency_key
        return idempotency_key, _to_json(made).encode()
    fact = _fact(made)
    key = _key(fact)
    return key, b'%b,"idempotency_key":"%b"}' % (fact[:-1], key.encode())


def decode(line: bytes) -> Event:
    """The event of a line."""
    event: Event = json.loads(line)
    return event


def derive_key(event: Event) -> str:
    """A key that follows from the fact alone: the same event gives the same key in any process, at any time.

    Two facts that are alike in everything, their time to the microsecond included, get one key and count once. Where
    that can happen, give a key, or a property that tells them apart.
    """
    return _key(_fact({name: value for name, value in event.items() if name != "idempotency_key"}))


def _fact(event: Event) -> bytes:
    """What an event says, in the one way of writing it."""
    quantity = event["quantity"]
    if not (quantity.isascii() and quantity.isdigit() and quantity[0] != "0"):
        event = {**event, "quantity": _normal(quantity)}
    return _to_sorted_json(event).encode()


def _key(fact: bytes) -> str:
    return f"fact-{hashlib.sha256(fact).hexdigest()[:40]}"


def rfc3339(time: datetime | str | None) -> str:
    """A time as RFC 3339 text in UTC; None is now, and text stays as it is. Raises ValueError where it has no zone."""
    if isinstance(time, str):
        return time
    moment = datetime.now(UTC) if time is None else time
    if moment.tzinfo is None:
        raise ValueError(f"the time {moment} has no time zone")
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return f"{moment.isoformat(timespec='microseconds')[:26]}Z"


def _plain(value: object) -> str:
    """What JSON has no word for but has one obvious text. Anything else might give another text in another process."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime) and value.tzinfo is not None:
        return rfc3339(value)
    if isinstance(value, date | UUID):
        return str(value)
    raise TypeError(f"a {type(value).__name__} can't be sent: give texts, numbers, booleans or None")


_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode
_to_sorted_json = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain, sort_keys=True
).encode


def _text(quantity: Quantity) -> str:
    if isinstance(quantity, str):
        return quantity
    if isinstance(quantity, bool) or not isinstance(quantity, int | Decimal):
        raise TypeError(f"the quantity {quantity!r} is a {type(quantity).__name__}: give a Decimal, an int or text")
    return f"{quantity:f}" if isinstance(quantity, Decimal) else str(quantity)


def _normal(quantity: str) -> str:
    """1, 1.0 and 01.00 are one quantity; what is no number stays as it is, for the service to judge."""
    try:
        number = Decimal(quantity)
    except ArithmeticError:
        return quantity
    return f"{number.normalize():f}" if number.is_finite() else quantity

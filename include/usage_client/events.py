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


def make_event(
    event: str,
    quantity: Quantity = 1,
    *,
    team: str | None = None,
    unit: str | None = None,
    time: datetime | str | None = None,
    subject: str | None = None,
    properties: Mapping[str, Any] | None = None,
    idempotency_key: str | None = None,
) -> Event:
    """The event as the service takes it. A missing time is now; a missing key is derived from all the rest.

    Raises TypeError for a quantity in floating point, which has lost what was counted, and ValueError for a naive time.
    """
    made: Event = {"event": event, "quantity": _text(quantity), "time": rfc3339(time)}
    if team is not None:
        made["team"] = team
    if unit is not None:
        made["unit"] = unit
    if subject is not None:
        made["subject"] = subject
    if properties:
        made["properties"] = dict(properties)
    made["idempotency_key"] = idempotency_key or derive_key(made)
    return made


def encode(event: Event) -> bytes:
    """The event as one line of JSON, without its end.

    Raises TypeError for what is no JSON value, and ValueError for numbers that are not finite and for half characters:
    said to whoever tracks the event, since in a batch it would spoil those around it.
    """
    return _to_json(event).encode()


def decode(line: bytes) -> Event:
    """The event of a line."""
    event: Event = json.loads(line)
    return event


def derive_key(event: Event) -> str:
    """A key that follows from the fact alone: the same event gives the same key in any process, at any time.

    Two facts that are alike in everything, their time to the microsecond included, get one key and count once. Where
    that can happen, give a key, or a property that tells them apart.
    """
    fact = {name: value for name, value in event.items() if name != "idempotency_key"}
    fact["quantity"] = _normal(fact["quantity"])
    return f"fact-{hashlib.sha256(_to_sorted_json(fact).encode()).hexdigest()[:40]}"


def rfc3339(time: datetime | str | None) -> str:
    """A time as RFC 3339 text in UTC; None is now, and text stays as it is. Raises ValueError where it has no zone."""
    if isinstance(time, str):
        return time
    moment = datetime.now(UTC) if time is None else time
    if moment.tzinfo is None:
        raise ValueError(f"the time {moment} has no time zone")
    return f"{moment.astimezone(UTC).isoformat(timespec='microseconds')[:26]}Z"


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

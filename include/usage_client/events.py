"""An event as it goes over the wire, and the key that makes it count once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

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
    made: Event = {"event": event, "quantity": _text(quantity), "time": _rfc3339(time)}
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


def derive_key(event: Event) -> str:
    """A key that follows from the fact alone: the same event gives the same key in any process, at any time.

    Two facts that are alike in everything, their time to the microsecond included, get one key and count once. Where
    that can happen, give a key, or a property that tells them apart.
    """
    fact = {name: value for name, value in event.items() if name != "idempotency_key"}
    fact["quantity"] = _normal(fact["quantity"])
    canonical = json.dumps(fact, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return f"fact-{hashlib.sha256(canonical.encode()).hexdigest()[:40]}"


def _text(quantity: Quantity) -> str:
    if isinstance(quantity, str):
        return quantity
    if isinstance(quantity, bool | float):
        raise TypeError(f"the quantity {quantity!r} is a {type(quantity).__name__}: give a Decimal, an int or text")
    return f"{quantity:f}" if isinstance(quantity, Decimal) else str(quantity)


def _normal(quantity: str) -> str:
    """1, 1.0 and 01.00 are one quantity; what is no number stays as it is, for the service to judge."""
    try:
        number = Decimal(quantity)
    except ArithmeticError:
        return quantity
    return f"{number.normalize():f}" if number.is_finite() else quantity


def _rfc3339(time: datetime | str | None) -> str:
    if isinstance(time, str):
        return time
    moment = datetime.now(UTC) if time is None else time
    if moment.tzinfo is None:
        raise ValueError(f"the time {moment} has no time zone")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

"""Numbers of JSON, exactly as they were written."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
"""A decimal as text. Python's own reader takes more for one: `1_000`, blanks around it, the digits of every script."""


class Quantity(Decimal):
    """A decimal as it may be sent: a number of JSON, or a text that is `DECIMAL`."""


def number(text: str) -> Decimal:
    """A number of JSON with a point or an exponent; raises `msgspec.DecodeError` for one beyond what can be held."""
    try:
        return Decimal(text)
    except InvalidOperation:
        raise msgspec.DecodeError(f"the number {text[:40]} is too large or too small") from None


def quantity(kind: type, value: Any) -> Quantity:
    """What decoders call for a `Quantity`; raises ValueError for what is none."""
    if isinstance(value, str) and not DECIMAL.fullmatch(value):
        raise ValueError("as text, it has to be a decimal such as 12.50")
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise ValueError("a number, or a decimal as text, was expected")
    return Quantity(value)

"""Numbers of JSON, exactly as they were written."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

import msgspec


def number(text: str) -> Decimal:
    """A number of JSON with a point or an exponent; raises `msgspec.DecodeError` for one beyond what can be held."""
    try:
        return Decimal(text)
    except InvalidOperation:
        raise msgspec.DecodeError(f"the number {text[:40]} is too large or too small") from None

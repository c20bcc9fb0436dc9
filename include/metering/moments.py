"""Moments as people write them."""

from __future__ import annotations

from datetime import datetime

from metering.errors import BillingError


def moment(text: str) -> datetime:
    """The moment that an ISO 8601 text with a zone says; raises `BillingError` for any other."""
    try:
        said = datetime.fromisoformat(text)
    except ValueError:
        said = None
    if said is None or said.tzinfo is None:
        raise BillingError(
            f"{text!r} is no moment with a zone.", "Write it like 2026-11-03T00:00Z or 2026-11-03T05:30+05:30."
        )
    return said


def given(text: str | None) -> datetime | None:
    """The same; nothing where nothing was said."""
    return moment(text) if text else None

"""What is remembered of events that were found good, so that what many events share is worked out once.

It hangs on a catalog and is forgotten with it, every few seconds, and is bounded in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from metering.ingestion.catalog import Listeners, Meter

ENTRIES = 20_000
LONGEST = 512
"""Bytes or characters of what is remembered; longer values rarely come again."""


class Amount(NamedTuple):
    """A quantity that was found good."""

    text: str
    """In its canonical way."""
    field: bytes
    """As PostgreSQL takes it."""


class Properties(NamedTuple):
    """Properties that were found good."""

    text: str
    """JSON with sorted keys and canonical numbers."""
    field: bytes
    """As PostgreSQL takes it."""


class Form(NamedTuple):
    """What all events share that name themselves alike and have one unit."""

    listeners: Listeners
    meter: Meter | None
    """The meter by which they are named, if they are: each must count for it."""
    before_quantity: str
    before_moment: str
    """The canonical content of an event up to its quantity, and between its quantity and its moment."""
    fields: bytes
    """Name and unit as PostgreSQL takes them."""
    may_be_negative: bool
    properties: dict[bytes, Properties]
    """By the bytes that were sent."""


class Memory:
    """What is remembered under one catalog."""

    def __init__(self) -> None:
        """Begin without anything."""
        self.forms: dict[str | None, dict[str | None, Form]] = {}
        """By the event's name and unit; there are no more than the catalog allows."""
        self.forms_of_meters: dict[str, dict[str | None, Form]] = {}
        """The same, by the key of the meter that an event names."""
        self.amounts: dict[str | int, Amount] = {}
        """By what was sent."""

    def keep_amount(self, sent: str | int, amount: Amount) -> Amount:
        """Remember a quantity, and return it."""
        if len(self.amounts) >= ENTRIES:
            self.amounts.clear()
        self.amounts[sent] = amount
        return amount

    def keep_properties(self, form: Form, sent: bytes, properties: Properties) -> Properties:
        """Remember properties, and return them."""
        if len(sent) <= LONGEST:
            if len(form.properties) >= ENTRIES:
                form.properties.clear()
            form.properties[sent] = properties
        return properties

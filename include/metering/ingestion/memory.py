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


Naming = tuple[str | None, str | None, str | None]
"""The event, the meter and the unit that an event names."""


class Form(NamedTuple):
    """What all events share that name themselves alike and have one unit."""

    before_quantity: str
    before_moment: str
    """The canonical content of an event up to its quantity, and between its quantity and its moment."""
    fields: bytes
    """Name and unit as PostgreSQL takes them."""
    listeners: Listeners
    meter: Meter | None
    """The meter by which they are named, if they are: each must count for it."""
    may_be_negative: bool
    properties: dict[bytes, Properties]
    """By the bytes that were sent."""


class Memory:
    """What is remembered under one catalog."""

    def __init__(self) -> None:
        """Begin without anything."""
        self.forms: dict[Naming, Form] = {}
        """There are no more than the catalog allows."""
        self.amounts: dict[str | int | None, Amount] = {}
        """By what was sent."""
        self.negatives = False
        """Whether any of them is negative."""

    def keep_amount(self, sent: str | int, amount: Amount) -> Amount:
        """Remember a quantity, and return it."""
        if len(self.amounts) >= ENTRIES:
            self.amounts.clear()
        self.amounts[sent] = amount
        self.negatives = self.negatives or amount.text[0] == "-"
        return amount

    def keep_properties(self, form: Form, sent: bytes, properties: Properties) -> Properties:
        """Remember properties, and return them."""
        if len(sent) <= LONGEST:
            if len(form.properties) >= ENTRIES:
                form.properties.clear()
            form.properties[sent] = properties
        return properties

"""What an event is checked against: the teams there are, and what the meters ask of an event."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

import psycopg
from psycopg.rows import DictRow

from metering import database, statements
from metering.ingestion.events import MOST
from metering.ingestion.memory import Memory

SQL = statements.beside(__file__, "catalog")

REFRESH_SECONDS = 5.0
"""How old a catalog may grow while events come in."""
REFRESH_ON_MISS_SECONDS = 0.5
"""How old it may be when it lacks a team or a meter: whoever has just made one need not wait."""


@dataclass(frozen=True, slots=True)
class Meter:
    """What one meter asks of an event."""

    value_property: str | None
    """The property that holds the value; None: the quantity does."""
    numeric: bool
    """Whether the value has to be a number: it need not be for counts and unique counts."""
    allow_negative: bool
    filters: dict[str, list[str]]
    """The event counts for this meter only if each of these properties has one of its values."""
    most: Decimal = MOST
    """What it counts of one event may be at most this, before its multiplier."""

    def listens(self, properties: dict[str, Any]) -> bool:
        """Whether an event with these properties counts for this meter."""
        return all(as_text(properties.get(name)) in values for name, values in self.filters.items())


class Named(NamedTuple):
    """What an event says that names a meter by its key."""

    event: str
    """The event that the meter listens to."""
    unit: str
    meter: Meter


@dataclass(frozen=True, slots=True)
class Listeners:
    """All meters of one event name."""

    units: frozenset[str]
    meters: tuple[Meter, ...]
    quantity_may_be_negative: bool
    by_property: tuple[Meter, ...]
    """Those that take their value from a property and need a number there, or need it to be there."""
    most: Decimal = MOST
    """A quantity up to this is not too large for any of them."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """Teams and meters as they were at `loaded_at` (monotonic seconds)."""

    teams: dict[str, int]
    events: dict[str, Listeners]
    meters: dict[str, Named] = field(default_factory=dict)
    """By their keys."""
    loaded_at: float = field(default_factory=time.monotonic)
    memory: Memory = field(default_factory=Memory, compare=False, repr=False)
    """What was found out about events under this catalog."""
    multiplies: bool = field(init=False, compare=False)
    """Whether a quantity that is not too large by itself may be too large for a meter that multiplies it."""

    def __post_init__(self) -> None:
        """Look once at what is asked for each event."""
        object.__setattr__(self, "multiplies", any(each.most < MOST for each in self.events.values()))

    @property
    def age(self) -> float:
        """Seconds since it was loaded."""
        return time.monotonic() - self.loaded_at

    @classmethod
    def load(cls, connection: psycopg.Connection[DictRow]) -> Catalog:
        """Read it from the database."""
        loaded_at = time.monotonic()
        teams = {row["team_key"]: row["team_id"] for row in database.rows(connection, SQL["teams"])}
        named: dict[str, Named] = {}
        events: dict[str, list[tuple[Named, str]]] = {}
        for row in database.rows(connection, SQL["meters"]):
            found = named[row["meter_key"]] = Named(row["event_name"], row["unit"], _meter(row))
            events.setdefault(found.event, []).append((found, row["aggregation"]))
        return cls(teams, {name: _listeners(found) for name, found in events.items()}, named, loaded_at)


def as_text(value: object) -> str | None:
    """A property as PostgreSQL writes it with ->>."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _meter(row: dict[str, Any]) -> Meter:
    return Meter(
        value_property=row["value_property"],
        numeric=row["aggregation"] not in ("count", "unique_count"),
        allow_negative=row["allow_negative"],
        filters={name: [as_text(value) or "" for value in values] for name, values in row["filters"].items()},
        most=min(MOST, MOST / abs(Decimal(row["multiplier"]))),
    )


def _listeners(found: list[tuple[Named, str]]) -> Listeners:
    """All meters of one event name, each with its aggregation."""
    meters = tuple(named.meter for named, _ in found)
    takes_quantity = [meter for meter in meters if meter.numeric and meter.value_property is None]
    return Listeners(
        units=frozenset(named.unit for named, _ in found),
        meters=meters,
        quantity_may_be_negative=bool(takes_quantity) and all(meter.allow_negative for meter in takes_quantity),
        by_property=tuple(
            named.meter
            for named, aggregation in found
            if named.meter.value_property is not None and aggregation != "count"
        ),
        most=min((meter.most for meter in takes_quantity), default=MOST),
    )

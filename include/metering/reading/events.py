"""The events of a team as they landed: page by page, and whole as CSV or JSON lines."""

from __future__ import annotations

import base64
import binascii
import csv
import io
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from metering import database, statements
from metering.ingestion.events import digest
from metering.reading.teams import NotFound, Team, Unusable

SQL = statements.beside(__file__, "events")

LOOK_BACK = timedelta(days=31)
"""How far back a listing goes that does not say from when."""
MAX_AHEAD = timedelta(hours=2)
"""Later than that no event is accepted, so that a listing which does not say until when holds all."""
MAX_PAGE = 1_000
EXPORT_PAGE = 5_000
"""Events that are read at once for an export: what it takes of memory, and how soon others have their turn."""
_CURSOR = b"\x01"


class EventRow(msgspec.Struct, omit_defaults=True):
    """An event as it landed, its fields named as they are sent."""

    event: str
    quantity: Decimal
    idempotency_key: str
    time: datetime
    recorded_at: datetime
    properties: msgspec.Raw
    unit: str | None = None
    subject: str | None = None
    withdrawn_at: datetime | None = None
    """Since when it counts no more."""


FIELDS = (
    "event", "quantity", "unit", "idempotency_key", "time", "subject", "properties", "recorded_at", "withdrawn_at",
)  # fmt: skip
"""The columns of an export, in their order."""


class EventPage(msgspec.Struct):
    """Some events of a team, the newest first."""

    team: str
    time_from: datetime
    time_until: datetime
    """The half-open range of event time that was looked at."""
    events: list[EventRow]
    next_cursor: str | None
    """Give it as `cursor` for the events after these; null: there are none."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the order of events: right after one of them."""

    time: datetime
    key_digest: uuid.UUID

    def cursor(self) -> str:
        """The place as an opaque text."""
        micros = (self.time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        packed = _CURSOR + micros.to_bytes(8, "big", signed=True) + self.key_digest.bytes
        return base64.urlsafe_b64encode(packed).decode().rstrip("=")

    @classmethod
    def read(cls, cursor: str) -> Place:
        """The place that a cursor means; raises `Unusable`."""
        try:
            packed = base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4))
            if len(packed) != 25 or packed[:1] != _CURSOR:
                raise ValueError
            micros = int.from_bytes(packed[1:9], "big", signed=True)
            time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
            if not 1970 <= time.year < 2200:
                raise ValueError
            return cls(time, uuid.UUID(bytes=packed[9:]))
        except (ValueError, OverflowError, binascii.Error):
            raise Unusable("invalid_cursor", "The cursor is none that a page of events has given.") from None


@dataclass(frozen=True, slots=True)
class Search:
    """Which events are asked for."""

    time_from: datetime
    time_until: datetime
    event: str | None = None
    meter: str | None = None
    subject: str | None = None
    key: str | None = None
    after: Place | None = None


def search(
    *,
    time_from: datetime | None = None,
    time_until: datetime | None = None,
    event: str | None = None,
    meter: str | None = None,
    subject: str | None = None,
    key: str | None = None,
    cursor: str | None = None,
) -> Search:
    """Say which events are asked for; times with a zone. No range: the last 31 days, and any time for a `key`."""
    until = time_until or datetime.now(UTC) + MAX_AHEAD
    # No event is older than ten years when it lands.
    begin = time_from or (datetime(1970, 1, 1, tzinfo=UTC) if key is not None else until - LOOK_BACK)
    if begin >= until:
        raise Unusable("empty_range", "The range of time is empty: `until` must be after `from`.")
    return Search(begin, until, event, meter, subject, key, Place.read(cursor) if cursor is not None else None)


def page(connection: psycopg.Connection[DictRow], team: Team, asked: Search, size: int = 100) -> EventPage:
    """Return up to `size` events of a team from the place that is asked for.

    Raises `NotFound` where there is no such meter.
    """
    rows = _rows(connection, team, asked, size + 1)
    more = len(rows) > size
    del rows[size:]
    last = rows[-1] if rows else None
    return EventPage(
        team=team.team_key,
        time_from=asked.time_from,
        time_until=asked.time_until,
        events=[_event(row) for row in rows],
        next_cursor=Place(last["time"], last["key_digest"]).cursor() if more and last else None,
    )


@dataclass
class Export:
    """Writes events of a team piece by piece: between two, nothing is held, however slowly they are taken."""

    team: Team
    asked: Search | None
    """What is left to write; None: nothing."""
    format: str
    """csv or jsonl."""
    begun: bool = False

    def piece(self, connection: psycopg.Connection[DictRow]) -> bytes:
        """The next piece; empty when everything has been written."""
        head = b"" if self.begun or self.format != "csv" else (",".join(FIELDS) + "\r\n").encode()
        self.begun = True
        if self.asked is None:
            return head
        rows = _rows(connection, self.team, self.asked, EXPORT_PAGE)
        if len(rows) == EXPORT_PAGE:
            last = rows[-1]
            self.asked = replace(self.asked, after=Place(last["time"], last["key_digest"]))
        else:
            self.asked = None
        events = (_event(row) for row in rows)
        return head + (_csv(events) if self.format == "csv" else msgspec.json.Encoder().encode_lines(events))


def _rows(connection: psycopg.Connection[DictRow], team: Team, asked: Search, size: int) -> list[dict[str, Any]]:
    values: dict[str, Any] = {
        "team_id": team.team_id,
        "occurred_from": asked.time_from,
        "occurred_until": asked.time_until,
        "after_time": None,
        "after_digest": None,
        "key_digest": None,
        "event": asked.event,
        "subject": asked.subject,
        "filters": None,
        "size": size,
    }
    if asked.meter is not None:
        found = database.rows(connection, SQL["meter"], meter=asked.meter)
        if not found:
            raise NotFound("unknown_meter", f"There is no meter {asked.meter[:80]!r}.")
        if asked.event not in (None, found[0]["event_name"]):
            return []
        values |= {"event": found[0]["event_name"], "filters": Jsonb(found[0]["filters"])}
    if asked.after is not None:
        values |= {"after_time": asked.after.time, "after_digest": asked.after.key_digest}
        # The bound says the same as the place, in a way by which months are left out.
        values["occurred_until"] = min(asked.time_until, asked.after.time + timedelta(microseconds=1))
    if asked.key is not None:
        values["key_digest"] = uuid.UUID(bytes=digest(asked.key.encode()))
        known = database.rows(
            connection, SQL["when_it_occurred"], team_id=team.team_id, key_digest=values["key_digest"]
        )
        if not known or not values["occurred_from"] <= known[0]["occurred_at"] < values["occurred_until"]:
            return []
        values["occurred_from"] = known[0]["occurred_at"]
        values["occurred_until"] = known[0]["occurred_at"] + timedelta(microseconds=1)
    return database.rows(connection, SQL["page"], **values)


def _event(row: dict[str, Any]) -> EventRow:
    fields = {name: row[name] for name in FIELDS}
    # As PostgreSQL writes it: a number of a property never goes through a float.
    return EventRow(**{**fields, "properties": msgspec.Raw(row["properties"].encode())})


def _csv(events: Iterator[EventRow]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    for event in events:
        values = {name: getattr(event, name) for name in FIELDS}
        values["properties"] = bytes(event.properties).decode()
        for name in ("time", "recorded_at", "withdrawn_at"):
            values[name] = values[name].isoformat() if values[name] else None
        writer.writerow([format(value, "f") if isinstance(value, Decimal) else value for value in values.values()])
    return text.getvalue().encode()

"""What became of one event: landed, metered, used, rated, billed, submitted; and where it waits, if it does."""

from __future__ import annotations

import uuid
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec
import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from metering import database, statements
from metering.bills.lines import Tier
from metering.ingestion.events import digest
from metering.reading.teams import NotFound, Team

SQL = statements.beside(__file__, "trace")


class LandedEvent(msgspec.Struct):
    """The event as it landed. Where its month has been archived, only when it occurred is told."""

    time: datetime
    archived: bool
    event: str | None = None
    quantity: Decimal | None = None
    unit: str | None = None
    subject: str | None = None
    properties: msgspec.Raw | None = None
    recorded_at: datetime | None = None
    source: str | None = None
    """http, file:<name>, or quarantine."""
    withdrawn_at: datetime | None = None
    withdrawn_because: str | None = None


class Bucket(msgspec.Struct):
    """A quarter-hour (UTC) of a meter and slice: what the event gives to it, and what stands there."""

    start: datetime
    dimensions: dict[str, str]
    value: Decimal
    quantity: Decimal | None
    events: int | None
    metered_at: datetime | None
    """Up to when that was known: the horizon of the run that wrote it."""
    run: str | None


class Window(msgspec.Struct):
    """The local hour, day or month in which the quarter-hour lies."""

    window: Literal["hour", "day", "month"]
    start: datetime
    quantity: Decimal
    events: int


class BillLine(msgspec.Struct):
    """The line on its bill, or an adjustment about it on a later one."""

    on_bill: str
    status: str
    kind: str
    line: str
    quantity: Decimal
    amount: Decimal
    currency: str
    bill_total: Decimal
    final_at: datetime | None
    """When the bill became final; none of one that still changes."""


class Rating(msgspec.Struct):
    """The line that the quarter-hour's slice is priced by, in one subscription."""

    subscription: str
    period: str
    price: str | None
    """None: no price is for these dimensions."""
    line: str | None
    charge_unit: str | None
    tiers: list[Tier]
    """What the line's tiers hold; the event is one of all that fill them: none of them is its own."""
    bill_lines: list[BillLine]
    rated_at: datetime | None
    """When the run ended that metered the bucket as it stands, and rated it."""


class Submission(msgspec.Struct):
    """Something that was, or is to be, sent to Stripe for the window."""

    sequence: int
    identifier: str
    quantity: Decimal
    state: str
    created_at: datetime
    accepted_at: datetime | None
    confirmed_at: datetime | None
    error: str | None


class StripeWindow(msgspec.Struct):
    """The window in which Stripe gets the quarter-hour: what it should have, has accepted, and what is on its way."""

    start: datetime
    end: datetime
    due: Decimal
    """What has been rated; what is not in the target yet is planned by the next submission."""
    target: Decimal
    target_at: datetime | None
    """When that became what Stripe should have."""
    accepted: Decimal
    on_its_way: Decimal
    held: str | None
    submissions: list[Submission]


class MeterTrace(msgspec.Struct):
    """The way of the event through one meter that counts it."""

    meter: str
    unit: str
    reached: Literal["landed", "metered", "rated", "submitted", "confirmed"]
    """The last step that all of the bucket's usage has taken."""
    bucket: Bucket
    usage: list[Window]
    rated: list[Rating]
    stripe: list[StripeWindow]


class Trace(msgspec.Struct):
    """The way of one event."""

    team: str
    idempotency_key: str
    event: LandedEvent
    meters: list[MeterTrace]
    note: str | None = None
    """Why no meter is there, where none is."""


def trace(connection: psycopg.Connection[DictRow], team: Team, key: str) -> Trace:
    """Follow the event with this idempotency key; raises `NotFound` where the team has none.

    Needs a connection in autocommit mode; all of it is read from one state of the database.
    """
    with connection.transaction():
        connection.execute(SQL["one_snapshot"])
        asking = {"team_id": team.team_id, "key_digest": uuid.UUID(bytes=digest(key.encode()))}
        found = database.rows(connection, SQL["event"], **asking)
        if not found:
            raise NotFound(
                "unknown_key", f"No event of the team {team.team_key!r} with the key {key[:80]!r} has counted."
            )
        (row,) = found
        asking |= {"occurred_at": row["occurred_at"]}
        asking |= database.one(connection, SQL["time_zone"], team_id=team.team_id)
        meters = [_meter(connection, asking, bucket) for bucket in database.rows(connection, SQL["buckets"], **asking)]
        event = _event(row)
        note = None
        if event.archived:
            note = "The event's month has been archived; its usage stands in the marts. Restore the month to follow it."
        elif event.withdrawn_at is not None:
            note = "The event was withdrawn, and counts no more."
        elif not meters:
            note = "No meter counts the event any more: none listens to it, or their filters leave it out."
        return Trace(team.team_key, key, event, meters, note)


def _event(row: dict[str, Any]) -> LandedEvent:
    if row["event_name"] is None:
        return LandedEvent(time=row["occurred_at"], archived=True)
    return LandedEvent(
        time=row["occurred_at"],
        archived=False,
        event=row["event_name"],
        quantity=row["quantity"],
        unit=row["unit"],
        subject=row["subject"],
        properties=msgspec.Raw(row["properties"].encode()),
        recorded_at=row["recorded_at"],
        source=row["source"],
        withdrawn_at=row["withdrawn_at"],
        withdrawn_because=row["withdrawn_because"],
    )


def _meter(connection: psycopg.Connection[DictRow], asking: dict[str, Any], row: dict[str, Any]) -> MeterTrace:
    asking = {
        **asking,
        "meter_id": row["meter_id"],
        "bucket_start": row["bucket_start"],
        "dimensions": Jsonb(row["dimensions"]),
        "rated_at": row["rated_at"],
    }
    windows = database.rows(connection, SQL["usage"], **asking)
    rated = [_rating(connection, asking, priced) for priced in database.rows(connection, SQL["priced"], **asking)]
    stripe = _stripe(database.rows(connection, SQL["submissions"], **asking))
    return MeterTrace(
        meter=row["meter_key"],
        unit=row["unit"],
        reached=_reached(row["is_metered"], rated, stripe),
        bucket=Bucket(
            start=row["bucket_start"],
            dimensions=row["dimensions"],
            value=row["value"],
            quantity=row["quantity"],
            events=row["event_count"],
            metered_at=row["metered_at"],
            run=row["run"],
        ),
        usage=[Window(found["window"], found["window_start"], found["quantity"], found["events"]) for found in windows],
        rated=rated,
        stripe=stripe,
    )


def _rating(connection: psycopg.Connection[DictRow], asking: dict[str, Any], priced: dict[str, Any]) -> Rating:
    asking = {**asking, **priced}
    tiers = database.rows(connection, SQL["tiers"], **asking) if priced["line_key"] else []
    lines = database.rows(connection, SQL["bill_lines"], **asking) if priced["line_key"] else []
    return Rating(
        subscription=priced["subscription_key"],
        period=priced["period_label"],
        price=priced["price_key"],
        line=priced["line_key"],
        charge_unit=priced["charge_unit"],
        tiers=[Tier(**tier) for tier in tiers],
        bill_lines=[BillLine(**line) for line in lines],
        rated_at=asking["rated_at"] if tiers else None,
    )


def _stripe(rows: list[dict[str, Any]]) -> list[StripeWindow]:
    windows: dict[datetime, StripeWindow] = {}
    for row in rows:
        held = f"{row['held_code']}: {row['held_reason']}" if row["held_code"] else None
        window = windows.setdefault(
            row["window_start"],
            StripeWindow(
                row["window_start"],
                row["window_end"],
                row["due"],
                row["target"],
                row["target_at"],
                row["accepted"],
                row["on_its_way"],
                held,
                [],
            ),
        )
        if row["sequence"] is not None:
            window.submissions.append(
                Submission(
                    sequence=row["sequence"],
                    identifier=row["identifier"],
                    quantity=row["quantity"],
                    state=row["state"],
                    created_at=row["created_at"],
                    accepted_at=row["accepted_at"],
                    confirmed_at=row["confirmed_at"],
                    error=row["error_message"],
                )
            )
    return list(windows.values())


def _reached(
    is_metered: bool, rated: list[Rating], stripe: list[StripeWindow]
) -> Literal["landed", "metered", "rated", "submitted", "confirmed"]:
    if not is_metered:
        return "landed"
    if not any(rating.bill_lines for rating in rated):
        return "metered"
    # A window may have been submitted before: usage that came to it since waits for the next submission.
    current = [window for window in stripe if window.due == window.target == window.accepted + window.on_its_way != 0]
    if not current or any(window.due != window.target for window in stripe):
        return "rated"
    states = {submission.state for window in current for submission in window.submissions} - {"cancelled", "rejected"}
    return "confirmed" if states == {"confirmed"} else "submitted"

"""Usage and cost of a team, to the last event that was acknowledged before the report's `as_of`.

What metering has worked in comes from its quarter-hours; what has landed since is counted from raw events by metering's
own macros, and both are priced by the views that bills are made of: a report has no sums or prices of its own.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import psycopg
from psycopg.rows import DictRow

from metering import database, statements
from metering.bills.lines import Line, read_lines
from metering.reading.teams import NotFound, Team

SQL = statements.beside(__file__, "report")

MAX_SLICES = 200
"""Dimension slices of one meter that a report lists; of the others it says how many there are."""
MAX_HISTORY = 60
"""Earlier bills that a report may be asked for."""


class Slice(msgspec.Struct):
    """Usage of one combination of a meter's dimensions."""

    dimensions: dict[str, str]
    quantity: Decimal
    events: int


class Day(msgspec.Struct):
    """Usage of a day of the subscription's own zone."""

    day: date
    quantity: Decimal
    events: int


class MeterUsage(msgspec.Struct):
    """Usage of one meter within a period."""

    meter: str
    unit: str
    quantity: Decimal
    events: int
    slices: list[Slice]
    slices_left_out: int
    days: list[Day]


class Unpriced(msgspec.Struct):
    """Usage that meets no price, although its meter has prices."""

    meter: str
    dimensions: dict[str, str]
    quantity: Decimal
    unit: str


class Cost(msgspec.Struct):
    """What the period costs so far: the sum of its lines."""

    total: Decimal
    usage: Decimal
    adjustments: Decimal


class Period(msgspec.Struct):
    """A billing period of one subscription; the interval is half-open."""

    subscription: str
    period: str
    start: datetime
    end: datetime
    time_zone: str
    status: str
    currency: str
    cost: Cost
    lines: list[Line]
    usage: list[MeterUsage]
    unpriced: list[Unpriced]


class PastMeter(msgspec.Struct):
    """What an earlier bill holds of one meter."""

    meter: str
    quantity: Decimal | None
    """None where the meter doesn't add up (a maximum, a unique count, a level) and the bill has several lines of it."""
    unit: str
    amount: Decimal


class PastPeriod(msgspec.Struct):
    """The bill of an earlier period, as of the last metering."""

    subscription: str
    period: str
    start: datetime
    end: datetime
    status: str
    currency: str
    total: Decimal
    adjustments: Decimal
    meters: list[PastMeter]


class Report(msgspec.Struct):
    """Usage and cost of a team."""

    team: str
    as_of: datetime
    """Everything acknowledged before this moment is in the report."""
    metered_until: datetime | None
    """Up to when metering had worked in what was recorded; what came later was counted for this report."""
    periods: list[Period]
    history: list[PastPeriod]


def report(
    connection: psycopg.Connection[DictRow],
    team: Team,
    *,
    subscription: str | None = None,
    period: str | None = None,
    history: int = 12,
) -> Report:
    """Report the billing periods that run now, or those labelled `period`, and up to `history` earlier bills.

    Quantities are in each meter's unit, amounts in each period's currency, times in UTC, days of the period's zone.
    Raises `NotFound` where the team has no such subscription or period. Needs a connection in autocommit mode.
    """
    with connection.transaction():
        connection.execute(SQL["one_snapshot"])
        asked = database.one(connection, SQL["ask"], team_id=team.team_id)
        database.planned_once(connection, SQL["hand_in_what_is_unmetered"], {})
        asking = {"team_id": team.team_id, "subscription": subscription, "period": period}
        periods = database.planned_once(connection, SQL["periods"], asking)
        if not periods and (subscription is not None or period is not None):
            named = f"{period or 'that runs now'}{f' of the subscription {subscription!r}' if subscription else ''}"
            raise NotFound("unknown_period", f"The team {team.team_key!r} has no billing period {named}.")
        return Report(
            team=team.team_key,
            as_of=asked["as_of"],
            metered_until=asked["metered_until"],
            periods=[_period(connection, team, found) for found in periods],
            history=_history(connection, team, subscription, history),
        )


def _period(connection: psycopg.Connection[DictRow], team: Team, found: dict[str, Any]) -> Period:
    asking = {**found, "team_id": team.team_id}
    lines = read_lines(connection, asking)
    usage = sum((line.amount for line in lines if line.kind != "adjustment"), Decimal(0))
    adjustments = sum((line.amount for line in lines if line.kind == "adjustment"), Decimal(0))
    unpriced = database.planned_once(connection, SQL["unpriced"], asking)
    return Period(
        subscription=found["subscription_key"],
        period=found["period_label"],
        start=found["period_start"],
        end=found["period_end"],
        time_zone=found["time_zone"],
        status=found["status"],
        currency=found["currency"],
        cost=Cost(total=usage + adjustments, usage=usage, adjustments=adjustments),
        lines=lines,
        usage=_usage(_measured(connection, asking)),
        unpriced=[Unpriced(row["meter_key"], row["dimensions"], row["quantity"], row["unit"]) for row in unpriced],
    )


def _measured(connection: psycopg.Connection[DictRow], asking: dict[str, Any]) -> list[dict[str, Any]]:
    """Usage of all meters; what doesn't add up is asked for only where there is a meter of that kind."""
    rows = database.planned_once(connection, SQL["usage"], asking)
    if database.one(connection, SQL["has_meters_apart"])["found"]:
        rows += database.planned_once(connection, SQL["usage_apart"], asking)
    return rows


def _usage(rows: list[dict[str, Any]]) -> list[MeterUsage]:
    """Sort the rows of the statements of usage into meters, by key."""
    meters: dict[str, MeterUsage] = {}
    for row in rows:
        found = meters.setdefault(row["meter_key"], MeterUsage(row["meter_key"], row["unit"], Decimal(0), 0, [], 0, []))
        if row["dimensions"] is not None:
            if len(found.slices) < MAX_SLICES:
                found.slices.append(Slice(row["dimensions"], row["quantity"], row["events"]))
            else:
                found.slices_left_out += 1
        elif row["local_day"] is not None:
            found.days.append(Day(row["local_day"], row["quantity"], row["events"]))
        else:
            found.quantity, found.events = row["quantity"], row["events"]
    return [meters[key] for key in sorted(meters)]


def _history(
    connection: psycopg.Connection[DictRow], team: Team, subscription: str | None, count: int
) -> list[PastPeriod]:
    asking = {"team_id": team.team_id, "subscription": subscription, "history": count}
    bills = database.planned_once(connection, SQL["history"], asking)
    if not bills:
        return []
    since = min(bill["period_start"] for bill in bills)
    meters: dict[tuple[str, str], list[PastMeter]] = {}
    for row in database.planned_once(connection, SQL["history_by_meter"], {"team_id": team.team_id, "since": since}):
        meter = PastMeter(row["meter_key"], row["quantity"], row["unit"], row["amount"])
        meters.setdefault((row["subscription_key"], row["period_label"]), []).append(meter)
    return [
        PastPeriod(
            subscription=bill["subscription_key"],
            period=bill["period_label"],
            start=bill["period_start"],
            end=bill["period_end"],
            status=bill["status"],
            currency=bill["currency"],
            total=bill["total"],
            adjustments=bill["adjustments"],
            meters=meters.get((bill["subscription_key"], bill["period_label"]), []),
        )
        for bill in bills
    ]

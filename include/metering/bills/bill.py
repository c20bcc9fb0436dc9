"""One bill, as it stood at a moment."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from metering import database, statements
from metering.bills.known import Connection, Known, known, moment
from metering.bills.lines import Line, read_lines
from metering.errors import BillingError

SQL = statements.beside(__file__, "bill")


class Bill(msgspec.Struct):
    """What a team was to pay for a half-open billing period by what was known at `as_of`. Times are in UTC."""

    team: str
    subscription: str
    period: str
    start: datetime
    end: datetime
    time_zone: str
    currency: str
    status: str
    as_of: datetime
    total: Decimal
    """The sum of the lines, in the currency's major unit; and so are these two, which add up to it."""
    usage: Decimal
    adjustments: Decimal
    lines: list[Line]


def bill(
    connection: Connection,
    team: str,
    period: str | None = None,
    *,
    subscription: str | None = None,
    as_of: datetime | None = None,
) -> Bill:
    """The bill of the period with this label, or of the one that ran at the moment, as known at `as_of` or now.

    Asked again as of the `as_of` that it says, it is the same, whatever has been recorded since. Raises `BillingError`
    for a team, a period or a moment that it can't be made of.
    """
    at = moment(connection, as_of)
    with known(connection, team, at) as about:
        return read_bill(connection, about, find_period(connection, about, period, subscription))


def periods(connection: Connection, about: Known, period: str | None, subscription: str | None) -> list[dict[str, Any]]:
    """The periods of a label, or those that ran at the moment, as rows: one for each subscription that had it."""
    asking = {"team_id": about.team_id, "as_of": about.as_of, "period": period, "subscription": subscription}
    return database.rows(connection, SQL["periods"], **asking)


def find_period(connection: Connection, about: Known, period: str | None, subscription: str | None) -> dict[str, Any]:
    """The one period that is asked for, as a row; raises `BillingError` where there is none, or more than one."""
    found = periods(connection, about, period, subscription)
    if len(found) > 1:
        raise BillingError(
            f"{about.team_key} has {len(found)} such bills, one for each of its subscriptions.",
            f"Say which with --subscription: {', '.join(row['subscription_key'] for row in found)}.",
        )
    if not found:
        labels = [row["period_label"] for row in database.rows(connection, SQL["labels"], team_id=about.team_id)]
        has = f"It has {', '.join(dict.fromkeys(labels))}." if labels else "It has no billing period yet."
        of = f" in the subscription {subscription!r}" if subscription else ""
        named = f"billing period {period!r}{of}" if period else f"billing period that ran{of}"
        raise BillingError(f"{about.team_key} had no {named} as of {about.as_of.isoformat()}.", has)
    return found[0]


def read_bill(connection: Connection, about: Known, found: dict[str, Any]) -> Bill:
    """The bill of a period that was found, in a session of `known`."""
    lines = read_lines(connection, {**found, "team_id": about.team_id})
    usage = sum((line.amount for line in lines if line.kind != "adjustment"), Decimal(0))
    adjustments = sum((line.amount for line in lines if line.kind == "adjustment"), Decimal(0))
    return Bill(
        team=about.team_key,
        subscription=found["subscription_key"],
        period=found["period_label"],
        start=found["period_start"],
        end=found["period_end"],
        time_zone=found["time_zone"],
        currency=found["currency"],
        status=found["status"],
        as_of=about.as_of,
        total=usage + adjustments,
        usage=usage,
        adjustments=adjustments,
        lines=lines,
    )

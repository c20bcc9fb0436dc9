"""What changed a bill between two moments, cause by cause.

The causes are taken in the order in which they were recorded, and each is worth what the bill moved at it: bills are
made just before and as of each change of prices, plans, subscriptions, credits and final bills, and what lies between
them is usage that came or was withdrawn. So the amounts add up to the difference of the totals without a remainder. In
one stretch of usage, a line belongs to its meter; what moves on lines that are about all of them together (a minimum
of the plan, credits) is shown as interaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import msgspec

from metering import database, statements
from metering.bills.bill import Bill, find_period, periods, read_bill
from metering.bills.known import Connection, Known, known, moment
from metering.bills.lines import Line
from metering.errors import BillingError

SQL = statements.beside(__file__, "difference")

MAX_KEYS = 20
"""Events that a cause names; it counts all of them."""
_INSTANT = timedelta(microseconds=1)


class Moved(msgspec.Struct):
    """A line that a cause moved; amounts in the bill's currency."""

    line: str
    before: Decimal
    after: Decimal


class Cause(msgspec.Struct):
    """Something that was recorded in (recorded_after, recorded_until], and what it did to the bill."""

    kind: str
    """usage; price version; plan terms; subscription; subscription plan; credit; meter; final bill; period begun;
    interaction: what usage of several meters moved on lines that are about all of them."""
    key: str
    """Which: a meter's, a price's, a plan's, a subscription's or a grant's key, or a period's label."""
    recorded_after: datetime
    recorded_until: datetime
    effective_from: datetime | None
    detail: str | None
    amount: Decimal
    lines: list[Moved]
    events_came: int = 0
    events_withdrawn: int = 0
    event_keys: list[str] = []
    """The first of those events, in the order in which they occurred."""


class Difference(msgspec.Struct):
    """Two states of one bill, and what led from one to the other.

    The causes' amounts add up to `difference`, since each begins where the one before it left the bill.
    """

    before: Bill
    after: Bill
    difference: Decimal
    causes: list[Cause]


def difference(
    connection: Connection,
    team: str,
    period: str,
    since: datetime,
    until: datetime | None = None,
    *,
    subscription: str | None = None,
) -> Difference:
    """What changed the bill of a period between two moments; the later one left out is now.

    Raises `BillingError` for a team, a period or moments that it can't be told of.
    """
    first, last = moment(connection, since), moment(connection, until)
    if first >= last:
        raise BillingError(
            f"{last.isoformat()} is not after {first.isoformat()}.", "Give the earlier moment first: --from, then --to."
        )
    with known(connection, team, last) as about:
        found = find_period(connection, about, period, subscription)
        asking = {**found, "team_id": about.team_id, "since": first, "until": last}
        changes = database.rows(connection, SQL["changes"], **asking)
        moments = sorted({change["recorded_at"] for change in changes})
        # Each change is looked at from the instant before it; recorded moments have microseconds.
        bounds = sorted({first, last, *moments, *(at - _INSTANT for at in moments if at - _INSTANT > first)})
        with_usage = {row["until"] for row in database.rows(connection, SQL["usage_recorded"], **asking, bounds=bounds)}
        at_last = read_bill(connection, about, found)
    before = at = _as_of(connection, team, found, first)
    causes: list[Cause] = []
    for start, end in pairwise(bounds):
        recorded = [change for change in changes if change["recorded_at"] == end]
        if not recorded and end not in with_usage and end != last:
            continue
        after = at_last if end == last else _as_of(connection, team, found, end)
        moved = _moved(at.lines, after.lines)
        if recorded:
            causes.append(_change(recorded, start, end, moved))
        elif moved or end in with_usage:
            with known(connection, team, end) as then:
                causes += _usage(connection, then, found, start, end, moved, [*at.lines, *after.lines])
        at = after
    return Difference(before, at_last, at_last.total - before.total, causes)


def _as_of(connection: Connection, team: str, found: dict[str, Any], at: datetime) -> Bill:
    """The bill of a period at a moment; one without lines where the period had not begun, or was not known, then."""
    with known(connection, team, at) as about:
        known_then = periods(connection, about, found["period_label"], found["subscription_key"])
        return read_bill(connection, about, known_then[0] if known_then else {**found, "status": "not begun"})


def _moved(before: Iterable[Line], after: Iterable[Line]) -> dict[str, Moved]:
    """The lines whose amounts differ, by their keys."""
    zero = Decimal(0)
    was = {line.line: line.amount for line in before}
    is_now = {line.line: line.amount for line in after}
    keys = [key for key in sorted(was.keys() | is_now.keys()) if was.get(key, zero) != is_now.get(key, zero)]
    return {key: Moved(key, was.get(key, zero), is_now.get(key, zero)) for key in keys}


def _amount(moved: Iterable[Moved]) -> Decimal:
    return sum((line.after - line.before for line in moved), Decimal(0))


def _change(recorded: Sequence[dict[str, Any]], start: datetime, end: datetime, moved: dict[str, Moved]) -> Cause:
    """The cause that what was recorded at one instant is; several that share it are one."""
    one = recorded[0] if len(recorded) == 1 else None
    return Cause(
        kind=", ".join(dict.fromkeys(change["kind"] for change in recorded)),
        key=", ".join(dict.fromkeys(change["key"] for change in recorded)),
        recorded_after=start,
        recorded_until=end,
        effective_from=one["effective_from"] if one else None,
        detail=one["detail"] if one else None,
        amount=_amount(moved.values()),
        lines=list(moved.values()),
    )


def _usage(
    connection: Connection,
    about: Known,
    found: dict[str, Any],
    start: datetime,
    end: datetime,
    moved: dict[str, Moved],
    lines: list[Line],
) -> list[Cause]:
    """A cause for each meter, and period that it is about, whose events came or were withdrawn in a stretch."""
    of_line = {line.line: (line.meter, line.about_period) for line in lines}
    meters = sorted({meter for meter, _ in of_line.values() if meter})
    labels = sorted({label for _, label in of_line.values()} | {found["period_label"]})
    asking = {**found, "team_id": about.team_id, "since": start, "until": end, "limit": MAX_KEYS}
    causes = []
    left = dict(moved)
    for row in database.rows(connection, SQL["about"], **asking, meters=meters, labels=labels):
        its = [left.pop(key) for key in list(left) if of_line[key] == (row["meter_key"], row["period_label"])]
        events = database.one(connection, SQL["events"], **{**asking, **row})
        if not its and not events["came"] and not events["withdrawn"]:
            continue
        about_other = row["period_label"] != found["period_label"]
        causes.append(
            Cause(
                kind="usage",
                key=row["meter_key"],
                recorded_after=start,
                recorded_until=end,
                effective_from=None,
                detail=f"of {row['period_label']}, which was final" if about_other else None,
                amount=_amount(its),
                lines=its,
                events_came=events["came"],
                events_withdrawn=events["withdrawn"],
                event_keys=events["keys"],
            )
        )
    if left:
        causes.append(
            Cause(
                kind="interaction",
                key="",
                recorded_after=start,
                recorded_until=end,
                effective_from=None,
                detail="what the usage above moved on lines that are about all of it",
                amount=_amount(left.values()),
                lines=list(left.values()),
            )
        )
    return causes

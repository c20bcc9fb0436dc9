"""What changed a bill between two moments, cause by cause.

The causes are taken in the order in which they were recorded, and each is worth what the bill moved at it: bills are
made just before and as of each change of prices, plans, subscriptions, credits and final bills, and what lies between
them is usage that came or was withdrawn. So the amounts add up to the difference of the totals without a remainder. In
one stretch of usage, a line belongs to its meter; what moves on lines that are about all of them together (a minimum
of the plan, credits) is shown as interaction. A bill stays in its own currency; in the currency of reports, exchange
rates are causes as well, and the converted amounts add up as exactly.
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
from metering.bills.reporting import Rate, Rates
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
    interaction: what usage of several meters moved on lines that are about all of them; exchange rate: what moved only
    the bill's worth in the currency of reports."""
    key: str
    """Which: a meter's, a price's, a plan's, a subscription's or a grant's key, a period's label, or a currency."""
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
    converted: Decimal | None = None
    """What it moved in the currency of reports, where that is asked for."""


class Worth(msgspec.Struct):
    """What two states of a bill are worth in the currency of reports; what causes have `converted` adds up exactly."""

    currency: str
    before: Decimal
    after: Decimal
    difference: Decimal
    rate: Decimal | None
    """Of the later moment; none: reports don't convert the bill."""


class Difference(msgspec.Struct):
    """Two states of one bill, and what led from one to the other.

    The causes' amounts add up to `difference`, since each begins where the one before it left the bill.
    """

    before: Bill
    after: Bill
    difference: Decimal
    causes: list[Cause]
    worth: Worth | None = None


def difference(
    connection: Connection,
    team: str,
    period: str,
    since: datetime,
    until: datetime | None = None,
    *,
    subscription: str | None = None,
    currency: str | None = None,
) -> Difference:
    """What changed the bill of a period between two moments; the later one left out is now.

    `currency`: what it is worth there is told, too, as reports convert it, with the rates that moved that.

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
        rates = Rates(connection, found, currency, first, last) if currency else None
        # Each change is looked at from the instant before it; recorded moments have microseconds.
        bounds = sorted({
            *(first, last, *moments, *(at - _INSTANT for at in moments if at - _INSTANT > first)),
            *(rates.moments if rates else ()),
        })  # fmt: skip
        with_usage = {row["until"] for row in database.rows(connection, SQL["usage_recorded"], **asking, bounds=bounds)}
        at_last = read_bill(connection, about, found)
    before = at = _as_of(connection, team, found, first)
    worth_before = rates.worth(before.lines) if rates else Decimal(0)
    causes: list[Cause] = []
    for start, end in pairwise(bounds):
        recorded = [change for change in changes if change["recorded_at"] == end]
        if not recorded and end not in with_usage and end != last:
            continue
        after = at_last if end == last else _as_of(connection, team, found, end)
        moved = _moved(at.lines, after.lines)
        caused: list[Cause] = []
        if recorded:
            caused.append(_change(recorded, start, end, moved))
        elif moved or end in with_usage:
            with known(connection, team, end) as then:
                caused += _usage(connection, then, found, start, end, moved, [*at.lines, *after.lines])
        # What lies between two states of the bill is converted by the rate before it.
        if rates:
            causes += _rates(rates, start, at)
            for cause in caused:
                cause.converted = _converted(rates, cause)
            caused += _rates(rates, end, after)
        causes += caused
        at = after
    found_difference = Difference(before, at_last, at_last.total - before.total, causes)
    if rates:
        worth = rates.worth(at_last.lines)
        found_difference.worth = Worth(rates.reporting, worth_before, worth, worth - worth_before, rates.now.rate)
    return found_difference


def _converted(rates: Rates, cause: Cause) -> Decimal:
    """What a cause moved in the currency of reports: its lines by the rate that is reached, rounded as reports do."""
    before = rates.worth_of((line.before for line in cause.lines), rates.now.rate)
    return rates.worth_of((line.after for line in cause.lines), rates.now.rate) - before


def _rates(rates: Rates, until: datetime, at: Bill) -> list[Cause]:
    """A cause for each exchange rate up to a moment that changed what a state of the bill is worth."""

    def cause(was: Rate, is_now: Rate) -> Cause:
        said, said_before = (rate.said(rates.currency, rates.reporting) for rate in (is_now, was))
        amounts = [line.amount for line in at.lines]
        return Cause(
            kind="exchange rate",
            key=rates.currency,
            recorded_after=was.moment,
            recorded_until=is_now.moment,
            effective_from=is_now.quoted_at,
            detail=f"{said}; before, {said_before}",
            amount=Decimal(0),
            lines=[],
            converted=rates.worth_of(amounts, is_now.rate) - rates.worth_of(amounts, was.rate),
        )

    return [cause(was, is_now) for was, is_now in rates.until(until)]


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

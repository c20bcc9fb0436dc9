"""The events under a line of a bill, and under one tier of it.

Nothing is stored for it: the events are looked up by team and time, and take their price by the rule of rating. What
each counts for adds up to the line's quantity: its value where the meter adds up; otherwise what decided counts, and
the rest is shown to count nothing. Under an adjustment are the events that count otherwise than when it was last billed
about its period: those that came, those that were withdrawn, and those that decide no more.
"""

from __future__ import annotations

import base64
import heapq
import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from metering import database, statements
from metering.bills.bill import find_period
from metering.bills.known import Connection, Known, known, moment
from metering.bills.lines import Line, Tier, read_lines
from metering.errors import BillingError

SQL = statements.beside(__file__, "lineage")

_BEGIN = datetime(1, 1, 2, tzinfo=UTC)
_PAGE = 10_000
"""Events that are read at once to compare two moments."""

Place = tuple[Decimal, datetime, UUID]
"""What the events up to a place add up to, and the time and digest of the last of them."""


class Counted(msgspec.Struct):
    """An event under a line. Quantities are in the meter's unit, times in UTC."""

    key: str | None
    """Its idempotency key."""
    occurred_at: datetime
    recorded_at: datetime
    dimensions: dict[str, str]
    value: Decimal | None
    """What the meter reads from it; none where it only tells values apart."""
    counts: Decimal
    """What it gives to the line's quantity."""
    running: Decimal
    """What the events up to this one give together, in the order in which they occurred."""


class Page(msgspec.Struct):
    """A line, and some of the events under it."""

    team: str
    period: str
    as_of: datetime
    meter: str
    aggregation: str
    line: Line
    events: list[Counted]
    next: str | None
    """Where to go on; none after the last event."""


def explain(
    connection: Connection,
    line: str,
    *,
    subscription: str | None = None,
    tier: int | None = None,
    limit: int = 50,
    after: str | None = None,
    as_of: datetime | None = None,
) -> Page:
    """A page of the events under a line (`TEAM/PERIOD/LINE`, as bills call them), or under one tier of it.

    Only tiers that fill one after the other (graduated prices) hold events of their own: in the order in which they
    occurred. The line of a bill that is final has the events that were known when it became so; what came later is
    under the adjustment that it made. Raises `BillingError` for a line, a tier or a place that is none, and for lines
    that no event is under.
    """
    team, period, line_key = split(line)
    at = _of_the_bill(connection, team, period, subscription, moment(connection, as_of))
    place = _place(after)
    with known(connection, team, at) as about:
        asking = find_period(connection, about, period, subscription)
        asking |= {"team_id": about.team_id, "line_key": line_key}
        shown = _find(connection, about, asking, line)
        if shown.kind != "adjustment":
            found, events = _read(connection, asking, place, limit + 1, shown, tier)
    if shown.kind == "adjustment":
        if tier is not None:
            raise BillingError("An adjustment has no tiers.", "Leave out --tier.")
        found, events = _read_adjustment(connection, line, shown, asking, at, place, limit + 1)
    with connection.transaction():
        keys = {
            row["key_digest"]: row["event_key"]
            for row in database.rows(
                connection, SQL["keys"], team_id=asking["team_id"],
                moments=[row["occurred_at"] for row in events], digests=[row["key_digest"] for row in events],
            )
        }  # fmt: skip
    page = events[:limit]
    return Page(
        team=team, period=period, as_of=at, meter=found["meter_key"], aggregation=found["aggregation"], line=shown,
        events=[
            Counted(
                keys.get(row["key_digest"]), row["occurred_at"], row["recorded_at"], row["dimensions"],
                _plain(row["value"]), _plain(row["counts"]) or Decimal(0), _plain(row["running"]) or Decimal(0),
            )
            for row in page
        ],
        next=_token(page[-1]) if len(events) > limit else None,
    )  # fmt: skip


def _read(
    connection: Connection,
    asking: dict[str, Any],
    place: Place,
    limit: int,
    shown: Line | None = None,
    tier: int | None = None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A line of usage as the session knows it, and its events from a place on; nothing where it knows no such line."""
    lines = database.planned_once(connection, SQL["line"], asking)
    if not lines:
        return {}, []
    (found,) = lines
    over, up_to = _bounds(shown, found, tier) if shown else (None, None)
    asking = asking | found
    _refuse_archived(connection, asking)
    prices = Jsonb(database.one(connection, SQL["prices"], **asking)["prices"])
    connection.execute(SQL["look_up_by_key"])
    already, after_time, after_key = place
    asking |= {
        "prices": prices, "already": already, "after_time": after_time, "after_key": after_key,
        "limit": limit, "over": over, "up_to": up_to,
    }  # fmt: skip
    return found, database.rows(connection, SQL["added" if found["adds_up"] else "decided"], **asking)


def _read_adjustment(
    connection: Connection, line: str, shown: Line, asking: dict[str, Any], at: datetime, place: Place, limit: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The events that count otherwise than when the line that an adjustment is about was last billed."""
    team, _, line_key = split(line)
    with known(connection, team, at) as about:
        of = find_period(connection, about, shown.about_period, asking["subscription_key"])
        billed = database.one(connection, SQL["last_final_as_of"], **asking, at=at)["as_of"].astimezone(UTC)
    of |= {"team_id": asking["team_id"], "line_key": line_key.split(" ", 2)[2]}
    found: dict[str, Any] = {}

    def events(moment: datetime, sign: int) -> Iterator[tuple[datetime, UUID, int, dict[str, Any]]]:
        of_it, was = _PAGE, place
        while of_it == _PAGE:
            with known(connection, team, moment):
                told, read = _read(connection, of, was, _PAGE)
            found.update(told)
            for row in read:
                yield row["occurred_at"], row["key_digest"], sign, row
            of_it = len(read)
            was = (Decimal(0), read[-1]["occurred_at"], read[-1]["key_digest"]) if read else was

    differing: list[dict[str, Any]] = []
    running = place[0]
    both = heapq.merge(events(at, 1), events(billed, -1), key=lambda event: event[:2])
    for _, group in itertools.groupby(both, key=lambda event: event[:2]):
        same = list(group)
        counts = sum((sign * row["counts"] for _, _, sign, row in same), Decimal(0))
        if counts:
            running += counts
            differing.append(same[0][3] | {"counts": counts, "running": running})
        if len(differing) == limit:
            break
    if not found:
        raise BillingError(
            f"{line!r} has no events of its own: it is about a line that follows from others.",
            f"See them: ./billing bill {team} {shown.about_period}",
        )
    return found, differing


def _of_the_bill(connection: Connection, team: str, period: str, subscription: str | None, at: datetime) -> datetime:
    """The moment as of which a bill knows that is asked for at `at`: that of a final one stays what it was."""
    with known(connection, team, at) as about:
        found = find_period(connection, about, period, subscription)
        if found["status"] != "finalized":
            return at
        kept: datetime = database.one(connection, SQL["final_as_of"], team_id=about.team_id, at=at, **found)["as_of"]
        return kept.astimezone(UTC)


def explain_all(connection: Connection, line: str, **asked: Any) -> Iterator[Page]:
    """Every page of a line's events, all as of the moment of the first."""
    page = explain(connection, line, **asked)
    yield page
    while page.next:
        page = explain(connection, line, **{**asked, "after": page.next, "as_of": page.as_of})
        yield page


COLUMNS = ("occurred_at", "recorded_at", "key", "value", "counts", "running", "dimensions")
"""Of the events of a page as CSV."""


def rows(page: Page) -> Iterator[tuple[Any, ...]]:
    """The events of a page, each as a row of `COLUMNS`; moments in ISO 8601, dimensions in JSON."""
    for event in page.events:
        yield (
            event.occurred_at.isoformat(), event.recorded_at.isoformat(), event.key, event.value,
            event.counts, event.running, msgspec.json.encode(event.dimensions).decode(),
        )  # fmt: skip


def split(line: str) -> tuple[str, str, str]:
    """Team, period and key of a line; raises `BillingError` where a text is no line's name."""
    team, _, rest = line.partition("/")
    period, _, line_key = rest.partition("/")
    if not (team and period and line_key):
        raise BillingError(
            f"{line!r} does not name a line.",
            "Write TEAM/PERIOD/LINE, with the line as the bill calls it: see `./billing bill TEAM PERIOD`.",
        )
    return team, period, line_key


def _find(connection: Connection, about: Known, asking: dict[str, Any], line: str) -> Line:
    lines = {found.line: found for found in read_lines(connection, asking)}
    shown = lines.get(asking["line_key"])
    bill = f"./billing bill {about.team_key} {asking['period_label']}"
    if shown is None:
        raise BillingError(f"There was no line {line!r} as of {about.as_of.isoformat()}.", f"See them: {bill}")
    if shown.kind not in ("usage", "adjustment"):
        raise BillingError(
            f"{line!r} ({shown.kind}) has no events of its own: it follows from the lines that it is about.",
            f"See them: {bill}",
        )
    return shown


def _refuse_archived(connection: Connection, asking: dict[str, Any]) -> None:
    archived = [row["month"] for row in database.rows(connection, SQL["archived"], **asking)]
    if archived:
        raise BillingError(
            f"Events under this line are of archived months ({', '.join(archived)}).",
            f"Run `./billing archive restore {' '.join(archived)}`, then this again.",
        )


def _bounds(shown: Line, found: dict[str, Any], tier: int | None) -> tuple[Decimal | None, Decimal | None]:
    """Where a tier begins and ends in the running quantity, in the meter's unit."""
    if tier is None:
        return None, None
    chosen: list[Tier] = [held for held in shown.tiers if held.tier == tier]
    if not chosen:
        has = ", ".join(str(held.tier) for held in shown.tiers)
        raise BillingError(f"The line has no tier {tier}.", f"It has {has}.")
    if len(shown.tiers) == 1 or not shown.charge_quantity or found["model"] in ("volume", "capacity"):
        return None, None
    if not found["adds_up"]:
        raise BillingError(
            f"A {found['aggregation']} does not add up, so that no event fills a tier of its own.", "Leave out --tier."
        )
    # Charge units are a multiple of the meter's, which rounding up to whole ones may stretch by less than one.
    units = shown.quantity / shown.charge_quantity
    before = sum((held.quantity for held in shown.tiers if held.tier < tier), Decimal(0))
    return before * units, (before + chosen[0].quantity) * units


def _plain(number: Decimal | None) -> Decimal | None:
    """Without trailing zeros and without an exponent."""
    if number is None:
        return None
    short = number.normalize()
    return short.quantize(Decimal(1)) if short == short.to_integral_value() else short


def _token(row: dict[str, Any]) -> str:
    said = f"{row['occurred_at'].astimezone(UTC).isoformat()} {row['key_digest']} {row['running']}"
    return base64.urlsafe_b64encode(said.encode()).decode().rstrip("=")


def _place(after: str | None) -> Place:
    """What the events up to a place add up to, and the place."""
    if after is None:
        return Decimal(0), _BEGIN, UUID(int=0)
    try:
        said = base64.urlsafe_b64decode(after + "=" * (-len(after) % 4)).decode().split(" ")
        return Decimal(said[2]), datetime.fromisoformat(said[0]), UUID(said[1])
    except (ValueError, IndexError, ArithmeticError):
        raise BillingError(f"{after!r} is no place to go on from.", "Give what the page before ended with.") from None

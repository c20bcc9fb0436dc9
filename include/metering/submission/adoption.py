"""After a restore from an older backup: what Stripe has and this database forgot becomes part of the ledger.

Stripe's totals are read for all the time in which anything can have been sent that this database does not know: by
UTC day, and where a day differs window by window. The differences are added to the ledger as adopted submissions, all
that was open is cancelled (its outcome stands in the totals), and a new epoch begins, so that no identifier is ever
used for the second time. From then on planning sends what is owed, as always.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from metering import statements
from metering.database import one, rows
from metering.errors import BillingError
from metering.submission import catalog_sync, marks, planner
from metering.submission.client import Stripe
from metering.submission.error_reports import SETTLED
from metering.submission.planner import OLDEST
from metering.submission.reader import Span, read, read_days

SQL = statements.beside(__file__, "adoption")

Connection = psycopg.Connection[DictRow]
Window = dict[str, Any]

_DAY = timedelta(days=1)

T = TypeVar("T")


@dataclass(frozen=True)
class Adoption:
    """What was, or would be, adopted. Quantities in the meters' units.

    `adopted`: one row a window with team_key, meter_key, window_start, window_end, ledger_quantity, stripe_quantity.
    `unexplained`: one row a UTC day with team_key, meter_key, day, quantity, of which Stripe has more or less than in
    all windows together: nobody knows where it belongs, and reconciliation will hold these teams. `begin` and `end` are
    the span that was read (UTC).
    """

    begin: datetime
    end: datetime
    pairs: int
    cancelled: int
    adopted: list[dict[str, Any]]
    unexplained: list[dict[str, Any]]
    kept: bool


def adopt(connection: Connection, server: Stripe, *, keep: bool) -> Adoption:
    """Compare all windows with Stripe's totals, and with `keep` take the differences over and let submission go on.

    Without `keep` nothing is changed. Running it again, or after a crash, is safe: what was taken over is a difference
    no more. Raises `BillingError` where this database is not behind Stripe, where the last request is so recent that
    Stripe's totals may not show it, where somebody sends, or where a total can't be read.
    """
    with catalog_sync.nobody_sends(connection), marks.turn(connection):
        return _adopt(connection, server, keep)


def _adopt(connection: Connection, server: Stripe, keep: bool) -> Adoption:
    now = server.now(connection)
    mine, theirs = one(connection, marks.SQL["mine"]), marks.read(connection, server)
    if theirs is None or theirs.mark <= mine["mark"]:
        raise BillingError(
            "This database is not behind Stripe: there is nothing to adopt.",
            "Where a difference is unexplained, find out who else writes to the account (docs/submission.md).",
        )
    if theirs.marked_at is not None and theirs.marked_at > now - SETTLED:
        raise BillingError(
            f"The last request was made at {theirs.marked_at:%H:%M} UTC, and Stripe's totals may not show it yet.",
            f"Run it again after {theirs.marked_at + SETTLED:%Y-%m-%d %H:%M} UTC.",
        )
    catalog_sync.sync(connection, server)
    if keep:
        catalog_sync.find_replacements(connection, server)
    planner.record(connection)
    # A database without a mark of its own knows nothing: of what Stripe took 35 days ago, usage may be 70 days old.
    since = min(now, mine["marked_at"] or now - OLDEST)
    begin, end = _midnight(since - OLDEST) - _DAY, _midnight(now) + 2 * _DAY
    pairs = rows(connection, SQL["pairs"])
    windows: dict[tuple[int, int], list[Window]] = defaultdict(list)
    for window in rows(connection, SQL["windows"], begin=begin, end=end):
        windows[window["team_id"], window["meter_id"]].append(window)
    by_day = _must(read_days(connection, server, [_span(pair, begin, end) for pair in pairs]))
    doubtful: list[tuple[dict[str, Any], Window]] = []
    unexplained: dict[tuple[int, int, datetime], Decimal] = {}
    for pair, totals in zip(pairs, by_day, strict=True):
        key = pair["team_id"], pair["meter_id"]
        days: dict[datetime, list[Window]] = defaultdict(list)
        for window in windows[key]:
            days[_midnight(window["event_at"])].append(window)
        for day in sorted(days.keys() | totals.keys()):
            total = totals.get(day, Decimal(0))
            ledger = sum((window["ledger_quantity"] for window in days[day]), Decimal(0))
            known = [window for window in days[day] if window["is_known"]]
            if total != ledger or len(known) > 1 or any(window["is_open"] for window in known):
                doubtful += [(pair, window) for window in days[day]]
                unexplained[(*key, day)] = total
    spans = [_span(pair, *_moments(window["event_at"])) for pair, window in doubtful]
    adopted: list[Window] = []
    for (pair, window), total in zip(doubtful, _must(read(connection, server, spans)), strict=True):
        day = _midnight(window["event_at"])
        place = pair["team_id"], pair["meter_id"], day
        unexplained[place] = unexplained.get(place, Decimal(0)) - total
        if total != window["ledger_quantity"]:
            adopted.append({**window, **pair, "stripe_quantity": total})
    named = {(pair["team_id"], pair["meter_id"]): pair for pair in pairs}
    strange = [
        {**{name: named[key[:2]][name] for name in ("team_key", "meter_key")}, "day": key[2], "quantity": quantity}
        for key, quantity in sorted(unexplained.items())
        if quantity
    ]
    cancelled = 0
    if keep:
        marks.write(connection, server, theirs.mark + 1, now)
        with connection.transaction():
            connection.execute(planner.SQL["take_turn"])
            cancelled = connection.execute(SQL["cancel_open"]).rowcount
            _keep(connection, adopted, theirs.mark + 1, now)
            connection.execute(SQL["begin_epoch"], {"mark": theirs.mark + 1, "now": now})
    else:
        cancelled = sum(window["is_open"] for group in windows.values() for window in group)
    return Adoption(begin, end, len(pairs), cancelled, [_shown(window) for window in adopted], strange, keep)


def _keep(connection: Connection, adopted: list[Window], epoch: int, now: datetime) -> None:
    places: dict[str, Any] = {
        name: [window[name] for window in adopted] for name in ("team_id", "meter_id", "window_start", "window_end")
    }
    places["dimensions"] = [Jsonb(window["dimensions"]) for window in adopted]
    connection.execute(SQL["add_windows"], {**places, "event_at": [window["event_at"] for window in adopted]})
    connection.execute(
        SQL["add_adopted"],
        {
            **places,
            "sequence": [window["last_sequence"] + 1 for window in adopted],
            "quantity": [window["stripe_quantity"] - window["ledger_quantity"] for window in adopted],
            "epoch": epoch,
            "now": now,
        },
    )


def _shown(window: Window) -> dict[str, Any]:
    names = ("team_key", "meter_key", "window_start", "window_end", "ledger_quantity", "stripe_quantity")
    return {name: window[name] for name in names}


def _span(pair: dict[str, Any], begin: datetime, end: datetime) -> Span:
    return Span(pair["stripe_customer_id"], pair["stripe_meter_id"], begin, end)


def _moments(event_at: datetime) -> tuple[datetime, datetime]:
    """Two minutes around a moment: no other window's events are in them, and no edge is near."""
    minute = event_at.replace(second=0, microsecond=0)
    return minute - timedelta(minutes=1), minute + timedelta(minutes=2)


def _midnight(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _must(totals: Sequence[T | BillingError]) -> list[T]:
    """All totals, or the error of the first that could not be read: half of them would be adopted as nothing."""
    for total in totals:
        if isinstance(total, BillingError):
            raise total
    return [total for total in totals if not isinstance(total, BillingError)]

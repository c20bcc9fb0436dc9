"""Comparing Stripe's totals with the ledger, exactly, period by period; what differs is named and never papered over.

Stripe's total S, the ledger L (accepted and confirmed), what is open O, what Stripe should have T:

| verdict     | meaning                                                                                             |
|-------------|-----------------------------------------------------------------------------------------------------|
| equal       | S = L and each window's target is in it                                                             |
| unsent      | S = L, and the rest is planned, or will be when its moment has come                                 |
| held        | S = L, and the rest is held: too old, too many digits, the team is on hold, the invoice is final    |
| refused     | S = L, and Stripe refused some of the rest                                                          |
| settling    | S - L is what may or may not have arrived, or was accepted in the last hour and is not shown yet    |
| surfaced    | S - L is what had been given up as missing: it counts again, and planning corrects what came for it |
| unexplained | none of these: somebody else writes, or something is broken; the team is put on hold                |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.rows import DictRow

from metering import statements
from metering.database import one, rows
from metering.errors import BillingError
from metering.submission import planner
from metering.submission.client import Stripe
from metering.submission.reader import Span, read

# Subsets of so many are tried; for more, only whether the difference lies between the least and the most they can make.
_TRIED = 12

SQL = statements.beside(__file__, "reconciler")


def reconcile(connection: psycopg.Connection[DictRow], server: Stripe) -> dict[str, Any]:
    """Read every period that can still change, and return `periods` read and the number of each verdict.

    Raises `BillingError`, after all teams were read, where a difference is unexplained (these teams are on hold then)
    or a period could not be read.
    """
    counts, unexplained, unread = _observe(connection, server, accepted_only=False)
    if unexplained:
        raise BillingError(
            f"Stripe's total differs unexplained from the ledger in {len(unexplained)} periods: {unexplained[0]}.",
            "Their teams are on hold. Look at billing.stripe_observations, find who else writes to this account, and "
            "reconcile again: the hold ends when the difference does.",
        )
    if unread:
        raise BillingError(f"{len(unread)} periods could not be read: {unread[0]}", "All others were; run it again.")
    return counts


def confirm(connection: psycopg.Connection[DictRow], server: Stripe) -> dict[str, Any]:
    """Read the periods with accepted submissions that no total has confirmed yet; counts as of `reconcile`."""
    counts, _, _ = _observe(connection, server, accepted_only=True)
    return counts


def _observe(
    connection: psycopg.Connection[DictRow], server: Stripe, *, accepted_only: bool
) -> tuple[dict[str, Any], list[str], list[str]]:
    now = server.now(connection)
    periods = rows(connection, SQL["periods"], accepted_only=accepted_only, now=now)
    totals = read(
        connection,
        server,
        [Span(p["stripe_customer_id"], p["stripe_meter_id"], p["period_start"], p["period_end"]) for p in periods],
    )
    seen: list[dict[str, Any]] = []
    unread: list[str] = []
    for period, total in zip(periods, totals, strict=True):
        if isinstance(total, BillingError):
            unread.append(f"{_name(period)}: {total.message}")
        else:
            seen.append({**period, "stripe_quantity": total})
    with connection.transaction():
        connection.execute(planner.SQL["take_turn"])
        for period in seen:
            period["verdict"] = _verdict(connection, period, now)
        _keep(connection, seen)
        _put_and_lift_holds(connection, seen)
    verdicts = Counter(period["verdict"] for period in seen)
    unexplained = [
        f"{_name(p)} has {p['stripe_quantity']:f} at Stripe and {p['ledger_quantity'].normalize():f} in the ledger"
        for p in seen
        if p["verdict"] == "unexplained"
    ]
    return {"periods": len(periods), "unread": len(unread), **verdicts}, unexplained, unread


def _verdict(connection: psycopg.Connection[DictRow], period: dict[str, Any], now: datetime) -> str:
    drift = period["stripe_quantity"] - period["ledger_quantity"]
    if drift == 0:
        if not period["in_debt"]:
            return "equal"
        if period["refused"]:
            return "refused"
        return "held" if period["held"] or period["team_held"] else "unsent"
    about: dict[str, Any] = {name: period[name] for name in ("team_id", "meter_id", "period_start", "period_end")}
    if one(connection, SQL["ledger"], **about)["quantity"] != period["ledger_quantity"]:
        # Somebody submits at this moment: what was compared is out of date already.
        return "settling"
    unsettled = rows(connection, SQL["unsettled"], now=now, **about)
    # What was accepted is in the ledger and may not show; what is unknown is not in it and may show.
    moving = [
        -row["quantity"] if row["state"] == "accepted" else row["quantity"]
        for row in unsettled
        if row["state"] != "missing"
    ]
    if can_sum_to(drift, moving):
        return "settling"
    missing = [row for row in unsettled if row["state"] == "missing"]
    surfaced = subset_of_sum(drift, [row["quantity"] for row in missing])
    if surfaced:
        identifiers = [missing[position]["identifier"] for position in surfaced]
        connection.execute(SQL["surface"], {"team_id": period["team_id"], "identifiers": identifiers})
        return "surfaced"
    return "unexplained"


def subset_of_sum(wanted: Decimal, parts: Sequence[Decimal]) -> tuple[int, ...] | None:
    """The positions of some of at most 12 parts that make up exactly `wanted`, or None."""
    if len(parts) > _TRIED:
        return None
    sums: dict[Decimal, tuple[int, ...]] = {Decimal(0): ()}
    for position, part in enumerate(parts):
        for total, positions in list(sums.items()):
            sums.setdefault(total + part, (*positions, position))
    return sums.get(wanted)


def can_sum_to(wanted: Decimal, parts: Sequence[Decimal]) -> bool:
    """Whether some of the parts could make up `wanted`; for more than 12, whether it lies within their bounds."""
    if len(parts) <= _TRIED:
        return subset_of_sum(wanted, parts) is not None
    least = sum((part for part in parts if part < 0), Decimal(0))
    most = sum((part for part in parts if part > 0), Decimal(0))
    return least <= wanted <= most


def _keep(connection: psycopg.Connection[DictRow], seen: list[dict[str, Any]]) -> None:
    if not seen:
        return
    equal = [period for period in seen if period["stripe_quantity"] == period["ledger_quantity"]]
    compared = ("team_id", "meter_id", "period_start", "period_end", "ledger_quantity")
    connection.execute(SQL["confirm"], {name: [period[name] for period in equal] for name in compared})
    columns = (
        "team_id", "meter_id", "subscription_key", "period_start",
        "stripe_quantity", "ledger_quantity", "open_quantity", "target_quantity", "verdict",
    )  # fmt: skip
    connection.execute(SQL["observe"], {name: [period[name] for period in seen] for name in columns})


def _put_and_lift_holds(connection: psycopg.Connection[DictRow], seen: list[dict[str, Any]]) -> None:
    in_force = {(row["team_id"], row["hold_key"]) for row in rows(connection, SQL["holds_in_force"])}
    for period in seen:
        key = f"stripe:{period['meter_key']}:{period['subscription_key']}:{period['period_start']:%Y-%m-%dT%H:%M}Z"
        about = {"team_id": period["team_id"], "hold_key": key}
        if period["verdict"] == "unexplained":
            reason = (
                f"Stripe has {period['stripe_quantity']:f} of {period['meter_key']} in the period from "
                f"{period['period_start']:%Y-%m-%d %H:%M} UTC, the ledger {period['ledger_quantity'].normalize():f}."
            )
            connection.execute(SQL["hold"], {**about, "reason": reason})
        elif (period["team_id"], key) in in_force:
            connection.execute(SQL["lift"], about)


def _name(period: dict[str, Any]) -> str:
    return f"{period['team_key']}, {period['meter_key']}, from {period['period_start']:%Y-%m-%d %H:%M} UTC"

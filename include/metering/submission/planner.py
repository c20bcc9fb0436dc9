"""Planning: what Stripe should have, less what it has and what is on its way, becomes submissions.

All of it is set-based and one transaction; planning twice plans nothing new. Nothing here talks to Stripe.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.rows import DictRow

from metering import statements
from metering.database import one, rows
from metering.errors import BillingError

# Stripe takes usage of the past 35 calendar days; an hour less leaves time for the sending.
OLDEST = timedelta(days=35) - timedelta(hours=1)
MANY = 1000
"""Submissions planned at once from which on the planner of queries is told about them."""

SQL = statements.beside(__file__, "planner")


def plan(connection: psycopg.Connection[DictRow], stripe_now: datetime) -> dict[str, Any]:
    """Bring targets up to date with marts.fct_stripe_usage and add a submission for each difference that can be sent.

    `stripe_now` is the time on Stripe's side (UTC). Returns counts: `windows` that are new, `targets` revised,
    `planned` submissions, windows `held` (with a reason on the window), `not_yet` (their moment lies ahead of Stripe's
    clock), `waiting` (an earlier submission has no outcome yet) and `stopped` (the team is on hold, the period's
    invoice is final, or the customer or meter is not made at Stripe).
    """
    require_mart(connection)
    moments = {"now": stripe_now, "oldest": stripe_now - OLDEST}
    with connection.transaction():
        windows, targets = record(connection)
        connection.execute(SQL["withdraw_overdue"], moments)
        connection.execute(SQL["find_owed"], moments)
        connection.execute("ANALYZE stripe_owed")
        connection.execute(SQL["lift_holds"])
        connection.execute(SQL["hold"])
        planned = connection.execute(SQL["add_submissions"]).rowcount
        counts = one(connection, SQL["count_owed"])
        connection.execute("DROP TABLE stripe_owed")
    if planned >= MANY:
        # Claiming joins what was just added; without statistics every claim loops over all of it.
        connection.execute(SQL["analyze_ledger"])
    return {"windows": windows, "targets": targets, "planned": planned, **counts}


def record(connection: psycopg.Connection[DictRow]) -> tuple[int, int]:
    """Bring windows and targets up to date with the mart, and plan nothing; how many windows and targets are new."""
    with connection.transaction():
        connection.execute(SQL["take_turn"])
        windows = connection.execute(SQL["record_windows"]).rowcount
        targets = connection.execute(SQL["record_targets"]).rowcount
        targets += connection.execute(SQL["record_vanished"]).rowcount
    return windows, targets


def require_mart(connection: psycopg.Connection[DictRow]) -> None:
    """Raise `BillingError` where usage was never rated in this database."""
    if not one(connection, SQL["is_built"])["is_built"]:
        raise BillingError(
            "There is no marts.fct_stripe_usage: usage was never rated here.",
            "Run the DAG aggregate_usage once, or `./billing demo`.",
        )


def preview(
    connection: psycopg.Connection[DictRow], stripe_now: datetime
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Plan without keeping it, as if every customer and meter were made: the counts of `plan`, and what would be sent.

    The latter by team and meter: team_key, meter_key, submissions, quantity, first_window, last_window, and values: by
    currency, the share of the periods' bills that the quantity makes up (Decimal, in major units).
    """
    with connection.transaction(force_rollback=True):
        connection.execute(SQL["pretend_customers"])
        connection.execute(SQL["pretend_meters"])
        counts = plan(connection, stripe_now)
        planned = rows(connection, SQL["planned_by_team"])
        is_billed = one(connection, SQL["is_billed"])["is_billed"]
        worth = rows(connection, SQL["values"]) if is_billed else []
    by_meter: dict[tuple[str, str], dict[str, Decimal]] = defaultdict(dict)
    for row in worth:
        if row["value"] is not None:
            by_meter[row["team_key"], row["meter_key"]][row["currency"]] = row["value"]
    return counts, [{**row, "values": by_meter[row["team_key"], row["meter_key"]]} for row in planned]


def release(connection: psycopg.Connection[DictRow], team_key: str, meter_key: str | None = None) -> int:
    """Let a team's refused windows be planned again and return how many; raises `BillingError` for an unknown team."""
    if not rows(connection, "SELECT FROM billing.teams WHERE team_key = %(team_key)s", team_key=team_key):
        raise BillingError(f"There is no team {team_key!r}.", "See the teams with `./billing stripe status`.")
    return connection.execute(SQL["release"], {"team_key": team_key, "meter_key": meter_key}).rowcount

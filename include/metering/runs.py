"""Metering runs: taking up what arrived, and saying when it has been worked in."""

from __future__ import annotations

from datetime import datetime

import psycopg
from psycopg.rows import DictRow

from metering import periods, statements
from metering.database import one, rows
from metering.errors import BillingError

SQL = statements.beside(__file__, "runs")


def open_run(
    connection: psycopg.Connection[DictRow],
    opened_by: str,
    occurred_from: datetime | None = None,
    occurred_until: datetime | None = None,
) -> int:
    """Queue the windows that need work and return the run's id.

    What needs work is all that was recorded since the last run (events, withdrawals, meters, prices, subscriptions,
    periods that have begun) and, for a backfill of the half-open [occurred_from, occurred_until), both with a zone,
    what in it differs from raw events, and its billing periods. What an earlier run left queued stays queued, so a run
    that failed or was killed loses nothing.
    Needs an autocommit connection: the horizon is a promise to the statements after it.
    """
    if (occurred_from is None) != (occurred_until is None):
        raise BillingError(
            "A backfill needs both ends of its range.", "Give occurred_from and occurred_until, or neither."
        )
    if occurred_from and occurred_until and not occurred_from < occurred_until:
        raise BillingError(f"The range {occurred_from} to {occurred_until} is empty.", "Give an end after the start.")
    periods.open_periods(connection)
    horizon = one(connection, SQL["take_horizon"])["horizon"]
    if one(connection, SQL["has_new_months"])["found"]:
        connection.execute(SQL["analyze_events"])
    with connection.transaction():
        connection.execute(SQL["take_turn"])
        if occurred_from and occurred_until:
            _refuse_archived(connection, occurred_from, occurred_until)
        connection.execute(SQL["supersede_open_runs"])
        run = one(
            connection,
            SQL["open_run"],
            opened_by=opened_by,
            horizon=horizon,
            occurred_from=occurred_from,
            occurred_until=occurred_until,
        )
        connection.execute(SQL["queue_arrivals"], run)
        connection.execute(SQL["queue_withdrawals"], run)
        connection.execute(SQL["queue_new_meters"], run)
        connection.execute(SQL["note_archive_needs"], run)
        connection.execute(SQL["queue_archive_needs"], run)
        connection.execute(SQL["forget_archive_needs"])
        if occurred_from is not None:
            _queue_range(connection, run)
        # The queue is new to the planner: who joins it with large tables has to know how long it is.
        connection.execute(SQL["analyze_buckets"])
        connection.execute(SQL["queue_periods_of_buckets"], run)
        connection.execute(SQL["queue_periods_of_levels"], run)
        connection.execute(SQL["queue_periods_of_changes"], run)
        periods.open_closing_periods(connection)
        connection.execute(SQL["analyze_periods"])
        connection.execute(SQL["queue_open_periods_for_adjustments"], run)
        connection.execute(SQL["queue_periods_for_credits"], run)
        connection.execute(SQL["count_queue"], run)
        connection.execute(SQL["analyze_periods"])
    return int(run["run_id"])


def _queue_range(connection: psycopg.Connection[DictRow], run: dict[str, object]) -> None:
    """Queue what differs from raw events in the run's range, and all of its billing periods."""
    if one(connection, SQL["can_compare"])["found"]:
        connection.execute(SQL["compare_range"], run)
        connection.execute(SQL["queue_differing"], run)
        connection.execute(SQL["compare_no_more"])
    else:
        connection.execute(SQL["queue_range"], run)
    connection.execute(SQL["queue_periods_of_range"], run)


def _refuse_archived(connection: psycopg.Connection[DictRow], start: datetime, end: datetime) -> None:
    """Raise `BillingError` where a range has archived months: without their events they would become nothing."""
    archived = rows(connection, SQL["archived_in_range"], occurred_from=start, occurred_until=end)
    if archived:
        months = " ".join(row["month"] for row in archived)
        raise BillingError(
            f"The range {start} to {end} touches archived months ({months}), whose usage can't be computed again.",
            f"Run `./billing archive restore {months}`, then this again; nothing was changed.",
        )


def close_run(connection: psycopg.Connection[DictRow], run_id: int) -> dict[str, object]:
    """Empty the queue of what this run has worked in and mark the run closed; closing it again changes nothing."""
    with connection.transaction():
        connection.execute(SQL["take_turn"])
        connection.execute(SQL["clear_buckets"], {"run_id": run_id})
        connection.execute(SQL["clear_periods"], {"run_id": run_id})
        return one(connection, SQL["close_run"], run_id=run_id)

"""Usage that Stripe answered well and refused afterwards: its reports, and what becomes of what they are about.

Reports come as thin events, by listing or by webhook. They show samples only, so they are a reason to look, and
Stripe's own total decides: of each submission that a report may be about, whether or not it is among the samples.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import psycopg
import stripe
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from metering import statements
from metering.database import one, rows
from metering.errors import BillingError
from metering.submission import planner
from metering.submission.client import Stripe, explained
from metering.submission.reader import Span, read
from metering.submission.reconciler import subset_of_sum

TYPES = ["v1.billing.meter.error_report_triggered", "v1.billing.meter.no_meter_found"]
KEPT = timedelta(days=30)
"""How far back Stripe lists events."""
OVERLAP = timedelta(hours=1)
"""How far behind the last one known the next listing begins: reports come in no promised order."""
SETTLED = timedelta(hours=1)
"""After acceptance, from when on Stripe's total is taken to show it."""

SQL = statements.beside(__file__, "error_reports")

Connection = psycopg.Connection[DictRow]


def fetch(connection: Connection, server: Stripe) -> int:
    """List the reports that may be new and keep them; return how many were. Raises `BillingError` as other calls do."""
    now = server.now(connection)
    latest = one(connection, SQL["latest"])["created_at"]
    since = max(now - KEPT + OVERLAP, latest - OVERLAP) if latest else now - KEPT + OVERLAP
    wanted: Any = {"types": TYPES, "limit": 100, "created": {"gte": _rfc3339(since)}}
    try:
        return sum(
            record(connection, server, event) for event in server.api.v2.core.events.list(wanted).auto_paging_iter()
        )
    except stripe.StripeError as error:
        raise explained(error) from error


def fetch_one(connection: Connection, server: Stripe, event_id: str) -> int:
    """Fetch the report that a webhook announced, and keep it; return 1 where it was new, else 0."""
    try:
        return record(connection, server, server.api.v2.core.events.retrieve(event_id))
    except stripe.StripeError as error:
        raise explained(error) from error


def record(connection: Connection, server: Stripe, event: Any) -> int:
    """Keep a report; of other events nothing. Returns the number of codes that were new."""
    if event.type not in TYPES:
        return 0
    told: dict[str, Any] = event.to_dict()
    if not told.get("data"):  # an announcement without what it is about
        told = server.api.v2.core.events.retrieve(event.id).to_dict()
    data = told["data"]
    new = 0
    with connection.transaction():
        for kind in data["reason"]["error_types"]:
            new += connection.execute(
                SQL["keep"],
                {
                    "event_id": told["id"],
                    "code": kind["code"],
                    "event_type": told["type"],
                    "stripe_meter_id": (told.get("related_object") or {}).get("id"),
                    "error_count": kind["error_count"],
                    "samples": Jsonb([_sample(sample) for sample in kind.get("sample_errors") or []]),
                    "validation_start": data["validation_start"],
                    "validation_end": data["validation_end"],
                    "created_at": told["created"],
                },
            ).rowcount
    return new


def take_up(connection: Connection, server: Stripe) -> dict[str, int]:
    """Look what became of what reports are about.

    Returns how many submissions are `waiting` (Stripe's total can't be believed yet; the windows of samples are held
    meanwhile), `refused` (the total lacks them: they leave the ledger, and their windows are held for the reason) and
    `counted` (it has them, whatever was reported).
    """
    connection.execute(SQL["end_decided"])
    found = rows(connection, SQL["doubtful"])
    if not found:
        return {"waiting": 0, "refused": 0, "counted": 0}
    now = server.now(connection)
    windows = [
        list(group) for _, group in groupby(found, key=lambda row: (row["team_id"], row["meter_id"], row["begin"]))
    ]
    spans = [
        Span(window[0]["stripe_customer_id"], window[0]["stripe_meter_id"], window[0]["begin"], window[0]["until"])
        for window in windows
    ]
    refused: list[dict[str, Any]] = []
    counted: list[dict[str, Any]] = []
    waiting: list[dict[str, Any]] = []
    for window, total in zip(windows, read(connection, server, spans), strict=True):
        settled = [row for row in window if row["accepted_at"] <= now - SETTLED]
        positions = None
        if not isinstance(total, BillingError) and len(settled) == len(window):
            # The samples come first: of equal quantities, they are the ones that were refused.
            positions = subset_of_sum(total - window[0]["ledger_quantity"], [-row["quantity"] for row in window])
        if positions is None:
            waiting += window
        else:
            refused += [window[position] for position in positions]
            counted += [row for position, row in enumerate(window) if position not in positions]
    with connection.transaction():
        connection.execute(planner.SQL["take_turn"])
        # What was accepted meanwhile may be in the total and was not in the ledger: such a window is looked at again.
        now_there = {
            (row["team_id"], row["identifier"]): row["ledger_quantity"] for row in rows(connection, SQL["doubtful"])
        }
        refused, counted = (
            [row for row in chosen if now_there.get((row["team_id"], row["identifier"])) == row["ledger_quantity"]]
            for chosen in (refused, counted)
        )
        connection.execute(SQL["hold_reported"], _named([row for row in waiting if row["is_sampled"]]))
        connection.execute(SQL["let_go"], _named(counted))
        connection.execute(SQL["refuse"], _named(refused))
    return {"waiting": len(waiting), "refused": len(refused), "counted": len(counted)}


def _named(found: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "team_id": [row["team_id"] for row in found],
        "identifier": [row["identifier"] for row in found],
        "code": [row["code"] for row in found],
        "reason": [f"Stripe reported afterwards ({row['code']}): {row['message'] or 'no message'}" for row in found],
    }


def _sample(sample: dict[str, Any]) -> dict[str, str | None]:
    # Stripe has documented both names.
    request = sample.get("request") or {}
    key = request.get("identifier") or request.get("idempotency_key")
    return {"message": sample.get("error_message"), "idempotency_key": key}


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

"""The first page: how every billing period stands, from raw events to Stripe."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Any

import msgspec
import psycopg
from psycopg.rows import DictRow

from metering import database, statements
from metering.errors import BillingError

SQL = statements.beside(__file__, "overview")


class Overview(msgspec.Struct):
    """Some of the periods that were reconciled last, newest first, and how many there are in all."""

    periods: int
    differing: int
    read_at: datetime | None
    """When Stripe was asked last, for any of them (UTC)."""
    held: list[dict[str, Any]]
    """Teams that are on hold, and why."""
    rows: list[dict[str, Any]]
    next: str | None
    """Where to go on; none after the last."""


def read(
    connection: psycopg.Connection[DictRow], *, team: str | None, only_differing: bool, after: str | None, limit: int
) -> Overview:
    """One page of marts.fct_reconciliation_by_period; raises `BillingError` where it was never made."""
    if not database.one(connection, SQL["is_built"])["is_built"]:
        raise BillingError("Nothing was reconciled yet.", "Run the DAG reconcile_with_stripe once.")
    start, team_id, subscription = _place(after)
    asked = {
        "team": team, "only_differing": only_differing, "start": start, "team_id": team_id,
        "subscription": subscription, "limit": limit + 1,
    }  # fmt: skip
    found = database.rows(connection, SQL["periods"], **asked)
    shown = found[:limit]
    return Overview(
        **database.one(connection, SQL["summary"], team=team),
        held=database.rows(connection, SQL["held"], team=team),
        rows=shown,
        next=_token(shown[-1]) if len(found) > limit else None,
    )


def _token(row: dict[str, Any]) -> str:
    said = msgspec.json.encode([row["period_start"], row["team_id"], row["subscription_key"]])
    return base64.urlsafe_b64encode(said).decode().rstrip("=")


def _place(after: str | None) -> tuple[datetime | None, int, str]:
    if after is None:
        return None, 0, ""
    try:
        said = base64.urlsafe_b64decode(after + "=" * (-len(after) % 4))
        return msgspec.json.decode(said, type=tuple[datetime, int, str])
    except (binascii.Error, ValueError):
        raise BillingError(f"{after[:40]!r} is no place to go on from.", "Begin with the first page.") from None

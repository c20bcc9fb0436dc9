"""Granting credits to teams, and what is left of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.rows import DictRow

from metering import statements
from metering.catalog.currencies import EXPONENTS
from metering.database import rows
from metering.errors import BillingError

SQL = statements.beside(__file__, "grants")


@dataclass(frozen=True)
class Grant:
    """A prepaid amount, in the currency's major unit. It pays bills of periods that begin before `expires_at` and end
    after `effective_from`, both with a zone."""

    team: str
    key: str
    currency: str
    amount: Decimal
    reason: str
    effective_from: datetime
    expires_at: datetime | None = None


def grant(connection: psycopg.Connection[DictRow], said: Grant, granted_by: str) -> bool:
    """Record a grant and return True; the same one again changes nothing and returns False.

    Raises `BillingError` where the team or currency is not known, the amount is not above zero or finer than the
    currency's minor unit, the key is another grant's, or it would expire before it becomes effective.
    """
    _check(said)
    values: dict[str, Any] = {
        "team": said.team,
        "key": said.key,
        "currency": said.currency,
        "amount": said.amount,
        "effective_from": said.effective_from.astimezone(UTC),
        "expires_at": said.expires_at.astimezone(UTC) if said.expires_at else None,
        "reason": said.reason.strip(),
        "granted_by": granted_by,
    }
    with connection.transaction():
        connection.execute(SQL["record_now"])
        if not rows(connection, SQL["team"], team=said.team):
            raise BillingError(f"There is no team {said.team!r}.", "Apply a catalog that names it first.")
        if rows(connection, SQL["add"], **values):
            return True
        if rows(connection, SQL["is_the_same"], **values):
            return False
    raise BillingError(
        f"The credit {said.key} of {said.team} is known with another amount, time or currency.",
        "A grant is never changed: give another key.",
    )


def left(connection: psycopg.Connection[DictRow], team: str) -> list[dict[str, Any]]:
    """Each grant of a team in the order in which it is drawn, with what final and open bills have drawn of it.

    Open bills are as of the last run. Raises `BillingError` where the team is not known.
    """
    if not rows(connection, SQL["team"], team=team):
        raise BillingError(f"There is no team {team!r}.", "`./billing psql -c 'table billing.teams'` lists them.")
    return rows(connection, SQL["left"], team=team)


def _check(said: Grant) -> None:
    if said.currency not in EXPONENTS:
        raise BillingError(f"{said.currency} is no currency that is known here.", "Use three capitals, such as USD.")
    exponent = EXPONENTS[said.currency]
    if said.amount <= 0 or said.amount != round(said.amount, exponent):
        raise BillingError(
            f"{said.amount} {said.currency} can't be granted.",
            f"Give an amount above zero with at most {exponent} decimals.",
        )
    if not said.key or any(sign.isspace() or sign in "@#" for sign in said.key):
        raise BillingError(f"The key {said.key!r} is empty or holds a space, an @ or a #.", "Give another.")
    if not said.reason.strip():
        raise BillingError("A grant needs a reason.", "Say why; whoever explains the bill will read it.")
    if said.expires_at is not None and said.expires_at <= said.effective_from:
        raise BillingError("The credit would expire before it becomes effective.", "Give a later end.")

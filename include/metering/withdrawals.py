"""Withdrawing usage that was sent by mistake: from then on it no longer counts, and what was known before stays known.

The events and their keys remain, so a withdrawn event that is sent again under its key is a duplicate; what is to count
after all is sent under another key. The next metering run works a withdrawal in, and what it changes about a final bill
becomes an adjustment on the next.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import DictRow

from metering import statements
from metering.database import one, rows
from metering.errors import BillingError
from metering.ingestion.events import digest

SQL = statements.beside(__file__, "withdrawals")


@dataclass(frozen=True)
class Choice:
    """Which events of one team: those of `keys`, of that name, in [occurred_from, occurred_until), as far as given."""

    team: str
    keys: Sequence[str] = ()
    event: str | None = None
    occurred_from: datetime | None = None
    occurred_until: datetime | None = None


def preview(connection: psycopg.Connection[DictRow], choice: Choice) -> list[dict[str, Any]]:
    """What a withdrawal would take, by event and month (UTC): events, quantity, and those withdrawn already."""
    return rows(connection, SQL["preview"], **_values(connection, choice))


def withdraw(connection: psycopg.Connection[DictRow], choice: Choice, reason: str) -> int:
    """Withdraw the chosen events and return how many count no longer; doing it again takes nothing more.

    Raises `BillingError` where the team or a key is not known, or nothing is named at all.
    """
    if not reason.strip():
        raise BillingError("A withdrawal needs a reason.", "Say why; whoever explains the bill will read it.")
    values = _values(connection, choice)
    with connection.transaction():
        values["recorded_at"] = one(connection, SQL["record_now"])["recorded_at"]
        return connection.execute(SQL["withdraw"], {**values, "reason": reason.strip()}).rowcount


def _values(connection: psycopg.Connection[DictRow], choice: Choice) -> dict[str, Any]:
    if not choice.keys and choice.event is None and choice.occurred_from is None:
        raise BillingError("Nothing says which events.", "Name their keys, an event, or a range of time.")
    team = connection.execute(SQL["team"], {"team": choice.team}).fetchone()
    if team is None:
        raise BillingError(
            f"There is no team {choice.team!r}.", "`./billing psql -c 'table billing.teams'` lists them."
        )
    digests = {uuid.UUID(bytes=digest(key.encode())): key for key in choice.keys}
    values = {
        "team_id": team["team_id"],
        "digests": list(digests) or None,
        "event": choice.event,
        "occurred_from": choice.occurred_from,
        "occurred_until": choice.occurred_until,
    }
    if digests:
        known = {row["key_digest"] for row in rows(connection, SQL["known_keys"], **values)}
        unknown = [key for found, key in digests.items() if found not in known]
        if unknown:
            raise BillingError(
                f"{len(unknown)} of {len(digests)} keys never counted for {choice.team}: {', '.join(unknown[:5])}"
                f"{' …' if len(unknown) > 5 else ''}.",
                "Check the keys and the team; nothing was withdrawn.",
            )
    return values

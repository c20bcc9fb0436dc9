"""API keys: made, shown once, stored by their hash, limited in their rate, revoked."""

from __future__ import annotations

import hashlib
import math
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.rows import DictRow

from metering import database, statements
from metering.errors import BillingError

SQL = statements.beside(__file__, "keys")

PREFIX = "bk_"
SCOPES = ("track", "read", "admin")
MAX_RATE = 10_000_000

_KEY = re.compile(re.escape(PREFIX) + r"[\w-]{43}", re.ASCII)


@dataclass(frozen=True)
class Limit:
    """How much a key may send to each service process. A request that brings no events counts as one."""

    per_second: Decimal
    """Events a second."""
    burst: int
    """Events at once after a pause."""

    @classmethod
    def of(cls, per_second: Decimal, burst: int | None = None) -> Limit:
        """Check a limit; the burst is ten seconds' worth where none is given. Raises `BillingError`."""
        if not per_second.is_finite() or not Decimal("0.001") <= per_second <= MAX_RATE:
            raise BillingError(f"There is no rate of {per_second}.", f"Give events a second, from 0.001 to {MAX_RATE}.")
        if burst is None:
            burst = max(1, math.ceil(per_second * 10))
        if not 1 <= burst <= 10 * MAX_RATE:
            raise BillingError(f"There is no burst of {burst}.", f"Give events, from 1 to {10 * MAX_RATE}.")
        return cls(per_second, burst)


def key_digest(key: str | bytes) -> bytes:
    """The SHA-256 under which a key is stored. A key is 256 random bits, so a fast hash is enough."""
    return hashlib.sha256(key.encode() if isinstance(key, str) else key).digest()


def looks_like_a_key(text: str) -> bool:
    """Whether a text can be a key at all; what can't is not looked up."""
    return _KEY.fullmatch(text) is not None


def create_api_key(
    connection: psycopg.Connection[DictRow],
    team_key: str | None = None,
    scopes: Sequence[str] = ("track",),
    limit: Limit | None = None,
) -> str:
    """Make a key and return it; it can't be shown again.

    With `team_key` it works for that team only, else for any. `scopes` are of track (send usage), read and admin.
    Raises `BillingError` where there is no such team or scope.
    """
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise BillingError(
            f"There is no scope {unknown[0]!r}." if unknown else "The key would have no scope.",
            f"Use one or more of {', '.join(SCOPES)}.",
        )
    team_id = None
    if team_key is not None:
        found = connection.execute(SQL["team"], {"team_key": team_key}).fetchone()
        if found is None:
            raise BillingError(f"There is no team {team_key!r}.", "Make the team first, or check its key.")
        team_id = found["team_id"]
    key = PREFIX + secrets.token_urlsafe(32)
    connection.execute(
        SQL["create_key"],
        {
            "key_digest": key_digest(key),
            "key_hint": key[: len(PREFIX) + 6],
            "team_id": team_id,
            "scopes": list(scopes),
            **_columns(limit),
        },
    )
    return key


def limit_api_key(connection: psycopg.Connection[DictRow], key: str, limit: Limit | None) -> str:
    """Limit a key, given whole or by its hint, or lift its limit; return its hint. Services follow within seconds.

    Raises `BillingError` where no key in force is meant.
    """
    return _changed(connection, "limit_key", key, **_columns(limit))


def revoke_api_key(connection: psycopg.Connection[DictRow], key: str) -> str:
    """Revoke a key, given whole or by its hint, and return its hint; services follow within seconds.

    Raises `BillingError` where no key in force is meant.
    """
    return _changed(connection, "revoke_key", key)


def list_api_keys(connection: psycopg.Connection[DictRow]) -> list[dict[str, Any]]:
    """All keys, the newest first.

    Each has key_hint, team_key (None: any team), scopes, rate_per_second and rate_burst (None: no limit), created_at
    and revoked_at (UTC).
    """
    return database.rows(connection, SQL["keys"])


def _changed(connection: psycopg.Connection[DictRow], statement: str, key: str, **values: Any) -> str:
    changed = database.rows(connection, SQL[statement], key_digest=key_digest(key), key=key, **values)
    if not changed:
        raise BillingError("No API key in force is meant by that.", "Give the whole key, or its hint.")
    return str(changed[0]["key_hint"])


def _columns(limit: Limit | None) -> dict[str, Any]:
    return {
        "rate_per_second": None if limit is None else limit.per_second,
        "rate_burst": None if limit is None else limit.burst,
    }

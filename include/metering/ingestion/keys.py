"""API keys: made, shown once, stored by their hash, revoked."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.rows import DictRow

from metering import database, statements
from metering.errors import BillingError

SQL = statements.beside(__file__, "keys")

PREFIX = "bk_"
SCOPES = ("track", "read", "admin")


def key_digest(key: str) -> bytes:
    """The SHA-256 under which a key is stored. A key is 256 random bits, so a fast hash is enough."""
    return hashlib.sha256(key.encode()).digest()


def create_api_key(
    connection: psycopg.Connection[DictRow], team_key: str | None = None, scopes: Sequence[str] = ("track",)
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
        },
    )
    return key


def revoke_api_key(connection: psycopg.Connection[DictRow], key: str) -> str:
    """Revoke a key, given whole or by its hint, and return its hint; services follow within seconds.

    Raises `BillingError` where no key in force is meant.
    """
    revoked = database.rows(connection, SQL["revoke_key"], key_digest=key_digest(key), key=key)
    if not revoked:
        raise BillingError("No API key in force is meant by that.", "Give the whole key, or its hint.")
    return str(revoked[0]["key_hint"])


def list_api_keys(connection: psycopg.Connection[DictRow]) -> list[dict[str, Any]]:
    """All keys, the newest first: key_hint, team_key (None: any team), scopes, created_at, revoked_at (UTC)."""
    return database.rows(connection, SQL["keys"])

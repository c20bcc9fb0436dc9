"""Who may come in: API keys looked up by their hash, remembered for seconds, so that a revocation soon takes effect."""

from __future__ import annotations

import time
from dataclasses import dataclass

from metering.ingestion.catalog import SQL
from metering.ingestion.keys import key_digest
from metering.ingestion.landing import Landing
from metering.ingestion.replies import Refusal
from metering.ingestion.worker import Worker

REMEMBERED_SECONDS = 3.0
MAX_REMEMBERED = 10_000

_CHALLENGE = {"www-authenticate": "Bearer"}


@dataclass(frozen=True, slots=True)
class Access:
    """What an API key allows."""

    hint: str
    """The beginning of the key, fit for logs."""
    team_id: int | None
    """The only team it may write for and see; None: any."""
    team_key: str | None
    scopes: frozenset[str]


ANYBODY = Access("", 0, "", frozenset())
"""Who asks without a key what needs none. There is no team 0."""


class Door:
    """Lets in those who have a key."""

    def __init__(self, worker: Worker) -> None:
        """Look keys up on `worker`'s connection."""
        self._worker = worker
        self._remembered: dict[bytes, tuple[float, Access | None]] = {}

    async def admit(self, authorization: str | None, scope: str) -> Access:
        """Return what the sender may do; raises `Refusal`, or `Unavailable` where a key can't be looked up."""
        kind, _, key = (authorization or "").partition(" ")
        key = key.strip()
        if kind.lower() != "bearer" or not key:
            message = "Send your API key in the header `Authorization: Bearer <key>`."
            raise Refusal(401, "missing_api_key", message, headers=_CHALLENGE)
        digest = key_digest(key)
        until, access = self._remembered.get(digest, (0.0, None))
        if time.monotonic() >= until:
            access = await self._worker.run(lambda landing: _look_up(landing, digest))
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[digest] = (time.monotonic() + REMEMBERED_SECONDS, access)
        if access is None:
            message = "The API key is not known, or has been revoked."
            raise Refusal(401, "invalid_api_key", message, headers=_CHALLENGE)
        if scope not in access.scopes:
            raise Refusal(403, "missing_scope", f"The API key lacks the scope {scope!r}.")
        return access


def _look_up(landing: Landing, digest: bytes) -> Access | None:
    row = landing.connection.execute(SQL["api_key"], {"key_digest": digest}).fetchone()
    if row is None:
        return None
    return Access(row["key_hint"], row["team_id"], row["team_key"], frozenset(row["scopes"]))

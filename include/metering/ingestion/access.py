"""Who may come in: API keys looked up by their hash, remembered for seconds, so that a revocation soon takes effect."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from psycopg.rows import DictRow

from metering.ingestion.catalog import SQL
from metering.ingestion.keys import key_digest, looks_like_a_key
from metering.ingestion.landing import Landing
from metering.ingestion.rates import Bucket, Rate
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
    bucket: Bucket | None = None
    """What it has left of its rate; None: it has no limit."""


ANYBODY = Access("", 0, "", frozenset())
"""Who asks without a key what needs none. There is no team 0."""


class Door:
    """Lets in those who have a key."""

    def __init__(self, worker: Worker) -> None:
        """Look keys up on `worker`'s connection."""
        self._worker = worker
        self._remembered: dict[bytes, tuple[float, Access | None]] = {}
        self._looking: dict[bytes, asyncio.Future[Access | None]] = {}
        self._buckets: dict[bytes, Bucket] = {}

    async def admit(self, authorization: str | None, scope: str) -> Access:
        """Return what the sender may do, one request of its rate taken.

        Raises `Refusal`, or `Unavailable` where a key can't be looked up.
        """
        kind, _, key = (authorization or "").partition(" ")
        key = key.strip()
        if kind.lower() != "bearer" or not key:
            message = "Send your API key in the header `Authorization: Bearer <key>`."
            raise Refusal(401, "missing_api_key", message, headers=_CHALLENGE)
        access = await self._access(key) if looks_like_a_key(key) else None
        if access is None:
            message = "The API key is not known, or has been revoked."
            raise Refusal(401, "invalid_api_key", message, headers=_CHALLENGE)
        if scope not in access.scopes:
            message = f"The API key lacks the scope {scope!r}: make one with `./billing keys create --scope {scope}`."
            raise Refusal(403, "missing_scope", message)
        if access.bucket is not None:
            access.bucket.enter()
        return access

    def remembered(self, authorization: bytes, scope: str) -> Access | None:
        """Whoever `admit` would let in without looking anything up; its rate is not touched."""
        kind, _, key = authorization.partition(b" ")
        if kind != b"Bearer":
            return None
        until, access = self._remembered.get(key_digest(key), (0.0, None))
        return access if access is not None and scope in access.scopes and time.monotonic() < until else None

    async def _access(self, key: str) -> Access | None:
        digest = key_digest(key)
        until, access = self._remembered.get(digest, (0.0, None))
        if time.monotonic() < until:
            return access
        looking = self._looking.get(digest)
        if looking is None:  # many requests may find at once that a key has to be looked up: one of them does
            looking = self._looking[digest] = asyncio.ensure_future(self._look_up(digest))
            looking.add_done_callback(lambda _: self._looking.pop(digest))
        return await asyncio.shield(looking)

    async def _look_up(self, digest: bytes) -> Access | None:
        row = await self._worker.run(lambda landing: _row(landing, digest))
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
            self._buckets = {digest: bucket for digest, bucket in self._buckets.items() if not bucket.full}
        access = None if row is None else self._made_of(row, digest)
        self._remembered[digest] = (time.monotonic() + REMEMBERED_SECONDS, access)
        return access

    def _made_of(self, row: DictRow, digest: bytes) -> Access:
        bucket = None
        if row["rate_per_second"] is not None:
            rate = Rate(float(row["rate_per_second"]), row["rate_burst"])
            bucket = self._buckets.setdefault(digest, Bucket(rate))
            bucket.follow(rate)
        return Access(row["key_hint"], row["team_id"], row["team_key"], frozenset(row["scopes"]), bucket)


def _row(landing: Landing, digest: bytes) -> DictRow | None:
    return landing.connection.execute(SQL["api_key"], {"key_digest": digest}).fetchone()

"""Idempotency keys: one memory for the whole account, whatever the endpoint.

v1 remembers every answer that began to execute, 500s included, for 24 hours. v2 remembers successes for 30 days and
runs failures again.
"""

import hashlib
from dataclasses import dataclass

import msgspec

from metering.stripe_emulator.errors import Json, StripeError, bad_request
from metering.stripe_emulator.store import Store

MAX_KEY_LENGTH = 255
MEMORY_SECONDS = {"v1": 24 * 3600, "v2": 30 * 24 * 3600}

_canonical = msgspec.json.Encoder(order="sorted")


@dataclass(frozen=True, slots=True)
class SavedReply:
    """What a key answered the first time."""

    status: int
    body: bytes
    request_id: str


def digest(parameters: Json) -> str:
    """The same parameters in any order give the same digest."""
    return hashlib.sha256(_canonical.encode(parameters)).hexdigest()


def find(store: Store, api: str, key: str, path: str, parameters_digest: str, now: int) -> SavedReply | None:
    """The remembered reply of a key, or the 400 that refuses it for another request."""
    if len(key) > MAX_KEY_LENGTH:
        raise bad_request(f"Idempotency keys can be at most {MAX_KEY_LENGTH} characters long.")
    row = store.one("saved_reply", api=api, key=key, after=now - MEMORY_SECONDS[api])
    if row is None:
        return None
    if row["path"] != path:
        raise _misused(f"used for the same endpoint they were first used for ('{path}' vs '{row['path']}')", key)
    if row["digest"] != parameters_digest:
        raise _misused("used with the same parameters they were first used with", key)
    return SavedReply(row["status"], row["body"], row["request_id"])


def save(store: Store, api: str, key: str, path: str, parameters_digest: str, reply: SavedReply, now: int) -> None:
    """Remember a reply, in the transaction that did the work."""
    store.run(
        "save_reply",
        api=api,
        key=key,
        path=path,
        digest=parameters_digest,
        status=reply.status,
        body=reply.body,
        request_id=reply.request_id,
        saved_at=now,
    )


def _misused(rule: str, key: str) -> StripeError:
    return StripeError(
        400,
        f"Keys for idempotent requests can only be {rule}. Try using a key other than '{key}' if you meant to "
        "execute a different request.",
        kind="idempotency_error",
    )

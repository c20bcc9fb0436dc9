"""What an operation is given, and what it is."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec

from metering.stripe_emulator.errors import Json
from metering.stripe_emulator.faults import Faults
from metering.stripe_emulator.store import Store


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    """What is not known of Stripe, or differs from day to day, and so can be set.

    ``summary_lag_seconds``: how long a received event stays out of the summaries (emulator clock).
    ``latency_seconds``: how long each meter event executes (real time).
    ``v1_meter_errors``: whether v1 finds a missing or archived meter and a missing customer at once or later.
    ``draft_seconds``: the grace period from an invoice's draft to its finalization, 72 hours at most.
    ``payments``: what becomes of charges.
    ``webhook_signature_clock``: whether signatures carry the real time, as receivers know it, or the emulator's.
    """

    summary_lag_seconds: int = 0
    latency_seconds: float = 0.0
    v1_meter_errors: Literal["asynchronous", "synchronous"] = "asynchronous"
    draft_seconds: Annotated[int, msgspec.Meta(ge=0, le=72 * 3600)] = 3600
    payments: Literal["succeed", "fail"] = "succeed"
    webhook_signature_clock: Literal["real", "emulator"] = "real"


@dataclass(frozen=True, slots=True)
class Call:
    """One request that has passed its checks. ``now`` is in Unix seconds by the emulator's clock."""

    store: Store
    settings: Settings
    faults: Faults
    now: int
    parameters: Json
    path: dict[str, str]
    idempotency_key: str


def no_lane(parameters: Json) -> str | None:
    """Most operations do not exclude each other."""
    return None


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. ``lane`` names what only one request at a time may work on."""

    name: str
    run: Callable[[Call], Json]
    lane: Callable[[Json], str | None] = no_lane

    @property
    def api(self) -> str:
        """ "v1" or "v2"."""
        return self.name.partition(" /")[2][:2]


def new_id(prefix: str) -> str:
    """An id in the manner of Stripe: opaque, with a telling prefix."""
    return f"{prefix}_{secrets.token_hex(12)}"


def rfc3339(seconds: int) -> str:
    """Unix seconds as v2 writes time: UTC, milliseconds, ``Z``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")

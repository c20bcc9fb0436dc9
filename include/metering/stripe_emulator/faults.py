"""Faults that a test orders: each is spent on the next requests that match."""

import random
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

import msgspec

from metering.stripe_emulator.errors import Json, bad_request

Kind = Literal[
    "error_500_before",
    "error_500_after",
    "hang",
    "reset_before",
    "reset_after",
    "cut_body",
    "rate_limited_429",
    "rate_limited_429_retry",
    "conflict_409",
    "latency",
    "webhook_dropped",
    "webhook_duplicated",
    "webhook_delayed",
    "webhook_out_of_order",
    "payment_failed",
]

# A replayed reply executes nothing, so only what happens on the way can go wrong with it.
EXECUTING: frozenset[Kind] = frozenset({"error_500_before", "error_500_after", "latency"})

# What hits an event on its way to an endpoint, or a charge, hits no request.
_WEBHOOKS: frozenset[Kind] = frozenset(
    {"webhook_dropped", "webhook_duplicated", "webhook_delayed", "webhook_out_of_order"}
)
_PAYMENTS: frozenset[Kind] = frozenset({"payment_failed"})
_REQUESTS: frozenset[Kind] = frozenset(get_args(Kind)) - _WEBHOOKS - _PAYMENTS
_REPLAYED = _REQUESTS - EXECUTING

_MATCHABLE = frozenset(
    {"method", "path", "event_name", "identifier", "customer", "value", "idempotency_key", "type", "object"}
)


class Fault(msgspec.Struct, forbid_unknown_fields=True):
    """One ordered fault.

    ``times`` is how many requests it hits (None: until cleared), after letting ``skip`` matching ones through and
    drawing ``chance`` (0 to 1, repeatable by ``seed``) for each. ``match`` holds glob patterns over ``method``,
    ``path``, ``event_name``, ``identifier``, ``customer``, ``value`` and ``idempotency_key``; an empty one means
    meter events. A fault of webhooks matches ``type``, ``object`` (an id) and ``customer`` of the event, one of charges
    ``object`` and ``customer`` of the invoice; an empty match means all of them. ``seconds`` is the length of a hang
    (30 unless told) or of a latency (1), in real time, or how much later a delayed event is sent (600), by the clock.
    ``retry_after`` (seconds) adds that header to a 429. ``saved`` says whether a 500 is remembered under its
    idempotency key, as Stripe does.
    """

    kind: Kind
    times: int | None = 1
    skip: int = 0
    chance: float = 1.0
    seed: int = 0
    match: dict[str, str] = {}
    seconds: float | None = None
    retry_after: int | None = None
    saved: bool = True
    fired: int = 0

    @property
    def duration(self) -> float:
        """Seconds that a hang, a latency (both in real time) or a delay (by the clock) lasts."""
        if self.seconds is not None:
            return self.seconds
        return {"hang": 30.0, "webhook_delayed": 600.0}.get(self.kind, 1.0)


class Faults:
    """The faults in force, in the order they came. They live in memory: a restart clears them."""

    def __init__(self) -> None:
        self._ordered: list[tuple[Fault, random.Random]] = []

    def order(self, wanted: Any) -> None:
        """Add one fault or a list of them."""
        try:
            faults = msgspec.convert(wanted if isinstance(wanted, list) else [wanted], list[Fault])
        except msgspec.ValidationError as error:
            raise bad_request(f"This fault cannot be ordered: {error}") from error
        for fault in faults:
            unknown = fault.match.keys() - _MATCHABLE
            if unknown:
                raise bad_request(f"A fault cannot match on {', '.join(sorted(unknown))}.")
            if not fault.match and fault.kind not in _WEBHOOKS | _PAYMENTS:
                fault.match = {"method": "POST", "path": "/v?/billing/meter_event*"}
            # Not for secrets: a seeded draw makes a failing run repeatable.
            self._ordered.append((fault, random.Random(fault.seed)))  # noqa: S311 - repeatable, no secret

    def clear(self) -> None:
        """Forget every fault."""
        self._ordered.clear()

    def listed(self) -> list[Json]:
        """What is ordered and how often each has fired."""
        return [msgspec.to_builtins(fault) for fault, _ in self._ordered]

    def take(self, facts: dict[str, str], *, replayed: bool) -> Fault | None:
        """The fault that hits a request with these facts, spent by one."""
        if not self._ordered:
            return None
        return self._take(facts, _REPLAYED if replayed else _REQUESTS)

    def take_delivery(self, event: Json) -> Fault | None:
        """The fault that hits an event on its way to an endpoint."""
        about: Json = event["data"]["object"] if "data" in event else event.get("related_object") or {}
        customer = about["id"] if about.get("object") == "customer" else about.get("customer")
        facts = {"type": event["type"], "object": str(about.get("id", "")), "customer": str(customer or "")}
        return self._take(facts, _WEBHOOKS)

    def take_payment(self, facts: dict[str, str]) -> Fault | None:
        """The fault that hits a charge."""
        return self._take(facts, _PAYMENTS)

    def _take(self, facts: dict[str, str], kinds: frozenset[Kind]) -> Fault | None:
        for fault, dice in self._ordered:
            if fault.kind not in kinds:
                continue
            if fault.times is not None and fault.fired >= fault.times:
                continue
            if not all(fnmatchcase(facts.get(name, ""), pattern) for name, pattern in fault.match.items()):
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            if fault.chance < 1.0 and dice.random() >= fault.chance:
                continue
            fault.fired += 1
            return fault
        return None

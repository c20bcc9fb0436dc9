"""What happens by itself: each thing at its own moment of the emulator's clock, in order, however far it has moved."""

import asyncio
import json
import logging
import sqlite3
from collections.abc import Callable

import httpx

from metering.stripe_emulator import (
    billing_cycle,
    core_events,
    deliveries,
    drafts,
    event_destinations,
    finalization,
    objects,
    payments,
)
from metering.stripe_emulator.call import Call
from metering.stripe_emulator.clock import Clock
from metering.stripe_emulator.store import Store

_log = logging.getLogger("metering.stripe_emulator")
_NEVER = 2**62
_REPORTED = "reported_until"
_TICK_SECONDS = 0.2


class Life:
    """Runs what is due, and sends what is on its way.

    What is due changes the state without waiting for anything, so that a request never sees a moment half done; what
    is sent waits for its receiver, while other requests are answered.
    """

    def __init__(self, store: Store, clock: Clock, call_at: Callable[[int], Call]) -> None:
        self._store = store
        self._clock = clock
        self._call_at = call_at
        self._moving = asyncio.Lock()
        # Made when first needed: making one takes longer than a hundred meter events.
        self._sender: httpx.AsyncClient | None = None
        self.failures = 0
        self.next_due = 0
        self.look()

    def look(self) -> None:
        """Find out when something happens next."""
        row = self._store.one("next_due")
        self.next_due = min(_NEVER if row is None else row["due_at"], self._next_report())

    def _next_report(self) -> int:
        """When the next report of asynchronous validation is complete."""
        row = self._store.one("next_meter_error", since=int(self._store.setting(_REPORTED) or 0))
        if row is None or row["at"] is None:
            return _NEVER
        return int((row["at"] // core_events.SPAN_SECONDS + 1) * core_events.SPAN_SECONDS)

    def catch_up(self, now: int) -> None:
        """Run all that is due by a moment."""
        while self.next_due <= now:
            self._step()

    async def move(self, moment: int | None) -> None:
        """Put the clock somewhere. On its way ahead it stops wherever something is due, and all of it is done."""
        async with self._moving:
            # Meter events do not look for what they have made due.
            self.look()
            if moment is not None:
                await self._advance(moment, stop_on_the_way=True)
            self._clock.move(moment)

    async def run(self) -> None:
        """Do what the ticking clock brings, until cancelled."""
        try:
            while True:
                try:
                    async with self._moving:
                        self.look()
                        await self._advance(self._clock.now(), stop_on_the_way=False)
                except sqlite3.Error:
                    self.failures += 1
                    _log.exception("What was due could not be done.")
                await asyncio.sleep(_TICK_SECONDS)
        finally:
            if self._sender is not None:
                await self._sender.aclose()

    async def _advance(self, until: int, *, stop_on_the_way: bool) -> None:
        while True:
            delivery = self._store.one("next_delivery")
            sent_at = _NEVER if delivery is None else delivery["due_at"]
            if min(sent_at, self.next_due) > until:
                return
            if stop_on_the_way and min(sent_at, self.next_due) > self._clock.now():
                self._clock.move(min(sent_at, self.next_due))
            if delivery is not None and sent_at < self.next_due:
                await self._send(delivery)
            else:
                self._step()
                await asyncio.sleep(0)

    def _step(self) -> None:
        row = self._store.one("next_due")
        reported = self._next_report()
        with self._store.transaction():
            if reported <= (_NEVER if row is None else row["due_at"]) and reported < _NEVER:
                event_destinations.announce(self._call_at(reported), reported - core_events.SPAN_SECONDS)
                self._store.set_setting(_REPORTED, str(reported))
            elif row is not None:
                _happen(self._call_at(row["due_at"]), row["kind"], row["id"])
        self.look()

    async def _send(self, delivery: sqlite3.Row) -> None:
        if self._sender is None:
            self._sender = httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
        call = self._call_at(self._clock.now())
        target = deliveries.secret_of(call, delivery["endpoint"])
        delivered = target is not None and await deliveries.attempt(
            self._sender, *target, delivery["body"], deliveries.signing_time(call)
        )
        call = self._call_at(self._clock.now())
        with self._store.transaction():
            if target is None:
                deliveries.give_up(call, delivery)
            else:
                deliveries.settle(call, delivery, delivered=delivered)
            event = json.loads(delivery["body"])
            if event["type"] == "invoice.created":
                drafts.created_event_settled(call, event["data"]["object"]["id"])
        self.look()


def _happen(call: Call, kind: str, identity: str) -> None:
    thing = objects.get(call.store, kind, identity)
    if kind == "subscription":
        billing_cycle.run(call, thing)
    elif thing.body["status"] == "draft":
        finalization.run(call, thing)
    else:
        payments.attempt(call, thing)

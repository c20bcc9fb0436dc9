"""An application that sends usage through the client library, and keeps its own books about it."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Self

from usage_client import Tally, UsageClient, UsageClientError
from usage_client.retry import RetryPolicy

TEAMS = ("acme", "globex", "initech")
BEGIN = datetime(2026, 7, 1, tzinfo=UTC)
DAYS = 92
"""Three months, so that each batch goes to several partitions."""
REPLAYED = 0.05
"""The share of facts that are reported again, by whichever client, though they had been reported before."""
PATIENT = RetryPolicy(first_wait=0.02, longest_wait=0.5, give_up_after=600)


@dataclass(frozen=True)
class Fact:
    """Something that was used."""

    team: str
    quantity: Decimal
    time: datetime
    key: str | None
    """None: derived from the fact by the client library."""


class Load:
    """Clients that send facts, some of them repeatedly, until told to stop."""

    def __init__(
        self,
        addresses: Sequence[str],
        api_key: str,
        seed: str,
        spools: Path,
        *,
        batch: int = 40,
        pause: float = 0.02,
    ) -> None:
        """Four clients, sending to `addresses` in turn; each tracks a batch, then rests `pause` seconds.

        Two keep what they can't send in memory, one on disk in `spools`, and one writes there whatever it is given.
        """
        self.expected: dict[tuple[str, str], Fact] = {}
        """Every fact tracked, by team and key: what is to be counted, once each."""
        self._batch, self._pause = batch, pause
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self._clients = [
            UsageClient(
                addresses[number % len(addresses)],
                api_key,
                spool=spools / f"{seed}-{number}" if number >= 2 else None,
                durable=number == 3,
                batch_size=batch,
                connections=2,
                flush_seconds=0.02,
                max_pending=10 * batch,
                wait_for_room=True,
                raise_errors=True,
                retry=PATIENT,
                timeout=20,
            )
            for number in range(4)
        ]
        self._threads = [
            threading.Thread(target=self._run, args=(client, f"{seed}-{number}"), daemon=True)
            for number, client in enumerate(self._clients)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for client in self._clients:
            with contextlib.suppress(UsageClientError):  # a test that fails says why itself
                client.close(timeout=0)

    @property
    def answered(self) -> int:
        """Events that the service has answered for so far."""
        return sum(client.tally.sent for client in self._clients)

    def wait_for_answers(self, events: int = 1, seconds: float = 90) -> None:
        """Wait until so many more events have been answered for."""
        goal, deadline = self.answered + events, time.monotonic() + seconds
        while self.answered < goal:
            assert not self._failures, self._failures
            assert time.monotonic() < deadline, f"{self.answered} events answered for; {goal} waited for"
            time.sleep(0.01)

    def finish(self) -> Tally:
        """Stop, have everything delivered, and return the clients' tallies, added up."""
        self._stop.set()
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive()
        assert not self._failures, self._failures
        for client in self._clients:
            assert client.flush(timeout=180), client.tally
        tallies = [client.close() for client in self._clients]
        return Tally(**{f.name: sum(getattr(tally, f.name) for tally in tallies) for f in fields(Tally)})

    def _run(self, client: UsageClient, seed: str) -> None:
        rng, number = random.Random(seed), 0
        try:
            while not self._stop.wait(self._pause):
                if client.tally.tracked - client.tally.sent >= 10 * self._batch:
                    continue  # there is enough to send
                for _ in range(self._batch):
                    number += 1
                    self._track(client, self._again(rng) or _fact(rng, f"{seed}-{number}"))
        except BaseException as error:
            self._failures.append(error)

    def _track(self, client: UsageClient, fact: Fact) -> None:
        key = client.track(
            "work_done", fact.quantity, team=fact.team, unit="unit", time=fact.time, idempotency_key=fact.key
        )
        assert key is not None
        with self._lock:
            self.expected[fact.team, key] = fact

    def _again(self, rng: random.Random) -> Fact | None:
        if rng.random() >= REPLAYED:
            return None
        with self._lock:
            # The last of them: whoever sent it first may not have been answered yet.
            return next(reversed(self.expected.values()), None)


def _fact(rng: random.Random, key: str) -> Fact:
    return Fact(
        team=rng.choice(TEAMS),
        quantity=Decimal(rng.randrange(1, 10**9)).scaleb(-6),
        time=BEGIN + timedelta(microseconds=rng.randrange(DAYS * 86_400_000_000)),
        key=key if rng.random() < 0.5 else None,
    )

"""Rate limits of API keys: token buckets, counted by each service process for itself."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from metering.ingestion.replies import Refusal

ONE = 1 - 1e-6
"""An event, less what floats lose: whoever waits as long as was said comes in."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How much one key may send."""

    per_second: float
    """Events a second; a request that brings none counts as one."""
    burst: int
    """Events that may come at once after a pause."""


class Bucket:
    """What one key has left.

    Whoever has anything left comes in; what the request brings is taken afterwards, and may leave a debt that is waited
    for. So a batch larger than the burst is possible, nothing is decoded only to be refused, and the rate holds.
    """

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin full. `clock` gives seconds that never go back."""
        self.rate = rate
        self._clock = clock
        self._left = float(rate.burst)
        self._as_of = clock()

    @property
    def full(self) -> bool:
        """Whether nothing was taken that has not come back: then nobody needs to remember it."""
        return self._fill() >= self.rate.burst

    @property
    def empty(self) -> bool:
        """Whether nobody may come in now."""
        return self._fill() < ONE

    def enter(self) -> None:
        """Take one; raises `Refusal` (429, with the seconds to wait) where less is left."""
        if self._fill() < ONE:
            seconds = max(1, math.ceil((1 - self._left) / self.rate.per_second))
            message = (
                f"The API key may send {self.rate.per_second:g} events a second, {self.rate.burst} at once. "
                "Nothing of this request was kept; send it again."
            )
            raise Refusal(429, "rate_limited", message, retry_after=seconds)
        self._left -= 1

    def take(self, events: int) -> None:
        """Take the events that a request brought, of which `enter` took the first."""
        self._left -= max(0, events - 1)

    def follow(self, rate: Rate) -> None:
        """Go on by another rate; what is owed stays owed."""
        if rate != self.rate:
            self._left = min(self._fill(), rate.burst)
            self.rate = rate

    def _fill(self) -> float:
        now = self._clock()
        self._left = min(self.rate.burst, self._left + (now - self._as_of) * self.rate.per_second)
        self._as_of = now
        return self._left

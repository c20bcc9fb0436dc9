"""The emulator's clock: real time, shifted by what a test or the demo has asked for."""

import time
from email.utils import formatdate

from metering.stripe_emulator.store import Store

_SECOND_NS = 1_000_000_000


class Clock:
    """Unix time in whole seconds, UTC. A moved clock keeps ticking from where it was put.

    The shift is kept in the state file, so a restart does not bring old identifiers or keys back to life.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._shift_ns = int(store.setting("clock_shift_ns") or 0)
        self._date: tuple[int, str] = (-1, "")

    @property
    def moved(self) -> bool:
        """Whether the clock stands off real time."""
        return self._shift_ns != 0

    def now(self) -> int:
        """Whole seconds since the Unix epoch."""
        return (time.time_ns() + self._shift_ns) // _SECOND_NS

    def move(self, now: int | None) -> None:
        """Put the clock at ``now`` (Unix seconds, UTC), or back to real time with None."""
        self._shift_ns = 0 if now is None else now * _SECOND_NS - time.time_ns()
        self._store.set_setting("clock_shift_ns", str(self._shift_ns))

    def http_date(self) -> str:
        """The ``Date`` header. Formatted once a second, because every reply carries it."""
        now = self.now()
        if self._date[0] != now:
            self._date = (now, formatdate(now, usegmt=True))
        return self._date[1]

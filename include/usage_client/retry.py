"""When to try again, and how long to wait before: decided here, waited for elsewhere."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# Nothing is wrong with the batch: the service is busy, away, or did not say what became of it. Keys make repeating
# safe.
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class RetryPolicy:
    """Exponential backoff with full jitter; all in seconds."""

    first_wait: float = 0.2
    longest_wait: float = 30.0
    give_up_after: float = 300.0

    def wait(self, attempt: int, retry_after: str | None = None) -> float:
        """How long to wait after the `attempt`-th failure (from 1); never shorter than the service asked for.

        Jitter keeps many clients from coming back in the same instant, also after a Retry-After.
        """
        backoff = min(self.longest_wait, self.first_wait * 2.0 ** min(attempt - 1, 30))
        jitter = random.uniform(0, backoff)  # noqa: S311 - nothing secret hangs on it
        asked = parse_retry_after(retry_after)
        return max(jitter, self.first_wait / 4) if asked is None else asked + jitter / 4


def parse_retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds of a Retry-After header, which may hold seconds or an HTTP date (RFC 9110, 10.2.3); None without one."""
    if not value:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(min(int(value), 3600))
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return min(max(0.0, (until - (now or datetime.now(UTC))).total_seconds()), 3600.0)

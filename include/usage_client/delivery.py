"""One attempt to deliver events, and what its answer means."""

from __future__ import annotations

# These are imported at their first use else: a fork meanwhile leaves the child waiting for the import's lock for ever.
import encodings.idna  # noqa: F401 - so that it is there
import gzip
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpcore  # noqa: F401 - so that it is there
import httpx

from usage_client.retry import RETRIED, RetryPolicy

PATH = "/api/usage/track"


@dataclass(frozen=True)
class Answered:
    """The service has accounted for each event."""

    reply: Mapping[str, Any]


@dataclass(frozen=True)
class TooLarge:
    """Fewer events at a time might do."""

    reason: str


@dataclass(frozen=True)
class Impossible:
    """The same would be refused again."""

    reason: str


@dataclass(frozen=True)
class Later:
    """The service is away or busy, or nobody knows what became of it. Keys make it safe to send it again."""

    reason: str
    retry_after: str | None = None
    by_fault: bool = False
    """Whether the service was there and failed at it (500): if it does not fail at others, it is about these events."""


Outcome = Answered | TooLarge | Impossible | Later


class Delivery:
    """The way to the service; for several threads at once."""

    def __init__(self, url: str, api_key: str, *, compress: bool, make_http: Callable[[], httpx.Client]) -> None:
        self._address = url.rstrip("/") + PATH
        self._headers = {
            "authorization": f"Bearer {api_key}",
            "content-type": "application/json",
            "prefer": "return=minimal",
            **({"content-encoding": "gzip"} if compress else {}),
        }
        # What is wrong with these is said to whoever configures the client, not found out by a thread.
        httpx.Request("POST", self._address, headers=self._headers)
        self._compress = compress
        self._make_http = make_http
        # Now and not at the first request, since a fork amid the making of one leaves the child with closed locks.
        self._http: httpx.Client | None = make_http()
        self._lock = threading.Lock()

    def attempt(self, lines: Sequence[bytes]) -> Outcome:
        """Send events once. Raises nothing of the network."""
        body = b"[%b]" % b",".join(lines)
        if self._compress:
            body = gzip.compress(body, compresslevel=1, mtime=0)
        try:
            reply = self._client().post(self._address, content=body, headers=self._headers)
            if reply.is_success:
                accounts = reply.json()
                if not isinstance(accounts, dict):
                    raise ValueError("the reply accounts for nothing")
                return Answered(accounts)
        except (httpx.HTTPError, ValueError) as error:
            return Later(f"{type(error).__name__}: {error}")
        reason = f"{reply.status_code}: {reply.text[:500]}"
        if reply.status_code == 413 and len(lines) > 1:
            return TooLarge(reason)
        if reply.status_code in RETRIED:
            return Later(reason, reply.headers.get("retry-after"), reply.status_code == 500)
        return Impossible(reason)

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            if self._http is not None:
                self._http.close()

    def forget(self) -> httpx.Client | None:
        """In a forked process: give up the connections, which are the parent's and are not to be closed here."""
        self._lock = threading.Lock()
        http, self._http = self._http, None
        return http

    def _client(self) -> httpx.Client:
        if self._http is None:
            with self._lock:
                if self._http is None:
                    self._http = self._make_http()
        return self._http


class Pause:
    """Until when the service is to be left alone: one for all threads, so that they back off together."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._failures = 0
        self.total = 0
        """Failures, of all outages."""
        self._since = 0.0
        self._until = 0.0
        self._asked = False
        self._lock = threading.Lock()

    @property
    def left(self) -> float:
        """Seconds for which nothing is to be sent; 0 while the service answers."""
        return max(0.0, self._until - time.monotonic())

    @property
    def away(self) -> bool:
        """Whether the last attempt failed."""
        return self._failures > 0

    @property
    def asked(self) -> bool:
        """Whether it is the service that asked for it."""
        return self._asked

    def failed(self, retry_after: str | None) -> float:
        """Note a failure; return how many seconds to wait. Several at once are one."""
        with self._lock:
            left = self.left
            self.total += 1
            if left == 0:
                self._failures += 1
                self._asked = False
            self._asked = self._asked or retry_after is not None
            wait = max(left, self._policy.wait(self._failures, retry_after))
            self._since = time.monotonic()
            self._until = self._since + wait
            return wait

    def hurry(self) -> None:
        """Somebody waits: try soon, unless the service asked to be left alone."""
        with self._lock:
            if not self._asked:
                self._until = min(self._until, self._since + self._policy.first_wait)

    def answered(self) -> None:
        """The service is there."""
        with self._lock:
            self._failures, self._until, self._asked = 0, 0.0, False

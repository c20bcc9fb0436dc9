"""One API call as usage: what the middleware for ASGI and for WSGI have in common."""

from __future__ import annotations

import itertools
import os
import secrets
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal, TypedDict, Unpack

from usage_client.base import BaseClient

UNMATCHED = "(unmatched)"
"""The endpoint of calls that no route took. Not their path: anybody may call any, and each would be a dimension."""

CALLER_GONE = 499
"""The status of calls that were cancelled before their answer began, as web servers log it."""


@dataclass
class Call:
    """An API call, from its first line to the last byte of its answer."""

    context: Any
    """The scope (ASGI) or environ (WSGI), as the application has left it."""
    method: str
    path: str
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    began: int = field(default_factory=time.monotonic_ns)
    status: int | None = None
    """Of the answer; None until it has begun."""
    endpoint: str = UNMATCHED
    """The route's template, such as /items/{id}."""
    error: str | None = None
    """The type of the exception that ended it."""
    taken: int = 0
    """Nanoseconds."""

    def end(self, error: BaseException | None = None) -> None:
        """Note that it is over."""
        self.taken = time.monotonic_ns() - self.began
        if error is not None:
            self.error = type(error).__name__

    @property
    def duration_ms(self) -> Decimal:
        """How long it took, to the microsecond."""
        return Decimal(self.taken // 1000).scaleb(-3)


class Identities:
    """Keys for what happens once, in one process, and is never done again: that process and a number.

    A process that was forked off counts as another.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._process = 0
        self._numbers = itertools.count()
        self._name = ""

    def next(self) -> str:
        """The next key."""
        if self._process != os.getpid():
            self._name, self._numbers = f"{self._prefix}-{secrets.token_hex(8)}", itertools.count(1)
            self._process = os.getpid()
        return f"{self._name}-{next(self._numbers)}"


class CallOptions(TypedDict, total=False):
    """What the middleware can be told. The functions are asked when a call is over, and may look into its `context`."""

    event: str
    """The name of the events; api_request where it is left out."""
    unit: str
    team: Callable[[Call], str | None]
    """Who made the call; None: the team of the client or of its API key."""
    subject: Callable[[Call], str | None]
    """Who it was within the team."""
    properties: Callable[[Call], Mapping[str, Any]]
    """More of them, beside endpoint, method, status and duration_ms."""
    endpoint: Callable[[Call], str | None]
    """The template of the route, where the framework does not say it."""
    request_id: Callable[[Call], str | None]
    """The idempotency key, from an id that your own gateway gave. Not one that your customers send: whoever repeats it
    calls free of charge."""
    skip: Collection[str] | Callable[[Call], bool]
    """Endpoints or paths that are no usage, such as /health; or a function."""


class CallMeter:
    """Tracks calls. Whatever goes wrong in it, the call goes on."""

    def __init__(self, usage: BaseClient, **options: Unpack[CallOptions]) -> None:
        self._usage = usage
        self._options = options
        self._event = options.get("event", "api_request")
        skip = options.get("skip", ())
        self._skip = skip if callable(skip) else frozenset(skip)
        self._identities = Identities("call")

    def track(self, call: Call, endpoint: Callable[[], str | None]) -> None:
        """Track a call that is over; `endpoint` is what the framework says."""
        try:
            call.endpoint = (self._asked("endpoint", call) if "endpoint" in self._options else endpoint()) or UNMATCHED
            if self._skip(call) if callable(self._skip) else (call.endpoint in self._skip or call.path in self._skip):
                return
            gone = call.error == "CancelledError"
            properties: dict[str, Any] = {
                "endpoint": call.endpoint,
                "method": call.method,
                "status": call.status or (CALLER_GONE if gone else 500),
                "duration_ms": call.duration_ms,
            }
            if call.error is not None:
                properties["error"] = call.error
            properties.update(self._asked("properties", call) or {})
            self._usage.track(
                self._event,
                1,
                team=self._asked("team", call),
                unit=self._options.get("unit"),
                time=call.began_at,
                subject=self._asked("subject", call),
                properties=properties,
                idempotency_key=self._asked("request_id", call) or self._identities.next(),
            )
        except Exception as error:
            self._usage.drop(f"a call could not be metered: {error!r}")

    def _asked(self, name: Literal["team", "subject", "properties", "endpoint", "request_id"], call: Call) -> Any:
        question = self._options.get(name)
        return None if question is None else question(call)

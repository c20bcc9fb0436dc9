"""The express way through `POST /api/usage/track`: what most senders send, without a task, a router, a request object.

It may only say yes. It takes a request that is small, of JSON and not packed, whose key and catalog are remembered, and
of which nothing is refused as a whole. Whatever else it meets, it has changed nothing, and the request goes the
ordinary way from its beginning, which alone says what is wrong. So there is one definition of every reply; a test holds
the replies of the one way to those of the other.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial

from metering.ingestion.body import Body
from metering.ingestion.catalog import REFRESH_SECONDS
from metering.ingestion.events import Reject, Sorted
from metering.ingestion.formats import LINES, PRESUMED_JSON
from metering.ingestion.refusals import refusal_of
from metering.ingestion.replies import to_json
from metering.ingestion.request_body import MAX_BYTES_HELD
from metering.ingestion.service import Service
from metering.ingestion.tracking import OPERATIONS, account
from metering.ingestion.validation import Judge

Headers = Sequence[tuple[bytes, bytes]]
Reply = Callable[[int, Headers, bytes], None]
"""Takes a status, headers and a body."""

(_OPERATION,) = OPERATIONS
_NAME = _OPERATION.name
PATH = _OPERATION.path.encode()
MAX_BODY = 64 * 1024
"""Bytes of a body that is small; as much as is taken in of any body before somebody reads it."""
_JSON = frozenset(kind.encode() for kind in PRESUMED_JSON) | {
    b"application/json; charset=utf-8",
    b"application/json;charset=utf-8",
}
_LINES = frozenset(kind.encode() for kind in LINES)
_JSON_REPLY = (b"content-type", b"application/json")
# What says that a request is to be read in another way than this one.
_UNUSUAL = frozenset((b"content-encoding", b"transfer-encoding", b"expect", b"upgrade"))


class Express:
    """Answers usual requests."""

    def __init__(self, service: Service) -> None:
        """Land events by what `service` has."""
        self._service = service

    def may_take(self, method: bytes, url: bytes, headers: Headers) -> bool:
        """Whether it is worth waiting for the body of a request."""
        if url != PATH or method != b"POST":
            return False
        if [1 for name, _ in headers if name in _UNUSUAL]:
            return False  # whoever asks whether to go on (Expect) would wait for an answer
        lengths = [value for name, value in headers if name == b"content-length"]
        return len(lengths) == 1 and lengths[0].isdigit() and len(lengths[0]) < 6 and int(lengths[0]) <= MAX_BODY

    def take(self, headers: Headers, body: bytes, reply: Reply) -> bool:
        """Land the events of a request and `reply` once they are committed; False where it has to go the other way."""
        found: dict[bytes, bytes] = {}
        for name, value in headers:
            if name in found or name[:3] == b"ce-":
                return False
            found[name] = value
        service, kind = self._service, found.get(b"content-type", b"")
        lines = kind in _LINES
        catalog = service.catalog_now(REFRESH_SECONDS)
        access = service.door.remembered(found.get(b"authorization", b""), "track")
        if catalog is None or access is None or not (lines or kind in _JSON):
            return False
        bucket = access.bucket
        if (bucket is not None and bucket.empty) or service.queue.full:
            return False
        if service.bodies.bytes_held + len(body) > MAX_BYTES_HELD:
            return False
        started = time.perf_counter()
        try:
            sent = Body.parse(body, lines=lines)
            judge = Judge(catalog, team_id=access.team_id, team_key=access.team_key)
            events = judge.sort_body(sent)
            if events.refused or not len(events) or judge.may_be_outdated(events):
                return False
            landing = service.queue.enqueue(events)
        except Exception:  # whatever it is, the other way meets it too, and says it
            return False
        if bucket is not None:
            bucket.enter()
            bucket.take(len(events))
        service.bodies.bytes_held += len(body)
        brief = b"return=minimal" in found.get(b"prefer", b"")
        landing.add_done_callback(partial(self._answer, events, len(body), brief, started, reply))
        return True

    def _answer(
        self,
        events: Sorted,
        size: int,
        brief: bool,
        started: float,
        reply: Reply,
        landing: asyncio.Future[list[Reject]],
    ) -> None:
        service = self._service
        service.bodies.bytes_held -= size
        error = asyncio.CancelledError() if landing.cancelled() else landing.exception()
        code, status = None, 200
        spent = time.perf_counter() - started
        if error is None:
            kept = landing.result()
            if service.metrics.on:
                service.metrics.landed(events, kept, spent)
            reply(200, [_JSON_REPLY], to_json(account(events, kept, brief=brief)))
        else:
            refusal = refusal_of(error)
            service.refusals.log(logging.WARNING, "request_failed", status=refusal.status, code=refusal.code)
            response = refusal.reply()
            code, status = refusal.code, refusal.status
            headers = [header for header in response.raw_headers if header[0] != b"content-length"]
            reply(status, headers, bytes(response.body))
        if service.metrics.on:
            service.metrics.answered(_NAME, status, time.perf_counter() - started, code)

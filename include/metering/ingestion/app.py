"""The ingestion service: `POST /api/usage/track` and `GET /health`.

A request is answered with 2xx only once its events have been committed. What it says about each event is told in the
reply; one bad event never fails the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from typing import Any, Literal

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from metering.ingestion.access import Access, Denied, Door
from metering.ingestion.body import MAX_BYTES, Body, gunzip
from metering.ingestion.catalog import REFRESH_ON_MISS_SECONDS, REFRESH_SECONDS, Catalog
from metering.ingestion.events import Reject, Sorted, Unreadable
from metering.ingestion.landing import Landing
from metering.ingestion.logs import Throttle, log
from metering.ingestion.queue import GroupCommit, QueueFull
from metering.ingestion.validation import Judge
from metering.ingestion.worker import RETRY_AFTER, Unavailable, Worker

BODY_SECONDS = 30
"""How long a sender may take to send its body."""
MAX_BYTES_HELD = 256 * 1024 * 1024
"""Bytes of all bodies that are being worked on."""
HEALTH_SECONDS = 1.0

_CODES = {404: "no_such_route", 405: "wrong_method", 408: "too_slow", 413: "body_too_large", 415: "wrong_encoding"}
_LINES = ("application/x-ndjson", "application/jsonl", "application/x-jsonlines", "application/json-lines")


class EventReply(msgspec.Struct, omit_defaults=True):
    """What became of one event."""

    index: int
    status: Literal["accepted", "duplicate", "quarantined", "refused"]
    idempotency_key: str | None
    key_derived: bool
    reason: str | None = None
    field: str | None = None
    message: str | None = None


class TrackReply(msgspec.Struct):
    """What became of a request's events."""

    accepted: int
    duplicate: int
    quarantined: int
    refused: int
    events: list[EventReply]


_to_json = msgspec.json.Encoder().encode


class Service:
    """What the routes share."""

    def __init__(self, url: str, *, max_waiting: int | None = None) -> None:
        """Land events in the database at `url`."""
        self.lander = Worker(url, "billing-ingestion")
        self.reader = Worker(url, "billing-ingestion-reader")
        self.door = Door(self.reader)
        self.queue = GroupCommit(self.lander, **({} if max_waiting is None else {"max_waiting": max_waiting}))
        self.refusals = Throttle()
        self._catalog: Catalog | None = None
        self._catalog_lock = asyncio.Lock()
        self._health: tuple[float, str | None] | None = None
        self._health_lock = asyncio.Lock()
        self._bytes_held = 0

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Run the group commit as long as the service runs."""
        landing = asyncio.create_task(self.queue.run())
        log(logging.INFO, "started")
        try:
            yield
        finally:
            landing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await landing
            await self.lander.close()
            await self.reader.close()
            log(logging.INFO, "stopped")

    # Routes ---------------------------------------------------------------------------------------------------------

    async def track(self, request: Request) -> Response:
        """Land the events of a request and account for each of them."""
        self.queue.check_room()
        access = await self.door.admit(request.headers.get("authorization"), "track")
        held = 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                chunks: list[bytes] = []
                async for chunk in request.stream():
                    held += len(chunk)
                    self._hold(len(chunk))
                    if held > MAX_BYTES:
                        raise HTTPException(413, f"The body has more than {MAX_BYTES} bytes.")
                    chunks.append(chunk)
            text = await self._unpacked(b"".join(chunks), request.headers.get("content-encoding", ""))
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            body = Body.parse(text, lines=kind in _LINES)
            events = await self._judge(body, access)
            kept = await self.queue.land(events) if events.facts or events.rejects else []
        except TimeoutError:
            raise HTTPException(408, f"The body did not arrive within {BODY_SECONDS} seconds.") from None
        finally:
            self._hold(-held)
        if events.refused and len(events.refused) == len(events):
            first = events.refused[0]
            raise Denied(403, first.reason, first.message)
        brief = request.query_params.get("summary") == "1" or "return=minimal" in request.headers.get("prefer", "")
        return _json(200, account(events, kept, brief=brief))

    async def health(self, _: Request) -> Response:
        """Say 200 while events can be committed, else 503."""
        async with self._health_lock:
            if self._health is None or time.monotonic() - self._health[0] > HEALTH_SECONDS:
                self._health = (time.monotonic(), await self._failure())
        failure = self._health[1]
        state = {"status": "unavailable" if failure else "ready", "waiting": self.queue.waiting}
        if failure:
            return _json(503, {**state, "message": failure}, {"retry-after": str(RETRY_AFTER)})
        return _json(200, state)

    # Parts ----------------------------------------------------------------------------------------------------------

    def _hold(self, count: int) -> None:
        self._bytes_held += count
        if count > 0 and self._bytes_held > MAX_BYTES_HELD:
            raise QueueFull

    async def _unpacked(self, body: bytes, encoding: str) -> bytes:
        if encoding in ("", "identity"):
            return body
        if encoding == "gzip":
            return await asyncio.to_thread(gunzip, body)
        raise HTTPException(415, f"The Content-Encoding {encoding[:40]!r} is not supported; use gzip or none.")

    async def _judge(self, body: Body, access: Access) -> Sorted:
        catalog = await self._current_catalog(REFRESH_SECONDS)
        judge = Judge(catalog, team_id=access.team_id, team_key=access.team_key)
        events = judge.sort(body.events, body)
        if judge.may_be_outdated(events):
            newer = await self._current_catalog(REFRESH_ON_MISS_SECONDS)
            if newer is not catalog:
                judge = Judge(newer, team_id=access.team_id, team_key=access.team_key)
                events = judge.sort(body.events, body)
        return events

    async def _current_catalog(self, max_age: float) -> Catalog:
        if self._catalog is None or self._catalog.age > max_age:
            async with self._catalog_lock:
                if self._catalog is None or self._catalog.age > max_age:
                    self._catalog = await self.reader.run(lambda landing: Catalog.load(landing.connection))
        return self._catalog

    async def _failure(self) -> str | None:
        try:
            await self.reader.run(Landing.prove_commit)
        except Unavailable as error:
            return str(error)
        return None


def account(events: Sorted, kept: list[Reject], *, brief: bool) -> TrackReply:
    """Account for each event of a request; `brief` lists only those that were not accepted."""
    verdicts = [fact.verdict for fact in events.facts]
    replies = [
        EventReply(fact.index, fact.verdict, fact.key, fact.key_derived)
        for fact in events.facts
        if fact.verdict == "duplicate" or (fact.verdict == "accepted" and not brief)
    ]
    for status, rejects in (("quarantined", kept), ("refused", events.refused)):
        replies += [
            EventReply(r.index, status, r.key, r.key_derived, r.reason, r.field, r.message)  # type: ignore[arg-type]
            for r in rejects
        ]
    if kept or events.refused:
        replies.sort(key=lambda reply: reply.index)
    return TrackReply(
        accepted=verdicts.count("accepted"),
        duplicate=verdicts.count("duplicate"),
        quarantined=len(kept),
        refused=len(events.refused),
        events=replies,
    )


def create_app(url: str, *, max_waiting: int | None = None) -> Starlette:
    """The ASGI application, landing events in the database at `url`."""
    service = Service(url, max_waiting=max_waiting)

    def failed(status: int, code: str, message: str, headers: dict[str, str] | None = None, **more: Any) -> Response:
        service.refusals.log(logging.WARNING, "request_failed", status=status, code=code)
        return _json(status, {"error": {"code": code, "message": message, **more}}, headers)

    async def denied(_: Request, error: Exception) -> Response:
        assert isinstance(error, Denied)
        headers = {"www-authenticate": "Bearer"} if error.status == 401 else None
        return failed(error.status, error.code, error.message, headers)

    async def unreadable(_: Request, error: Exception) -> Response:
        assert isinstance(error, Unreadable)
        return failed(400, "unreadable_body", error.message, position=error.position)

    async def full(_: Request, __: Exception) -> Response:
        message = "Too many events wait for their commit; nothing of this request was kept. Send it again."
        return failed(429, "queue_full", message, {"retry-after": "1"})

    async def unavailable(_: Request, __: Exception) -> Response:
        message = "The database can't be reached. Send the request again: what was already kept counts once."
        return failed(503, "unavailable", message, {"retry-after": str(RETRY_AFTER)})

    async def http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = _CODES.get(error.status_code, "error")
        return failed(error.status_code, code, error.detail, dict(error.headers or {}))

    async def gone(_: Request, __: Exception) -> Response:
        return Response(status_code=499)

    async def unexpected(_: Request, error: Exception) -> Response:
        log(logging.ERROR, "unexpected_error", error=error)
        return failed(500, "internal_error", "This is our mistake, and it is in our log. Sending it again is safe.")

    app = Starlette(
        routes=[
            Route("/api/usage/track", service.track, methods=["POST"]),
            Route("/health", service.health, methods=["GET"]),
        ],
        exception_handlers={
            Denied: denied,
            Unreadable: unreadable,
            QueueFull: full,
            Unavailable: unavailable,
            HTTPException: http,
            ClientDisconnect: gone,
            Exception: unexpected,
        },
        lifespan=service.lifespan,
    )
    app.state.service = service
    return app


def _json(status: int, content: object, headers: dict[str, str] | None = None) -> Response:
    return Response(_to_json(content), status, headers, media_type="application/json")

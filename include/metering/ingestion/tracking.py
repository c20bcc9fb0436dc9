"""`POST /api/usage/track`: take usage events.

A request is answered with 2xx only once its events have been committed. What it says about each event is told in the
reply; one bad event never fails the others.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from metering.ingestion import cloudevents
from metering.ingestion.access import Access
from metering.ingestion.body import MAX_BYTES, MAX_EVENTS, Body
from metering.ingestion.catalog import REFRESH_ON_MISS_SECONDS, REFRESH_SECONDS
from metering.ingestion.cloudevents import CloudEvents
from metering.ingestion.compression import ENCODINGS, unpack
from metering.ingestion.events import MAX_KEY, Reject, Sorted
from metering.ingestion.formats import LINES, read_events
from metering.ingestion.headers import header
from metering.ingestion.operations import Content, Operation, Parameter, Reply
from metering.ingestion.replies import ProblemReply, Refusal, json_reply
from metering.ingestion.service import Service
from metering.ingestion.validation import Judge

Status = Literal["accepted", "duplicate", "quarantined", "refused"]


class EventReply(msgspec.Struct, omit_defaults=True):
    """What became of one event."""

    index: int
    status: Status
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


async def track(service: Service, request: Request, access: Access) -> Response:
    """Land the events of a request and account for each of them."""
    service.queue.check_room()
    async with service.bodies.hold(request) as held:
        text = await _unpacked(await held.read(), header(request, "content-encoding") or "")
        body = read_events(request, text)
        if access.bucket is not None:
            access.bucket.take(len(body))
        events = await sort(service, body, access)
        started = time.perf_counter()
        kept = await service.queue.land(events) if events.facts or events.rejects else []
    if service.metrics.on:
        service.metrics.landed(events, kept, time.perf_counter() - started)
    if events.refused and len(events.refused) == len(events):
        first = events.refused[0]
        raise Refusal(403, first.reason, first.message)
    return json_reply(account(events, kept, brief=_wants_brief(request)))


async def sort(service: Service, body: Body | CloudEvents, access: Access) -> Sorted:
    """Tell apart what may land of a body, by a catalog that knows what was made a moment ago."""
    catalog = await service.catalog(REFRESH_SECONDS)
    judge = Judge(catalog, team_id=access.team_id, team_key=access.team_key)
    events = _sorted(judge, body)
    if judge.may_be_outdated(events):
        newer = await service.catalog(REFRESH_ON_MISS_SECONDS)
        if newer is not catalog:
            events = _sorted(Judge(newer, team_id=access.team_id, team_key=access.team_key), body)
    return events


def _sorted(judge: Judge, body: Body | CloudEvents) -> Sorted:
    return judge.sort_body(body) if isinstance(body, Body) else judge.sort(body.events, body)


def account(events: Sorted, kept: list[Reject], *, brief: bool) -> TrackReply:
    """Account for each event of a request; `brief` lists only those that were not accepted."""
    verdicts = events.facts.tally()
    replies = [
        EventReply(fact.index, fact.verdict, fact.key, fact.key_derived)
        for fact in (events.facts if verdicts["duplicate"] or not brief else ())
        if fact.verdict == "duplicate" or (fact.verdict == "accepted" and not brief)
    ]
    unaccepted: tuple[tuple[Status, list[Reject]], ...] = (("quarantined", kept), ("refused", events.refused))
    for status, rejects in unaccepted:
        replies += [EventReply(r.index, status, r.key, r.key_derived, r.reason, r.field, r.message) for r in rejects]
    if kept or events.refused:
        replies.sort(key=lambda reply: reply.index)
    return TrackReply(
        accepted=verdicts["accepted"],
        duplicate=verdicts["duplicate"],
        quarantined=len(kept),
        refused=len(events.refused),
        events=replies,
    )


def _wants_brief(request: Request) -> bool:
    if request.scope["query_string"] and request.query_params.get("summary") == "1":
        return True
    return bool([1 for name, value in request.scope["headers"] if name == b"prefer" and b"return=minimal" in value])


async def _unpacked(body: bytes, encoding: str) -> bytes:
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    if name in ENCODINGS:
        return await asyncio.to_thread(unpack, body, name)
    message = f"The Content-Encoding {encoding[:40]!r} is not taken; {', '.join(ENCODINGS)} or none are."
    raise Refusal(415, "wrong_encoding", message)


# The OpenAPI document -----------------------------------------------------------------------------------------------

_ONE = {
    "team": "acme",
    "event": "api_request",
    "quantity": "1",
    "idempotency_key": "req-7f3a",
    "time": "2026-10-25T02:30:00Z",
    "properties": {"endpoint": "/v1/chat", "status": 200},
}

EVENT: dict[str, Any] = {
    "title": "Event",
    "description": "One usage event. A field that is not listed is a mistake and not ignored.",
    "type": "object",
    "anyOf": [
        {"required": ["event"], "properties": {"event": {"type": "string"}}},
        {"required": ["meter"], "properties": {"meter": {"type": "string"}}},
    ],
    "additionalProperties": False,
    "properties": {
        "event": {
            "type": ["string", "null"],
            "description": "The event's name; a meter must listen to it. Required where no `meter` is named.",
        },
        "meter": {
            "type": ["string", "null"],
            "description": "A meter's key, in place of `event`: the event is the one that this meter listens to, and "
            "it must count for it. Both ways make the same event, which counts for every meter that listens.",
        },
        "team": {
            "type": ["string", "null"],
            "description": "Who used it. May be left out where the API key belongs to a team.",
        },
        "quantity": {
            "type": ["string", "number"],
            "default": "1",
            "description": "A decimal, at most 10^20, with up to 12 digits after the point. Never rounded.",
        },
        "unit": {"type": ["string", "null"], "description": "If given, it must be the unit of a meter that listens."},
        "idempotency_key": {
            "type": ["string", "null"],
            "minLength": 1,
            "maxLength": MAX_KEY,
            "description": "What makes the event one and the same when it is sent again. Without it, one is derived.",
        },
        "time": {
            "type": ["string", "null"],
            "format": "date-time",
            "description": "When it happened, with a zone. Required where there is no key; else the time of arrival.",
        },
        "subject": {
            "type": ["string", "null"],
            "maxLength": MAX_KEY,
            "description": "Who or what within the team used it.",
        },
        "properties": {
            "type": "object",
            "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
            "description": "Up to 16 KiB as JSON.",
        },
        "observed_at": {
            "type": ["string", "null"],
            "format": "date-time",
            "description": "Where `time` is not known: when the sender came to know of it. It stands in for `time` and "
            "is no part of the content: with the same key and another `observed_at`, the first stands.",
        },
    },
}
EVENTS: dict[str, Any] = {"type": "array", "maxItems": MAX_EVENTS, "items": EVENT}

_CLOUD_EVENT = {
    "specversion": cloudevents.VERSION,
    "type": "api_request",
    "source": "https://api.example.com/eu",
    "id": "req-7f3a",
    "time": "2026-10-25T02:30:00Z",
    "data": {"team": "acme", "quantity": "1", "properties": {"endpoint": "/v1/chat"}},
}
CLOUD_EVENT: dict[str, Any] = {
    "title": "CloudEvent",
    "description": "CloudEvents 1.0. `source` and `id` together are the idempotency key, `type` is the event's name.",
    "type": "object",
    "required": ["specversion", "id", "source", "type"],
    "properties": {
        "specversion": {"const": cloudevents.VERSION},
        "id": {"type": "string", "minLength": 1},
        "source": {"type": "string", "format": "uri-reference", "minLength": 1},
        "type": {"type": "string", "minLength": 1},
        "subject": {"type": ["string", "null"], "minLength": 1, "maxLength": MAX_KEY},
        "time": EVENT["properties"]["time"],
        "datacontenttype": {"type": ["string", "null"], "description": "JSON, where it is given."},
        "data": {
            "type": ["object", "null"],
            "additionalProperties": False,
            "properties": {
                name: EVENT["properties"][name] for name in ("team", "meter", "quantity", "unit", "properties")
            },
        },
        "data_base64": {"type": ["string", "null"], "contentEncoding": "base64", "description": "Instead of `data`."},
    },
}

_REPLY = {
    "accepted": 1,
    "duplicate": 0,
    "quarantined": 1,
    "refused": 0,
    "events": [
        {"index": 0, "status": "accepted", "idempotency_key": "req-7f3a", "key_derived": False},
        {
            "index": 1,
            "status": "quarantined",
            "idempotency_key": "req-7f3b",
            "key_derived": False,
            "reason": "negative_quantity",
            "field": "quantity",
            "message": "The quantity -1 is negative, which its meter does not allow.",
        },
    ],
}

OPERATIONS = (
    Operation(
        "POST",
        "/api/usage/track",
        track,
        "track",
        summary="Send usage events",
        description=(
            f"One event, or up to {MAX_EVENTS:,}. The reply comes after the commit, never before, and accounts "
            "for each event; one bad event never fails the others. Sending again is always safe: a key counts once, "
            "ever.\n\n"
            "A CloudEvent is also taken in binary mode: its attributes as `ce-` headers, its data as the body."
        ),
        parameters=(
            Parameter("summary", "`1`: list only the events that were not accepted.", "1", {"type": "string"}),
            Parameter(
                "prefer",
                "`return=minimal` says the same as `summary=1`.",
                "return=minimal",
                {"type": "string"},
                where="header",
            ),
            Parameter(
                "content-encoding",
                "How the body is compressed, if it is.",
                "identity",
                {"enum": ["identity", *ENCODINGS]},
                where="header",
            ),
        ),
        body=(
            Content(
                {
                    "anyOf": [
                        EVENTS,
                        EVENT,
                        {"type": "object", "required": ["events"], "properties": {"events": EVENTS}},
                    ]
                },
                {
                    "a batch": [_ONE, {**_ONE, "idempotency_key": "req-7f3b", "quantity": "0.25"}],
                    "one event": _ONE,
                    "a batch, named": {"events": [_ONE]},
                    "of a meter": {"team": "acme", "meter": "api_requests", "idempotency_key": "req-7f3a"},
                    "of a key that belongs to a team": {"event": "api_request", "time": "2026-10-25T02:30:00Z"},
                },
            ),
            Content(
                {"type": "string", "description": "JSON lines: one event a line."},
                {"two events": '{"event": "a", "idempotency_key": "1"}\n{"event": "b", "idempotency_key": "2"}\n'},
                LINES[0],
            ),
            Content(CLOUD_EVENT, {"one CloudEvent": _CLOUD_EVENT}, cloudevents.SINGLE),
            Content({"type": "array", "items": CLOUD_EVENT}, {"a batch": [_CLOUD_EVENT]}, cloudevents.BATCH),
        ),
        replies={
            200: Reply("Every event is accounted for.", (Content(TrackReply, {"one good, one bad": _REPLY}),)),
            400: Reply(
                "The body can't be taken apart into events.",
                (
                    Content(
                        ProblemReply,
                        {
                            "not JSON": {
                                "error": {
                                    "code": "unreadable_body",
                                    "message": "The body is not JSON: trailing comma in array.",
                                    "position": 20,
                                }
                            }
                        },
                    ),
                ),
            ),
            408: Reply("The body took too long to arrive."),
            413: Reply(f"The body has, or unpacks to, more than {MAX_BYTES} bytes."),
            415: Reply("The body is of a type, or compressed in a way, that is not taken."),
        },
    ),
)

"""`GET /api/usage/events`: the events of a team, page by page or as a file; and the way of one of them to Stripe."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from metering.ingestion.access import Access
from metering.ingestion.operations import Content, Operation, Parameter, Reply
from metering.ingestion.replies import json_reply
from metering.ingestion.service import Service
from metering.reading.events import FIELDS, LOOK_BACK, MAX_PAGE, EventPage, Export, Search, page, search
from metering.reading.parameters import TEAM, Asked
from metering.reading.teams import Connection, Team, find_team
from metering.reading.trace import Trace, trace

FORMATS = {"json": "application/json", "jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}
_MOMENT = {"type": "string", "format": "date-time"}

FILTERS = (
    TEAM,
    Parameter("event", "Only events of this name.", "api_request"),
    Parameter("meter", "Only events that this meter counts.", "api_requests"),
    Parameter("subject", "Only those of this subject.", "user-17"),
    Parameter("key", "Only the event with this idempotency key.", "req-7f3a"),
    Parameter(
        "from",
        f"From this event time on. Left out: {LOOK_BACK.days} days before `until`.",
        "2026-10-01T00:00:00Z",
        _MOMENT,
    ),
    Parameter("until", "Before this event time. Left out: all there are.", "2026-11-01T00:00:00Z", _MOMENT),
    Parameter("cursor", "The `next_cursor` of the page before.", "AQAGQrM"),
    Parameter(
        "limit",
        "Events of a page.",
        100,
        {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": 100},
    ),
    Parameter(
        "format",
        "`json`: a page. `jsonl`, `csv`: all of them, as a file; `limit` does not count.",
        "json",
        {"enum": list(FORMATS), "default": "json"},
    ),
)
TRACED = (
    Parameter("key", "The event's idempotency key.", "req-7f3a", where="path"),
    TEAM,
)


async def usage_events(service: Service, request: Request, access: Access) -> Response:
    """List events, or write all of them."""
    asked = Asked(request, FILTERS)
    named, size = asked.text("team"), asked.whole("limit", 100, 1, MAX_PAGE)
    kind = asked.choice("format", tuple(FORMATS))
    wanted = search(
        time_from=asked.moment("from"),
        time_until=asked.moment("until"),
        event=asked.text("event"),
        meter=asked.text("meter"),
        subject=asked.text("subject"),
        key=asked.text("key"),
        cursor=asked.text("cursor"),
    )
    if kind == "json":

        def one_page(connection: Connection) -> EventPage:
            return page(connection, find_team(connection, access, named), wanted, size)

        return json_reply(await service.readers.run(one_page))
    return await _export(service, request, access, named, wanted, kind)


async def _export(
    service: Service, request: Request, access: Access, named: str | None, wanted: Search, kind: str
) -> Response:
    def begin(connection: Connection) -> tuple[Team, Export, bytes]:
        team = find_team(connection, access, named)
        export = Export(team, wanted, kind)
        return team, export, export.piece(connection)

    team, export, first = await service.readers.run(begin)
    name = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in team.team_key)
    headers = {
        "content-disposition": f'attachment; filename="usage-{name}.{kind}"',
        "cache-control": "private, no-store",
    }
    if request.method == "HEAD":
        return Response(headers=headers, media_type=FORMATS[kind])

    async def pieces() -> AsyncIterator[bytes]:
        written = first
        while written:
            yield written
            written = await service.readers.run(export.piece, has_begun=True) if export.asked else b""

    return StreamingResponse(pieces(), headers=headers, media_type=FORMATS[kind])


async def event_trace(service: Service, request: Request, access: Access) -> Response:
    """Follow one event."""
    asked = Asked(request, TRACED)
    named, key = asked.text("team"), asked.required("key")

    def follow(connection: Connection) -> Trace:
        return trace(connection, find_team(connection, access, named), key)

    return json_reply(await service.readers.run(follow))


_EVENT: dict[str, Any] = {
    "event": "api_request",
    "quantity": "1",
    "idempotency_key": "req-7f3a",
    "time": "2026-10-25T02:30:00Z",
    "recorded_at": "2026-10-25T02:30:00.413209Z",
    "properties": {"endpoint": "search", "status": 200},
}
_PAGE = {
    "team": "acme",
    "time_from": "2026-10-01T00:00:00Z",
    "time_until": "2026-11-01T00:00:00Z",
    "events": [_EVENT],
    "next_cursor": "AQAGQrMb3uAAm4M1ySRW2dNyrpZ_mYE9Zg",
}
_TIER = {
    "tier": 1,
    "over": "0",
    "up_to": None,
    "quantity": "52800",
    "unit_amount": "0.001",
    "usage_amount": "52.8",
    "fixed_amount": "0",
}
_TRACE = {
    "team": "acme",
    "idempotency_key": "req-7f3a",
    "event": {
        "time": "2026-10-25T02:30:00Z",
        "archived": False,
        "event": "api_request",
        "quantity": "1",
        "unit": None,
        "subject": None,
        "properties": {"endpoint": "search"},
        "recorded_at": "2026-10-25T02:30:00.413209Z",
        "source": "http",
        "withdrawn_at": None,
        "withdrawn_because": None,
    },
    "meters": [
        {
            "meter": "api_requests",
            "unit": "request",
            "reached": "confirmed",
            "bucket": {
                "start": "2026-10-25T02:30:00Z",
                "dimensions": {"endpoint": "search"},
                "value": "1",
                "quantity": "311",
                "events": 311,
                "metered_at": "2026-10-25T03:00:02.102931Z",
                "run": "airflow scheduled__2026-10-25T03:00:00+00:00",
            },
            "usage": [{"window": "day", "start": "2026-10-25T00:00:00Z", "quantity": "9120", "events": 9120}],
            "rated": [
                {
                    "subscription": "main",
                    "period": "2026-10",
                    "price": "standard/search",
                    "line": "standard/search@2026-10-01T00:00Z",
                    "charge_unit": "request",
                    "tiers": [_TIER],
                    "bill_lines": [
                        {
                            "on_bill": "2026-10",
                            "status": "active",
                            "kind": "usage",
                            "line": "standard/search@2026-10-01T00:00Z",
                            "quantity": "52800",
                            "amount": "52.80",
                            "currency": "EUR",
                            "bill_total": "77.80",
                            "final_at": None,
                        }
                    ],
                    "rated_at": "2026-10-25T03:01:10Z",
                }
            ],
            "stripe": [
                {
                    "start": "2026-10-25T00:00:00Z",
                    "end": "2026-10-26T00:00:00Z",
                    "due": "9120",
                    "target": "9120",
                    "target_at": "2026-10-25T03:20:00Z",
                    "accepted": "9120",
                    "on_its_way": "0",
                    "held": None,
                    "submissions": [
                        {
                            "sequence": 1,
                            "identifier": "mb1-0f3a-s1-77c2",
                            "quantity": "9120",
                            "state": "confirmed",
                            "created_at": "2026-10-25T03:20:01Z",
                            "accepted_at": "2026-10-25T03:20:02Z",
                            "confirmed_at": "2026-10-25T04:30:11Z",
                            "error": None,
                        }
                    ],
                }
            ],
        }
    ],
    "note": None,
}

OPERATIONS = (
    Operation(
        "GET",
        "/api/usage/events",
        usage_events,
        "read",
        summary="The events of a team",
        description=(
            "As they landed, the newest first, by filters; fields are named as they are sent. A page tells the cursor "
            "of the next. As `csv` or `jsonl`, all of them are written as they are read. Months that have been "
            "archived are left out. A withdrawn event is listed and says so."
        ),
        replies={
            200: Reply(
                "A page, or all events as a file.",
                (
                    Content(EventPage, {"a page": _PAGE}),
                    Content(
                        {"type": "string", "description": "One event a line."},
                        {"an event": '{"event": "api_request", "quantity": "1", "idempotency_key": "req-7f3a", …}\n'},
                        "application/x-ndjson",
                    ),
                    Content(
                        {"type": "string", "description": "One event a row, after a header."},
                        {"the header": ",".join(FIELDS)},
                        "text/csv",
                    ),
                ),
            ),
            404: Reply("There is no such team or meter."),
        },
        parameters=FILTERS,
    ),
    Operation(
        "GET",
        "/api/usage/events/{key:path}/trace",
        event_trace,
        "read",
        summary="What became of an event?",
        description=(
            "From the event to the quarter-hour of each meter that counts it, the local hour, day and month, the line "
            "and its tiers, the bill, and what was sent to Stripe. `reached` is the last step that all of the "
            "quarter-hour's usage has taken."
        ),
        replies={
            200: Reply("Its way.", (Content(Trace, {"an event that Stripe has counted": _TRACE}),)),
            404: Reply("The team has no event with this key: it never landed, or is in quarantine."),
        },
        parameters=TRACED,
    ),
)

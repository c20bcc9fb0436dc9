"""`/api/usage/quarantine…`: what could not be counted, looked at, mended, sent again, discarded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from metering.errors import BillingError
from metering.ingestion.access import Access
from metering.ingestion.body import decode_object
from metering.ingestion.events import Malformed
from metering.ingestion.operations import Content, Operation, Parameter, Reply
from metering.ingestion.replies import Refusal, json_reply
from metering.ingestion.service import Service
from metering.quarantine import entries
from metering.quarantine.entries import Actor, Choice, Connection, Count, EntryDetail, EntryPage, NoEntry
from metering.quarantine.mending import MAX_PAYLOAD, mend
from metering.quarantine.resending import Resending, resend
from metering.reading.parameters import TEAM, Asked
from metering.reading.teams import NotFound, Unusable, find_team

Result = TypeVar("Result")

MOST = 10_000
"""Entries that one request may send again or discard."""

_STATUS = ("held", "resent", "discarded")
_TEAM = Parameter(
    "team", "Whose. Left out with a key for any team: all, those of unknown teams included.", TEAM.example
)
_REASON = Parameter("reason", "Only those that can't be counted for this reason.", "unknown_event")
_SOURCE = Parameter("source", "Only those from here: `http`, or `file:<name>`.", "http")
_DRY_RUN = Parameter("dry_run", "`1`: say what would happen; nothing is changed.", "1", {"enum": ["0", "1"]})
_LIMIT = Parameter(
    "limit", "Entries of a page.", 100, {"type": "integer", "minimum": 1, "maximum": entries.MAX_PAGE, "default": 100}
)
_WHICH = Parameter("status", "Only those.", "held", {"enum": [*_STATUS, "all"], "default": "held"})
_ID = Parameter("id", "The entry, as a list names it.", "7-0b3f1c7a52d84a5e9d54a1b2c3d4e5f6", where="path")

FILTERS = (_TEAM, _WHICH, _REASON, _SOURCE)
LIST = (*FILTERS, Parameter("cursor", "The `next_cursor` of the page before.", "AgAGQrM"), _LIMIT)
ONE = (_ID,)
BULK = (_TEAM, _REASON, _SOURCE, _DRY_RUN)


class Counts(msgspec.Struct):
    """How many entries there are."""

    counts: list[Count]


class Chosen(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Which entries a bulk action is about, beside the filters of the query."""

    ids: list[str] | None = None
    note: str | None = None
    """Why, for the history; of discarding only."""


class Changed(msgspec.Struct):
    """How many entries were changed."""

    dry_run: bool
    entries: int


async def quarantine_list(service: Service, request: Request, access: Access) -> Response:
    """List entries."""
    asked = Asked(request, LIST)
    size, cursor = asked.whole("limit", 100, 1, entries.MAX_PAGE), asked.text("cursor")

    def find(connection: Connection) -> EntryPage:
        return entries.find(connection, _actor(access), _choice(connection, access, asked), cursor=cursor, size=size)

    return json_reply(await _read(service, find))


async def quarantine_counts(service: Service, request: Request, access: Access) -> Response:
    """Count entries by team, status and reason."""
    asked = Asked(request, FILTERS)

    def count(connection: Connection) -> Counts:
        return Counts(entries.count(connection, _actor(access), _choice(connection, access, asked)))

    return json_reply(await _read(service, count))


async def quarantine_show(service: Service, request: Request, access: Access) -> Response:
    """Show one entry."""
    entry_id = Asked(request, ONE).required("id")
    return json_reply(await _read(service, lambda connection: entries.show(connection, _actor(access), entry_id)))


async def quarantine_mend(service: Service, request: Request, access: Access) -> Response:
    """Change what is sent in an entry's place."""
    entry_id = Asked(request, ONE).required("id")
    patch = decode_object(await _body(service, request))
    if isinstance(patch, Malformed):
        message = "The body has to be a JSON object of the fields to change, null to remove one."
        raise Unusable("unreadable_body", f"{message} {patch.message}")
    changes = patch
    return json_reply(await _write(service, lambda connection: mend(connection, _actor(access), entry_id, changes)))


async def quarantine_resend(service: Service, request: Request, access: Access) -> Response:
    """Send held entries again."""
    asked = Asked(request, BULK)
    chosen = await _chosen(service, request, asked)
    dry_run = asked.choice("dry_run", ("0", "1")) == "1"
    choice = await _read(service, lambda connection: _bulk(connection, access, asked, chosen))
    told = await _told(
        service.menders.land(lambda landing: resend(landing, _actor(access), choice, dry_run=dry_run, most=MOST))
    )
    return json_reply(told)


async def quarantine_discard(service: Service, request: Request, access: Access) -> Response:
    """Discard held entries."""
    asked = Asked(request, BULK)
    chosen = await _chosen(service, request, asked)
    dry_run = asked.choice("dry_run", ("0", "1")) == "1"

    def discard(connection: Connection) -> Changed:
        choice = _bulk(connection, access, asked, chosen)
        changed = entries.discard(connection, _actor(access), choice, note=chosen.note or "", dry_run=dry_run)
        return Changed(dry_run, changed)

    return json_reply(await _write(service, discard))


async def quarantine_restore(service: Service, request: Request, access: Access) -> Response:
    """Hold discarded entries again."""
    asked = Asked(request, BULK)
    chosen = await _chosen(service, request, asked)
    dry_run = asked.choice("dry_run", ("0", "1")) == "1"

    def restore(connection: Connection) -> Changed:
        choice = _bulk(connection, access, asked, chosen)
        return Changed(dry_run, entries.restore(connection, _actor(access), choice, dry_run=dry_run))

    return json_reply(await _write(service, restore))


# Parts --------------------------------------------------------------------------------------------------------------


def _actor(access: Access) -> Actor:
    return Actor(f"API key {access.hint}", access.team_id, access.team_key)


def _choice(connection: Connection, access: Access, asked: Asked) -> Choice:
    named = asked.text("team")
    team_id = None if named is None and access.team_id is None else find_team(connection, access, named).team_id
    status = asked.choice("status", (*_STATUS, "all"))
    return Choice(
        team_id=team_id,
        status=None if status == "all" else status,  # type: ignore[arg-type] # one of the choices
        reason=asked.text("reason"),
        source=asked.text("source"),
    )


def _bulk(connection: Connection, access: Access, asked: Asked, chosen: Chosen) -> Choice:
    choice = _choice(connection, access, asked)
    ids = None if chosen.ids is None else entries.ids(chosen.ids, _actor(access))
    return Choice(choice.team_id, "held", choice.reason, choice.source, ids)


async def _chosen(service: Service, request: Request, asked: Asked) -> Chosen:
    """What the body says; a request that would be about everything must say so by a filter or by ids."""
    body = await _body(service, request)
    try:
        chosen = msgspec.json.decode(body, type=Chosen) if body.strip() else Chosen()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Unusable("unreadable_body", 'The body is not {"ids": [...]}, or empty.') from None
    if chosen.ids is not None and not 0 < len(chosen.ids) <= MOST:
        raise Unusable("wrong_ids", f"Give from 1 to {MOST} ids.")
    if chosen.note and (len(chosen.note) > 1_000 or "\0" in chosen.note):
        raise Unusable("wrong_note", "The note has more than 1,000 characters, or a zero byte.")
    if chosen.ids is None and asked.text("reason") is None and asked.text("source") is None:
        raise Unusable(
            "nothing_chosen", "Say which entries are meant: by `reason`, by `source`, or by ids in the body."
        )
    return chosen


async def _body(service: Service, request: Request) -> bytes:
    async with service.bodies.hold(request) as held:
        body = await held.read()
    if len(body) > max(MAX_PAYLOAD, MOST * 64):
        raise Refusal(413, "body_too_large", "The body is too large.")
    return body


async def _read(service: Service, function: Callable[[Connection], Result]) -> Result:
    return await _told(service.readers.run(function))


async def _write(service: Service, function: Callable[[Connection], Result]) -> Result:
    return await _told(service.menders.run(function))


async def _told(answer: Awaitable[Result]) -> Result:
    try:
        return await answer
    except NoEntry as error:
        raise NotFound("unknown_entry", str(error)) from None
    except BillingError as error:
        raise Refusal(409, "not_possible", str(error)) from None


# The OpenAPI document -----------------------------------------------------------------------------------------------

_ENTRY: dict[str, Any] = {
    "id": "7-0b3f1c7a52d84a5e9d54a1b2c3d4e5f6",
    "team": "acme",
    "status": "held",
    "reason": "unknown_event",
    "field": "event",
    "message": "No meter listens to the event 'api_requst'.",
    "source": "http",
    "line": None,
    "times_seen": 3,
    "first_recorded_at": "2026-10-25T02:30:00.413209Z",
    "last_recorded_at": "2026-10-25T02:31:12.000871Z",
    "mended": False,
}
_DETAIL = {
    **_ENTRY,
    "mended": True,
    "payload": '{"event": "api_requst", "idempotency_key": "req-7f3a", "time": "2026-10-25T02:30:00Z"}',
    "mended_payload": '{"event":"api_request","idempotency_key":"req-7f3a","time":"2026-10-25T02:30:00Z"}',
    "first_reason": "unknown_event",
    "history": [
        {
            "at": "2026-10-25T09:12:40.551Z",
            "action": "mended",
            "by": "API key bk_1a2b3c",
            "payload": '{"event":"api_request","idempotency_key":"req-7f3a","time":"2026-10-25T02:30:00Z"}',
        }
    ],
}
_RESENT = {
    "dry_run": False,
    "accepted": 41,
    "duplicate": 1,
    "quarantined": 1,
    "reasons": {"unit_mismatch": 1},
    "entries": [
        {"id": "7-0b3f1c7a52d84a5e9d54a1b2c3d4e5f6", "outcome": "accepted", "idempotency_key": "req-7f3a"},
        {
            "id": "7-1c3f1c7a52d84a5e9d54a1b2c3d4e5f6",
            "outcome": "quarantined",
            "idempotency_key": "req-7f3b",
            "reason": "unit_mismatch",
            "field": "unit",
            "message": "The unit is 'GB'; 'api_request' is measured in request.",
        },
    ],
}
_CHOSEN = (
    Content(
        Chosen,
        {"by id": {"ids": ["7-0b3f1c7a52d84a5e9d54a1b2c3d4e5f6"]}, "by the filters of the query": {}},
    ),
)
_NOT_POSSIBLE = Reply("It can't be done, for the reason that the message gives.")

OPERATIONS = (
    Operation(
        "GET",
        "/api/usage/quarantine",
        quarantine_list,
        "read",
        summary="What could not be counted?",
        description="Events in quarantine, the last seen first, each with its reason.",
        replies={
            200: Reply("A page.", (Content(EntryPage, {"a page": {"entries": [_ENTRY], "next_cursor": None}}),)),
            404: Reply("There is no such team."),
            409: _NOT_POSSIBLE,
        },
        parameters=LIST,
        tag="quarantine",
    ),
    Operation(
        "GET",
        "/api/usage/quarantine/counts",
        quarantine_counts,
        "read",
        summary="How many could not be counted, and why?",
        description="Entries by team, status and reason, the most first.",
        replies={
            200: Reply(
                "The counts.",
                (
                    Content(
                        Counts,
                        {
                            "one reason": {
                                "counts": [
                                    {
                                        "team": "acme",
                                        "status": "held",
                                        "reason": "unknown_event",
                                        "entries": 43,
                                        "times_seen": 129,
                                        "last_recorded_at": "2026-10-25T02:31:12.000871Z",
                                    }
                                ]
                            }
                        },
                    ),
                ),
            ),
            404: Reply("There is no such team."),
        },
        parameters=FILTERS,
        tag="quarantine",
    ),
    Operation(
        "POST",
        "/api/usage/quarantine/resend",
        quarantine_resend,
        "admin",
        summary="Send held events again",
        description=(
            "Such as after a meter was added that was missing. They go through the same validation and landing as all "
            f"others, and count once however often they are sent again. At most {MOST:,} at once, chosen by reason, "
            "source or ids. An event without a time occurred when it first came here."
        ),
        replies={
            200: Reply("What became of them.", (Content(Resending, {"most of them count now": _RESENT}),)),
            404: Reply("There is no such team or entry."),
            409: _NOT_POSSIBLE,
        },
        parameters=BULK,
        body=_CHOSEN,
        tag="quarantine",
    ),
    Operation(
        "POST",
        "/api/usage/quarantine/discard",
        quarantine_discard,
        "admin",
        summary="Decide that held events are not to count",
        description="They stay, with who has discarded them and why, and can be restored. Chosen as for sending again.",
        replies={
            200: Reply("How many.", (Content(Changed, {"discarded": {"dry_run": False, "entries": 43}}),)),
            404: Reply("There is no such team or entry."),
            409: _NOT_POSSIBLE,
        },
        parameters=BULK,
        body=(
            Content(
                Chosen,
                {"by id": {"ids": ["7-0b3f1c7a52d84a5e9d54a1b2c3d4e5f6"], "note": "a test of ours"}},
            ),
        ),
        tag="quarantine",
    ),
    Operation(
        "POST",
        "/api/usage/quarantine/restore",
        quarantine_restore,
        "admin",
        summary="Hold discarded events again",
        description="Takes discarding back.",
        replies={
            200: Reply("How many.", (Content(Changed, {"restored": {"dry_run": False, "entries": 43}}),)),
            404: Reply("There is no such team or entry."),
            409: _NOT_POSSIBLE,
        },
        parameters=BULK,
        body=_CHOSEN,
        tag="quarantine",
    ),
    Operation(
        "GET",
        "/api/usage/quarantine/{id}",
        quarantine_show,
        "read",
        summary="One event that could not be counted",
        description="What was sent, why it could not be counted, and what was done about it, by whom.",
        replies={
            200: Reply("The entry.", (Content(EntryDetail, {"mended, and not sent again yet": _DETAIL}),)),
            404: Reply("There is no such entry, or it is another team's."),
        },
        parameters=ONE,
        tag="quarantine",
    ),
    Operation(
        "PATCH",
        "/api/usage/quarantine/{id}",
        quarantine_mend,
        "admin",
        summary="Mend an event that could not be counted",
        description=(
            "A JSON merge patch of the event: fields to change, null to remove one. All others stay, the idempotency "
            "key included. What was sent is kept beside it. Send it again afterwards."
        ),
        replies={
            200: Reply("The entry.", (Content(EntryDetail, {"mended": _DETAIL}),)),
            404: Reply("There is no such entry, or it is another team's."),
            409: Reply("The entry is not held."),
        },
        parameters=ONE,
        body=(Content({"type": "object"}, {"the event's name": {"event": "api_request"}, "no unit": {"unit": None}}),),
        tag="quarantine",
    ),
)

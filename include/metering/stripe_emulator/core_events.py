"""Thin events: what asynchronous validation found, gathered per meter and span of ten seconds."""

import hashlib
import sqlite3
from collections import defaultdict
from urllib.parse import urlencode

from metering.stripe_emulator import meters
from metering.stripe_emulator.call import Call, rfc3339
from metering.stripe_emulator.errors import Json, bad_request, no_such
from metering.stripe_emulator.meter_events import unix_seconds
from metering.stripe_emulator.pages import limit_of

URL = "/v2/core/events"
SPAN_SECONDS = 10
KEPT_SECONDS = 30 * 24 * 3600
_MAX_SAMPLES = 5


def retrieve(call: Call) -> Json:
    """GET /v2/core/events/{id}"""
    for event in _events(call):
        if event["id"] == call.path["id"]:
            return event
    raise no_such("event", call.path["id"])


def list_all(call: Call) -> Json:
    """GET /v2/core/events, newest first; pages are followed by ``next_page_url``."""
    wanted = call.parameters
    limit = limit_of(wanted)
    found = [event for event in _events(call) if _is_wanted(event, wanted)]
    page = wanted.get("page", "0")
    if not page.isdecimal():
        raise bad_request(f"Invalid page: {page}", param="page")
    at = int(page)
    return {
        "data": found[at : at + limit],
        "next_page_url": _page_url(wanted, at + limit) if at + limit < len(found) else None,
        "previous_page_url": _page_url(wanted, max(at - limit, 0)) if at else None,
    }


def _events(call: Call) -> list[Json]:
    """Reports exist once their span is over: before that, Stripe is still validating."""
    over = call.now // SPAN_SECONDS * SPAN_SECONDS
    return reports(call, call.now - KEPT_SECONDS, over)


def reports(call: Call, since: int, before: int) -> list[Json]:
    """What validation has found from one moment up to another (Unix seconds), newest first."""
    spans: dict[tuple[int, str], list[sqlite3.Row]] = defaultdict(list)
    for row in call.store.all("meter_errors", since=since, before=before):
        spans[(row["at"] // SPAN_SECONDS * SPAN_SECONDS, row["meter_id"] or "")].append(row)
    return [_report(start, meter_id, spans[start, meter_id]) for start, meter_id in sorted(spans, reverse=True)]


def _report(start: int, meter_id: str, rows: list[sqlite3.Row]) -> Json:
    end = start + SPAN_SECONDS
    event: Json = {
        "object": "v2.core.event",
        "id": f"evt_test_{hashlib.sha256(f'{start} {meter_id}'.encode()).hexdigest()[:24]}",
        "type": "v1.billing.meter.error_report_triggered" if meter_id else "v1.billing.meter.no_meter_found",
        "created": rfc3339(end),
        "livemode": False,
        "context": None,
        "changes": None,
        "reason": None,
        "snapshot_event": None,
        "data": {
            "developer_message_summary": f"There {_are(len(rows))} in the meter events of this span.",
            "reason": {"error_count": len(rows), "error_types": _error_types(rows)},
            "validation_start": rfc3339(start),
            "validation_end": rfc3339(end),
        },
    }
    if meter_id:
        event["related_object"] = {"id": meter_id, "type": "billing.meter", "url": f"{meters.URL}/{meter_id}"}
    return event


def _error_types(rows: list[sqlite3.Row]) -> list[Json]:
    by_code: dict[str, list[sqlite3.Row]] = defaultdict(list)
    for row in rows:
        by_code[row["code"]].append(row)
    return [
        {
            "code": code,
            "error_count": len(errors),
            # Samples, not a list of all: a reader that needs every one of them must not find them here either.
            "sample_errors": [
                {"error_message": row["message"], "request": {"identifier": row["idempotency_key"]}}
                for row in errors[:_MAX_SAMPLES]
            ],
        }
        for code, errors in sorted(by_code.items())
    ]


def _is_wanted(event: Json, wanted: Json) -> bool:
    if "types" in wanted and event["type"] not in wanted["types"]:
        return False
    if "object_id" in wanted and event.get("related_object", {}).get("id") != wanted["object_id"]:
        return False
    created = unix_seconds(event["created"], "created")
    bounds = {name: unix_seconds(text, f"created[{name}]") for name, text in wanted.get("created", {}).items()}
    return (
        created > bounds.get("gt", created - 1)
        and created >= bounds.get("gte", created)
        and created < bounds.get("lt", created + 1)
        and created <= bounds.get("lte", created)
    )


def _page_url(wanted: Json, at: int) -> str:
    query = [("page", str(at))]
    query += [(name, str(wanted[name])) for name in ("limit", "object_id") if name in wanted]
    query += [(f"types[{position}]", name) for position, name in enumerate(wanted.get("types", []))]
    query += [(f"created[{name}]", text) for name, text in wanted.get("created", {}).items()]
    return f"{URL}?{urlencode(query)}"


def _are(count: int) -> str:
    return "is 1 invalid event" if count == 1 else f"are {count} invalid events"

"""Events with the object as it was: what has happened, for 30 days, and on its way to each endpoint that wants it."""

import json
import secrets
from fnmatch import fnmatchcase

from metering.stripe_emulator import deliveries, objects
from metering.stripe_emulator.call import Call
from metering.stripe_emulator.errors import Json, no_such
from metering.stripe_emulator.pages import page

URL = "/v1/events"
KEPT_SECONDS = 30 * 24 * 3600
API_VERSION = "2026-10-28.endive"


def emit(call: Call, kind: str, snapshot: Json, before: Json | None = None) -> str:
    """Something has happened to an object: keep it and send it. Returns the event's id.

    With ``before``, an event is made only if the object differs from it, and says in what.
    """
    data: Json = {"object": snapshot}
    if before is not None:
        data["previous_attributes"] = {
            name: value for name, value in before.items() if snapshot.get(name) != value and name != "lines"
        }
        if not data["previous_attributes"]:
            return ""
    event: Json = {
        "id": f"evt_{secrets.token_hex(12)}",
        "object": "event",
        "api_version": API_VERSION,
        "created": call.now,
        "data": data,
        "livemode": False,
        "pending_webhooks": 0,
        "request": {"id": None, "idempotency_key": call.idempotency_key or None},
        "type": kind,
    }
    call.store.run("add_event", id=event["id"], type=kind, created=call.now, body=json.dumps(event))
    deliveries.enqueue(call, event)
    return str(event["id"])


def retrieve(call: Call) -> Json:
    """GET /v1/events/{id}"""
    event = _read(call, call.path["id"])
    if event is None:
        raise no_such("event", call.path["id"])
    return event


def list_all(call: Call) -> Json:
    """GET /v1/events, newest first. ``type`` and ``types`` may end in a star."""
    wanted = call.parameters
    patterns = wanted.get("types") or ([wanted["type"]] if "type" in wanted else ["*"])
    within = objects.created_within(wanted)
    undelivered = {row["event"] for row in call.store.all("undelivered_events")} if "delivery_success" in wanted else {}
    found: list[Json] = [
        {"id": row["id"]}
        for row in call.store.all("events", since=call.now - KEPT_SECONDS)
        if within(row["created"])
        and any(fnmatchcase(row["type"], pattern) for pattern in patterns)
        and wanted.get("delivery_success", True) == (row["id"] not in undelivered)
    ]
    shown = page(found, wanted, URL)
    return {**shown, "data": [_read(call, one["id"]) for one in shown["data"]]}


def _read(call: Call, identity: str) -> Json | None:
    row = call.store.one("event", id=identity, since=call.now - KEPT_SECONDS)
    if row is None:
        return None
    event: Json = json.loads(row["body"])
    outstanding = call.store.one("pending_webhooks", event=identity)
    event["pending_webhooks"] = 0 if outstanding is None else outstanding["outstanding"]
    return event

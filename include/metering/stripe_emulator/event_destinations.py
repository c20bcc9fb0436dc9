"""Event destinations of v2: where thin events are sent. They name what has happened and leave it to be fetched."""

import secrets

from metering.stripe_emulator import core_events, deliveries, objects, webhook_endpoints
from metering.stripe_emulator.call import Call, new_id, rfc3339
from metering.stripe_emulator.errors import Json, bad_request
from metering.stripe_emulator.objects import Thing

KIND = "event_destination"
_SECRET = "webhook_endpoint.signing_secret"  # noqa: S105 - the name of a field


def create(call: Call) -> Json:
    """POST /v2/core/event_destinations: thin events to a webhook endpoint. The secret is shown where it is included."""
    wanted = call.parameters
    if wanted["type"] != "webhook_endpoint" or wanted["event_payload"] != "thin":
        raise bad_request("Only webhook endpoints for thin events are emulated.", code="not_emulated", param="type")
    url = wanted.get("webhook_endpoint", {}).get("url", "")
    webhook_endpoints.check_url(url)
    body: Json = {
        "id": new_id("ed_test"),
        "object": "v2.core.event_destination",
        "amazon_eventbridge": None,
        "azure_event_grid": None,
        "created": rfc3339(call.now),
        "description": wanted.get("description", ""),
        "enabled_events": wanted["enabled_events"],
        "event_payload": "thin",
        "events_from": ["self"],
        "livemode": False,
        "metadata": wanted.get("metadata", {}),
        "name": wanted["name"],
        "snapshot_api_version": None,
        "status": "enabled",
        "status_details": None,
        "type": "webhook_endpoint",
        "updated": rfc3339(call.now),
        "webhook_endpoint": {"signing_secret": None, "url": url},
    }
    private = {"secret": f"whsec_test_{secrets.token_hex(16)}", "url": url}
    return _shown(call, objects.add(call.store, Thing(KIND, {**body, "created": call.now}, private=private)))


def retrieve(call: Call) -> Json:
    """GET /v2/core/event_destinations/{id}"""
    return _shown(call, objects.get(call.store, KIND, call.path["id"]))


def delete(call: Call) -> Json:
    """DELETE /v2/core/event_destinations/{id}"""
    thing = objects.get(call.store, KIND, call.path["id"])
    objects.remove(call.store, thing)
    return {"id": thing.id, "object": "v2.core.event_destination"}


def list_all(call: Call) -> Json:
    """GET /v2/core/event_destinations, newest first, all on one page"""
    rows = call.store.all("objects_of_kind", kind=KIND)
    found = [_shown(call, objects.get(call.store, KIND, row["id"])) for row in rows]
    return {"data": found, "next_page_url": None, "previous_page_url": None}


def announce(call: Call, span_start: int) -> None:
    """A span of asynchronous validation is over: its reports go to every destination that wants them."""
    for report in core_events.reports(call, span_start, span_start + core_events.SPAN_SECONDS):
        notice = {name: part for name, part in report.items() if name not in ("data", "changes", "snapshot_event")}
        for row in call.store.all("objects_of_kind", kind=KIND):
            destination = objects.get(call.store, KIND, row["id"])
            wanted = destination.body["enabled_events"]
            if "*" in wanted or report["type"] in wanted:
                deliveries.add(call, destination.id, notice)


def _shown(call: Call, thing: Thing) -> Json:
    secret = thing.private["secret"] if _SECRET in call.parameters.get("include", []) else None
    return {
        **thing.body,
        "created": rfc3339(thing.body["created"]),
        "webhook_endpoint": {"signing_secret": secret, "url": thing.private["url"]},
    }

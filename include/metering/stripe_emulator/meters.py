"""Meters: which events count, by what formula, to whom."""

import json
import sqlite3

from metering.stripe_emulator.call import Call, new_id
from metering.stripe_emulator.errors import Json, StripeError, bad_request, no_such
from metering.stripe_emulator.pages import page
from metering.stripe_emulator.store import Store

URL = "/v1/billing/meters"


def create(call: Call) -> Json:
    """POST /v1/billing/meters"""
    wanted = call.parameters
    _check_name_is_free(call.store, wanted["event_name"])
    meter: Json = {
        "id": new_id("mtr_test"),
        "object": "billing.meter",
        "created": call.now,
        "customer_mapping": wanted.get(
            "customer_mapping", {"event_payload_key": "stripe_customer_id", "type": "by_id"}
        ),
        "default_aggregation": wanted["default_aggregation"],
        "display_name": wanted["display_name"],
        "event_name": wanted["event_name"],
        "event_time_window": wanted.get("event_time_window"),
        "livemode": False,
        "status": "active",
        "status_transitions": {"deactivated_at": None},
        "updated": call.now,
        "value_settings": wanted.get("value_settings", {"event_payload_key": "value"}),
    }
    call.store.run("add_meter", id=meter["id"], event_name=meter["event_name"], body=json.dumps(meter))
    return meter


def retrieve(call: Call) -> Json:
    """GET /v1/billing/meters/{id}"""
    return get(call.store, call.path["id"])


def update(call: Call) -> Json:
    """POST /v1/billing/meters/{id}: only the display name can change."""
    meter = retrieve(call)
    meter["display_name"] = call.parameters.get("display_name", meter["display_name"])
    return _keep(call, meter)


def deactivate(call: Call) -> Json:
    """POST /v1/billing/meters/{id}/deactivate: no more events are counted."""
    meter = retrieve(call)
    if meter["status"] == "inactive":
        raise bad_request("You cannot deactivate a meter that is already inactive.")
    meter["status"] = "inactive"
    meter["status_transitions"] = {"deactivated_at": call.now}
    return _keep(call, meter)


def reactivate(call: Call) -> Json:
    """POST /v1/billing/meters/{id}/reactivate"""
    meter = retrieve(call)
    if meter["status"] == "active":
        raise bad_request("You cannot reactivate a meter that is already active.")
    _check_name_is_free(call.store, meter["event_name"])
    meter["status"] = "active"
    meter["status_transitions"] = {"deactivated_at": None}
    return _keep(call, meter)


def list_all(call: Call) -> Json:
    """GET /v1/billing/meters, newest first"""
    status = call.parameters.get("status")
    found = [json.loads(row["body"]) for row in call.store.all("meters") if status in (None, row["status"])]
    return page(found, call.parameters, URL)


def get(store: Store, meter_id: str, *, param: str | None = None) -> Json:
    """A meter, or Stripe's refusal: 404 when the path names it, 400 when ``param`` does."""
    meter = _body(store.one("meter", id=meter_id))
    if meter is None:
        raise no_such("billing meter", meter_id, status=404 if param is None else 400, param=param or "id")
    return meter


def of_event_name(store: Store, event_name: str) -> Json | None:
    """The meter that events of this name go to: the active one, else the newest archived one."""
    return _body(store.one("meter_of_event_name", event_name=event_name))


def _body(row: sqlite3.Row | None) -> Json | None:
    return None if row is None else json.loads(row["body"])


def _check_name_is_free(store: Store, event_name: str) -> None:
    meter = of_event_name(store, event_name)
    if meter is not None and meter["status"] == "active":
        raise StripeError(
            400,
            f"An active meter with the event name '{event_name}' already exists: {meter['id']}.",
            code="resource_already_exists",
            param="event_name",
        )


def _keep(call: Call, meter: Json) -> Json:
    meter["updated"] = call.now
    call.store.run("change_meter", id=meter["id"], status=meter["status"], body=json.dumps(meter))
    return meter

"""Webhook endpoints: where events are sent, signed with a secret that only their creation shows."""

import secrets
from urllib.parse import urlsplit

from metering.stripe_emulator import objects
from metering.stripe_emulator.call import Call, new_id
from metering.stripe_emulator.errors import Json, bad_request
from metering.stripe_emulator.objects import Thing

URL = "/v1/webhook_endpoints"
KIND = "webhook_endpoint"


def create(call: Call) -> Json:
    """POST /v1/webhook_endpoints: the only reply that holds the signing secret."""
    wanted = call.parameters
    check_url(wanted["url"])
    thing = add(call, wanted["url"], f"whsec_{secrets.token_hex(16)}", wanted["enabled_events"])
    objects.fill(thing.body, wanted, ("description",))
    objects.change(call.store, thing)
    return {**thing.body, "secret": thing.private["secret"]}


def add(call: Call, url: str, secret: str, enabled_events: list[str]) -> Thing:
    """A new endpoint with a secret that is known beforehand."""
    body: Json = {
        "id": new_id("we"),
        "object": "webhook_endpoint",
        "api_version": None,
        "application": None,
        "created": call.now,
        "description": None,
        "enabled_events": enabled_events,
        "livemode": False,
        "metadata": {},
        "status": "enabled",
        "url": url,
    }
    return objects.add(call.store, Thing(KIND, body, private={"secret": secret}))


def put(call: Call, url: str, secret: str, enabled_events: list[str]) -> Thing:
    """The endpoint at an address, made or changed, with a secret that its receiver knows beforehand."""
    for row in call.store.all("objects_of_kind", kind=KIND):
        thing = objects.get(call.store, KIND, row["id"])
        if thing.body["url"] == url:
            thing.body["enabled_events"], thing.private["secret"] = enabled_events, secret
            return objects.change(call.store, thing)
    return add(call, url, secret, enabled_events)


def retrieve(call: Call) -> Json:
    """GET /v1/webhook_endpoints/{id}"""
    return objects.get(call.store, KIND, call.path["id"]).body


def update(call: Call) -> Json:
    """POST /v1/webhook_endpoints/{id}"""
    thing = objects.get(call.store, KIND, call.path["id"])
    wanted = call.parameters
    if "url" in wanted:
        check_url(wanted["url"])
    objects.fill(thing.body, wanted, ("description", "enabled_events", "url"))
    if "disabled" in wanted:
        thing.body["status"] = "disabled" if wanted["disabled"] else "enabled"
    return objects.change(call.store, thing).body


def delete(call: Call) -> Json:
    """DELETE /v1/webhook_endpoints/{id}: what is still on its way to it is not sent any more."""
    thing = objects.get(call.store, KIND, call.path["id"])
    objects.remove(call.store, thing)
    return {"id": thing.id, "object": "webhook_endpoint", "deleted": True}


def list_all(call: Call) -> Json:
    """GET /v1/webhook_endpoints, newest first"""
    return objects.listed(call.store, KIND, call.parameters, URL, lambda thing: thing.body)


def check_url(url: str) -> None:
    """Raise unless events can be sent to an address."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise bad_request("Invalid URL: An explicit scheme (such as https) must be provided.", param="url")

"""Products: what prices are of."""

from metering.stripe_emulator import objects, snapshot_events
from metering.stripe_emulator.call import Call, new_id
from metering.stripe_emulator.errors import Json, StripeError
from metering.stripe_emulator.objects import Thing

URL = "/v1/products"
KIND = "product"
_SET = ("active", "description", "name", "statement_descriptor", "tax_code", "unit_label", "url")


def create(call: Call) -> Json:
    """POST /v1/products: the id may be the caller's own."""
    identity = call.parameters.get("id") or new_id("prod")
    if objects.find(call.store, KIND, identity) is not None:
        raise StripeError(400, f"Product already exists: '{identity}'.", code="resource_already_exists", param="id")
    body: Json = {
        "id": identity,
        "object": "product",
        "active": True,
        "created": call.now,
        "default_price": None,
        "description": None,
        "images": [],
        "livemode": False,
        "marketing_features": [],
        "metadata": {},
        "name": "",
        "package_dimensions": None,
        "shippable": None,
        "statement_descriptor": None,
        "tax_code": None,
        "type": "service",
        "unit_label": None,
        "updated": call.now,
        "url": None,
    }
    objects.fill(body, call.parameters, _SET)
    objects.add(call.store, Thing(KIND, body))
    snapshot_events.emit(call, "product.created", body)
    return body


def retrieve(call: Call) -> Json:
    """GET /v1/products/{id}"""
    return objects.get(call.store, KIND, call.path["id"]).body


def update(call: Call) -> Json:
    """POST /v1/products/{id}"""
    thing = objects.get(call.store, KIND, call.path["id"])
    before = dict(thing.body)
    objects.fill(thing.body, call.parameters, (*_SET, "default_price"))
    thing.body["updated"] = call.now
    objects.change(call.store, thing)
    snapshot_events.emit(call, "product.updated", thing.body, before)
    return thing.body


def list_all(call: Call) -> Json:
    """GET /v1/products, newest first"""
    wanted = call.parameters

    def fits(body: Json) -> bool:
        return wanted.get("active", body["active"]) == body["active"] and body["id"] in wanted.get("ids", [body["id"]])

    return objects.listed(call.store, KIND, wanted, URL, lambda thing: thing.body, fits)

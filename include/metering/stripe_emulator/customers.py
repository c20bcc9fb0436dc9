"""Customers: who usage is billed to."""

import json

from metering.stripe_emulator.call import Call, new_id
from metering.stripe_emulator.errors import Json, no_such
from metering.stripe_emulator.pages import page
from metering.stripe_emulator.store import Store

URL = "/v1/customers"
_TEXTS = ("name", "email", "description", "phone")
_COMPARE = {
    "gt": lambda created, bound: created > bound,
    "gte": lambda created, bound: created >= bound,
    "lt": lambda created, bound: created < bound,
    "lte": lambda created, bound: created <= bound,
}


def create(call: Call) -> Json:
    """POST /v1/customers"""
    customer: Json = {
        "id": new_id("cus"),
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": call.now,
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "invoice_prefix": None,
        "livemode": False,
        "metadata": {},
        "tax_exempt": "none",
        **dict.fromkeys(_TEXTS),
    }
    _fill(customer, call.parameters)
    call.store.run("add_customer", id=customer["id"], body=json.dumps(customer))
    return customer


def retrieve(call: Call) -> Json:
    """GET /v1/customers/{id}: a deleted customer answers with its stub, not with a 404."""
    row = call.store.one("customer", id=call.path["id"])
    if row is None:
        raise no_such("customer", call.path["id"])
    body: Json = json.loads(row["body"])
    return body


def update(call: Call) -> Json:
    """POST /v1/customers/{id}: metadata is merged, and an empty string takes a value away."""
    customer = retrieve(call)
    if customer.get("deleted"):
        raise no_such("customer", call.path["id"])
    _fill(customer, call.parameters)
    call.store.run("change_customer", id=customer["id"], deleted=0, body=json.dumps(customer))
    return customer


def delete(call: Call) -> Json:
    """DELETE /v1/customers/{id}"""
    if retrieve(call).get("deleted"):
        raise no_such("customer", call.path["id"])
    stub: Json = {"id": call.path["id"], "object": "customer", "deleted": True}
    call.store.run("change_customer", id=stub["id"], deleted=1, body=json.dumps(stub))
    return stub


def list_all(call: Call) -> Json:
    """GET /v1/customers, newest first"""
    found: list[Json] = [json.loads(row["body"]) for row in call.store.all("customers")]
    if "email" in call.parameters:
        found = [customer for customer in found if customer["email"] == call.parameters["email"]]
    for name, bound in call.parameters.get("created", {}).items():
        found = [customer for customer in found if _COMPARE[name](customer["created"], bound)]
    return page(found, call.parameters, URL)


def get(store: Store, customer_id: str) -> Json:
    """A customer who can be billed, or the 400 that a parameter naming another one gets."""
    row = store.one("customer", id=customer_id)
    if row is None or row["deleted"]:
        raise no_such("customer", customer_id, status=400, param="customer")
    body: Json = json.loads(row["body"])
    return body


def balance(store: Store, customer_id: str) -> int:
    """What the customer owes beside invoices, in minor units; negative is credit."""
    row = store.one("customer", id=customer_id)
    return 0 if row is None else int(json.loads(row["body"]).get("balance", 0))


def change_balance(store: Store, customer_id: str, by: int) -> None:
    """Add to what a customer owes; a deleted customer keeps no balance."""
    row = store.one("customer", id=customer_id)
    if row is None or row["deleted"]:
        return
    body: Json = json.loads(row["body"])
    body["balance"] += by
    store.run("change_customer", id=customer_id, deleted=0, body=json.dumps(body))


def exists(store: Store, customer_id: str) -> bool:
    """Whether usage can be billed to this customer: known and not deleted."""
    row = store.one("customer", id=customer_id)
    return row is not None and not row["deleted"]


def _fill(customer: Json, parameters: Json) -> None:
    for name in _TEXTS:
        if name in parameters:
            customer[name] = parameters[name] or None
    if "address" in parameters:
        customer["address"] = parameters["address"]
    for name, value in parameters.get("metadata", {}).items():
        if value == "":
            customer["metadata"].pop(name, None)
        else:
            customer["metadata"][name] = value

"""Where everything that is billed is kept: one table, one way to find, change and list."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from metering.stripe_emulator.errors import Json, bad_request, no_such
from metering.stripe_emulator.pages import page
from metering.stripe_emulator.store import Store


@dataclass(slots=True)
class Thing:
    """One object: what replies show of it (``body``), and what only the emulator knows (``private``).

    ``parent`` is the id of what it belongs to. ``due_at`` is when something happens to it by itself (Unix seconds by
    the emulator's clock), None for never.
    """

    kind: str
    body: Json
    customer: str | None = None
    parent: str | None = None
    due_at: int | None = None
    private: Json = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Its id, in the manner of Stripe."""
        identity: str = self.body["id"]
        return identity


def add(store: Store, thing: Thing) -> Thing:
    """Keep a new object. Its ``created`` and ``status`` are found by lists."""
    created = thing.body.get("created", thing.body.get("date", 0))
    store.run("add_object", **_row(thing), kind=thing.kind, customer=thing.customer, created=created)
    return thing


def change(store: Store, thing: Thing) -> Thing:
    """Keep an object as it is now."""
    store.run("change_object", **_row(thing))
    return thing


def remove(store: Store, thing: Thing) -> None:
    """Forget an object."""
    store.run("remove_object", id=thing.id)


def find(store: Store, kind: str, identity: str) -> Thing | None:
    """An object of a kind, or None."""
    row = store.one("object", id=identity, kind=kind)
    if row is None:
        return None
    return Thing(
        kind, json.loads(row["body"]), row["customer"], row["parent"], row["due_at"], json.loads(row["private"])
    )


def get(store: Store, kind: str, identity: str, *, param: str | None = None) -> Thing:
    """An object of a kind, or Stripe's refusal: 404 when the path names it, 400 when ``param`` does."""
    thing = find(store, kind, identity)
    if thing is None:
        status, name = (404, "id") if param is None else (400, param)
        raise no_such(kind, identity, status=status, param=name)
    return thing


def of_parent(store: Store, kind: str, parent: str) -> list[Thing]:
    """What belongs to an object, in the order it came."""
    rows = store.all("objects_of_parent", kind=kind, parent=parent)
    return [get(store, kind, row["id"]) for row in reversed(rows)]


def listed(
    store: Store,
    kind: str,
    parameters: Json,
    url: str,
    render: Callable[[Thing], Json],
    wanted: Callable[[Json], bool] | None = None,
    parent: str | None = None,
) -> Json:
    """One page of a kind, newest first, of a customer or a parent where ``parameters`` or ``parent`` names one.

    ``wanted`` says of an object whether it is listed.
    """
    if parent is not None:
        rows = store.all("objects_of_parent", kind=kind, parent=parent)
    elif "customer" in parameters:
        rows = store.all("objects_of_customer", kind=kind, customer=parameters["customer"])
    else:
        rows = store.all("objects_of_kind", kind=kind)
    within = created_within(parameters)
    found = page(
        [
            {"id": row["id"]}
            for row in rows
            if within(row["created"]) and (wanted is None or wanted(json.loads(row["body"])))
        ],
        parameters,
        url,
    )
    return {**found, "data": [render(get(store, kind, one["id"])) for one in found["data"]]}


def created_within(parameters: Json) -> Callable[[int], bool]:
    """Whether a moment (Unix seconds) lies within the ``created`` bounds of a list request."""
    bounds = parameters.get("created", {})
    lower, lower_open = bounds.get("gte", -1), bounds.get("gt", -1)
    upper, upper_open = bounds.get("lte", 2**62), bounds.get("lt", 2**62)
    return lambda created: created >= lower and created > lower_open and created <= upper and created < upper_open


def fill(body: Json, parameters: Json, names: tuple[str, ...]) -> None:
    """Set what a request names: an empty string takes a value away, metadata is merged."""
    for name in names:
        if name in parameters:
            body[name] = None if parameters[name] == "" else parameters[name]
    merge_metadata(body, parameters)


def merge_metadata(body: Json, parameters: Json) -> None:
    """Merge metadata as Stripe does: an empty value takes a key away."""
    kept = dict(body.get("metadata") or {})
    for name, value in parameters.get("metadata", {}).items():
        if value == "":
            kept.pop(name, None)
        else:
            kept[name] = value
    body["metadata"] = kept


def required(parameters: Json, name: str) -> Any:
    """A parameter that only some requests can do without."""
    if name not in parameters:
        raise bad_request(f"Missing required param: {name}.", code="parameter_missing", param=name)
    return parameters[name]


def _row(thing: Thing) -> Json:
    return {
        "id": thing.id,
        "parent": thing.parent,
        "status": thing.body.get("status"),
        "due_at": thing.due_at,
        "body": json.dumps(thing.body),
        "private": json.dumps(thing.private),
    }

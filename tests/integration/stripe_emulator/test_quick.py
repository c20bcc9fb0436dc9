"""The quick check may only say yes where jsonschema does."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from metering.stripe_emulator.quick import compiled
from metering.stripe_emulator.shapes import pinned


def all_schemas() -> Iterator[dict[str, Any]]:
    document = pinned()
    for operation in document["operations"].values():
        yield operation["request"]
        yield operation["reply"]
    yield from document["schemas"].values()


SCHEMAS = [(schema, compiled(schema), Draft202012Validator(schema)) for schema in all_schemas()]
JUNK = st.sampled_from(
    [None, True, False, 0, -1, 1.5, Decimal("1.5"), "", "x" * 101, "x" * 5001, [], ["x"], [1], {}, {"x": 1}, {"x": "y"}]
)


def nearly(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that fit a schema, but for what junk has been put into them."""
    if "anyOf" in schema:
        return st.one_of([nearly(part) for part in schema["anyOf"]])
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    fitting = st.one_of([fit(kind, schema) for kind in kinds])
    return st.integers(0, 29).flatmap(lambda dice: JUNK if dice == 0 else fitting)


def fit(kind: str, schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    if kind == "null":
        return st.none()
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if kind == "object":
        parts = {name: nearly(part) for name, part in schema.get("properties", {}).items()}
        required = {name: part for name, part in parts.items() if name in schema.get("required", ())}
        optional = {name: part for name, part in parts.items() if name not in required}
        return st.fixed_dictionaries(required, optional=optional)
    if kind == "array":
        return st.lists(nearly(schema["items"]), max_size=2)
    if kind == "string":
        return st.sampled_from(["", "x", "/v1/billing/meters", "/v1/billing/meters/m/event_summaries", "/v1/customers"])
    return {"integer": st.just(7), "number": st.just(Decimal("0.1")), "boolean": st.booleans()}[kind]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_a_quick_yes_is_a_yes(data: st.DataObject) -> None:
    for schema, quick, full in data.draw(st.lists(st.sampled_from(SCHEMAS), min_size=1, max_size=4)):
        value = data.draw(nearly(schema))
        if quick(value):
            assert full.is_valid(value)


def test_the_busiest_shapes_get_a_quick_yes() -> None:
    operation = pinned()["operations"]["POST /v1/billing/meter_events"]
    event = {"event_name": "a", "identifier": "e", "payload": {"value": "1", "stripe_customer_id": "c"}, "timestamp": 1}
    assert compiled(operation["request"])(event)
    created = event | {"object": "billing.meter_event", "created": 1, "livemode": False}
    assert compiled(operation["reply"])(created)

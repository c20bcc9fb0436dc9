"""The pinned shapes, held against two things that Stripe publishes: its API description and its SDK's types."""

from __future__ import annotations

import inspect
import json
import re
import typing
from decimal import Decimal
from pathlib import Path
from types import UnionType
from typing import Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints

import pytest
import stripe
from stripe import params
from stripe._request_options import RequestOptions
from stripe.params import billing as v1_billing
from stripe.params.v2 import billing as v2_billing
from stripe.params.v2 import core as v2_core
from stripe.v2 import billing as v2_objects
from typing_extensions import is_typeddict

from metering.stripe_emulator import shapes
from metering.stripe_emulator.app import OPERATIONS

ROOT = Path(__file__).parents[3]
PUBLISHED = ROOT.parent / "shared" / "stripe" / "openapi_billing_subset.json"
PINNED = shapes.pinned()


def test_every_operation_has_a_shape_and_every_shape_an_operation() -> None:
    assert {operation.name for operation in OPERATIONS} == PINNED["operations"].keys()


# --- the published description -----------------------------------------------------------------------------------


def published() -> dict[str, Any]:
    if not PUBLISHED.exists():
        pytest.skip("Stripe's description is not beside this checkout (../shared/stripe)")
    return json.loads(PUBLISHED.read_text())


def plain(node: Any, schemas: dict[str, Any]) -> Any:
    """An OpenAPI 3.0 schema as JSON Schema, references resolved, formats dropped, order made irrelevant."""
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return plain(schemas[node["$ref"].rpartition("/")[2]], schemas)
    if len(node.get("anyOf", [])) == 1:
        return plain({**node["anyOf"][0], **{name: part for name, part in node.items() if name != "anyOf"}}, schemas)
    result = {name: part for name, part in node.items() if name not in ("format", "nullable", "properties", "items")}
    if "properties" in node:
        result["properties"] = {name: plain(part, schemas) for name, part in node["properties"].items()}
    for name in ("items", "additionalProperties"):
        if name in node:
            result[name] = plain(node[name], schemas)
    if node.get("nullable"):
        result["type"] = [result["type"], "null"]
        if "enum" in result:
            result["enum"] = [*result["enum"], None]
    for name in ("required", "enum"):
        if name in result:
            result[name] = sorted(result[name], key=str)
    return result


def known(node: Any, schemas: dict[str, Any]) -> bool:
    """Whether everything that a schema refers to is in the description."""
    references = re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', json.dumps(node))
    return all(name in schemas and known(schemas[name], schemas) for name in references)


def sent(operation: dict[str, Any]) -> dict[str, Any]:
    if "requestBody" in operation:
        (content,) = operation["requestBody"]["content"].values()
        return content["schema"]
    parameters = [one for one in operation.get("parameters", []) if one["in"] == "query"]
    schema: dict[str, Any] = {"type": "object", "properties": {one["name"]: one["schema"] for one in parameters}}
    required = [one["name"] for one in parameters if one["required"]]
    if required:
        schema["required"] = required
    return schema if "parameters" not in operation else {**schema, "additionalProperties": False}


def test_shapes_are_those_of_the_published_description() -> None:
    document = published()
    schemas = document["components"]["schemas"]
    compared = 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method == "servers":
                continue
            name = f"{method.upper()} {path}"
            ours = PINNED["operations"][name]
            assert plain(ours["request"], {}) == plain(sent(operation), schemas), name
            reply = operation["responses"]["200"]["content"]["application/json"]["schema"]
            if known(reply, schemas):
                assert plain(ours["reply"], {}) == plain(reply, schemas), name
                compared += 1
    assert compared >= 11


# --- the SDK's types ---------------------------------------------------------------------------------------------

OBJECTS = {
    "event": stripe.Event,
    "invoice": stripe.Invoice,
    "invoiceitem": stripe.InvoiceItem,
    "line_item": stripe.InvoiceLineItem,
    "plan": stripe.Plan,
    "price": stripe.Price,
    "product": stripe.Product,
    "subscription": stripe.Subscription,
    "subscription_item": stripe.SubscriptionItem,
    "webhook_endpoint": stripe.WebhookEndpoint,
    "billing.meter": stripe.billing.Meter,
    "billing.meter_event": stripe.billing.MeterEvent,
    "billing.meter_event_adjustment": stripe.billing.MeterEventAdjustment,
    "billing.meter_event_summary": stripe.billing.MeterEventSummary,
    "v2.billing.meter_event": v2_objects.MeterEvent,
    "v2.billing.meter_event_adjustment": v2_objects.MeterEventAdjustment,
    "v2.billing.meter_event_session": v2_objects.MeterEventSession,
}
PARAMETERS = {
    "POST /v1/billing/meter_events": v1_billing.MeterEventCreateParams,
    "POST /v1/billing/meter_event_adjustments": v1_billing.MeterEventAdjustmentCreateParams,
    "POST /v1/billing/meters": v1_billing.MeterCreateParams,
    "GET /v1/billing/meters": v1_billing.MeterListParams,
    "GET /v1/billing/meters/{id}/event_summaries": v1_billing.MeterListEventSummariesParams,
    "POST /v2/billing/meter_events": v2_billing.MeterEventCreateParams,
    "POST /v2/billing/meter_event_adjustments": v2_billing.MeterEventAdjustmentCreateParams,
    "POST /v2/billing/meter_event_stream": v2_billing.MeterEventStreamCreateParams,
    "GET /v2/core/events": v2_core.EventListParams,
}
# Of these the emulator takes a part; what it does not take it refuses as unknown.
EMULATED_PARAMETERS = {
    "GET /v1/events": params.EventListParams,
    "GET /v1/invoiceitems": params.InvoiceItemListParams,
    "GET /v1/invoices": params.InvoiceListParams,
    "GET /v1/invoices/{id}/lines": params.InvoiceLineItemListParams,
    "GET /v1/prices": params.PriceListParams,
    "GET /v1/products": params.ProductListParams,
    "GET /v1/subscription_items": params.SubscriptionItemListParams,
    "GET /v1/subscriptions": params.SubscriptionListParams,
    "GET /v1/webhook_endpoints": params.WebhookEndpointListParams,
    "POST /v1/invoiceitems": params.InvoiceItemCreateParams,
    "POST /v1/invoiceitems/{id}": params.InvoiceItemUpdateParams,
    "POST /v1/invoices": params.InvoiceCreateParams,
    "POST /v1/invoices/{id}": params.InvoiceUpdateParams,
    "POST /v1/invoices/{id}/finalize": params.InvoiceFinalizeInvoiceParams,
    "POST /v1/invoices/{id}/mark_uncollectible": params.InvoiceMarkUncollectibleParams,
    "POST /v1/invoices/{id}/pay": params.InvoicePayParams,
    "POST /v1/invoices/{id}/void": params.InvoiceVoidInvoiceParams,
    "POST /v1/prices": params.PriceCreateParams,
    "POST /v1/prices/{id}": params.PriceUpdateParams,
    "POST /v1/products": params.ProductCreateParams,
    "POST /v1/products/{id}": params.ProductUpdateParams,
    "POST /v1/subscription_items": params.SubscriptionItemCreateParams,
    "POST /v1/subscription_items/{id}": params.SubscriptionItemUpdateParams,
    "POST /v1/subscriptions": params.SubscriptionCreateParams,
    "POST /v1/subscriptions/{id}": params.SubscriptionUpdateParams,
    "POST /v1/webhook_endpoints": params.WebhookEndpointCreateParams,
    "POST /v1/webhook_endpoints/{id}": params.WebhookEndpointUpdateParams,
    "POST /v2/core/event_destinations": v2_core.EventDestinationCreateParams,
    "DELETE /v1/subscription_items/{id}": params.SubscriptionItemDeleteParams,
    "DELETE /v1/subscriptions/{id}": params.SubscriptionCancelParams,
}
TYPES = {int: "integer", float: "number", str: "string", bool: "boolean", Decimal: "string"}


def options_of(annotation: Any) -> list[Any]:
    """The members of a Union, nested ones too."""
    if get_origin(annotation) in (Union, UnionType):
        return [one for member in get_args(annotation) for one in options_of(member)]
    return [annotation]


def fields_of(cls: type) -> dict[str, Any]:
    """What an SDK class declares itself: request options and class constants are not fields."""
    return {name: part for name, part in inspect.get_annotations(cls).items() if name != "OBJECT_NAME"}


def own_fields(cls: type) -> dict[str, Any]:
    """The fields of a request, without the options that every request has."""
    # A TypedDict holds the fields of its bases as well as its own.
    return {name: part for name, part in fields_of(cls).items() if name not in RequestOptions.__annotations__}


@pytest.mark.parametrize("name", OBJECTS)
def test_objects_are_those_of_the_sdk(name: str) -> None:
    schema = PINNED["schemas"][name]
    fields = fields_of(OBJECTS[name])
    assert fields.keys() == schema["properties"].keys()
    hold_against(schema, fields)


def hold_against(schema: dict[str, Any], fields: dict[str, Any]) -> None:
    """The properties of a schema are fields of an SDK type, of the same kind, and so on inside them."""
    assert set(schema.get("required", [])) <= schema["properties"].keys() <= fields.keys()
    for field, ours in schema["properties"].items():
        members = options_of(fields[field])
        allowed = ours["type"] if isinstance(ours["type"], list) else [ours["type"]]
        assert (type(None) in members) == ("null" in allowed), field
        literals = {value for one in members if get_origin(one) is Literal for value in get_args(one)}
        if literals and "enum" in ours:
            assert literals == set(ours["enum"]) - {None}, field
        simple = [TYPES[one] for one in members if one in TYPES and not literals]
        if simple:
            assert simple == [one for one in allowed if one != "null"], field
        inside = [get_args(one)[0] if get_origin(one) is list else one for one in members]
        nested = [one for one in inside if inspect.isclass(one) and issubclass(one, stripe.StripeObject)]
        part = ours.get("items", ours)
        # A whole object inside another, such as the price of an item, is held against its own type.
        if nested and "properties" in part and "." in nested[0].__qualname__:
            hold_against(part, fields_of(nested[0]))


@pytest.mark.parametrize("name", EMULATED_PARAMETERS)
def test_the_parameters_taken_are_parameters_of_the_sdk(name: str) -> None:
    hold_request_against(PINNED["operations"][name]["request"], EMULATED_PARAMETERS[name])


def hold_request_against(schema: dict[str, Any], cls: type) -> None:
    """What a request may hold is in the SDK's parameters, of the same kind, and what these require is required."""
    known_names = {**vars(typing), **vars(stripe), "UntypedStripeObject": dict, "StripeContext": object}
    fields = get_type_hints(cls, localns=known_names, include_extras=True)
    assert schema["properties"].keys() <= fields.keys()
    assert schema["additionalProperties"] is False
    # The SDK's own options of a request are declared with the others.
    required = {
        field
        for field, annotation in fields.items()
        if get_origin(annotation) is not NotRequired and field not in RequestOptions.__annotations__
    }
    assert required == set(schema.get("required", []))
    for field, ours in schema["properties"].items():
        annotation = fields[field]
        members = options_of(get_args(annotation)[0] if get_origin(annotation) is NotRequired else annotation)
        kinds = {kind_of(one) for one in members}
        allowed = set(ours["type"]) if isinstance(ours["type"], list) else {ours["type"]}
        assert allowed <= kinds, field
        literals = {value for one in members if get_origin(one) is Literal for value in get_args(one)}
        if "enum" in ours:
            assert set(ours["enum"]) == literals, field
        inside = [get_args(one)[0] if get_origin(one) is list else one for one in members]
        nested = [one for one in inside if is_typeddict(one)]
        part = ours.get("items", ours)
        if nested and "properties" in part:
            hold_request_against(part, nested[0])


def kind_of(annotation: Any) -> str:
    """The JSON kind of one member of a parameter's annotation."""
    if annotation in TYPES:
        return TYPES[annotation]
    if get_origin(annotation) is Literal:
        return "string"
    return "array" if get_origin(annotation) is list else "object"


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_those_of_the_sdk(name: str) -> None:
    schema = PINNED["operations"][name]["request"]
    fields = own_fields(PARAMETERS[name])
    ours = schema["properties"].keys()
    # The SDK follows pages of v2 by their address, so that "page" is no parameter of its own.
    assert fields.keys() == ours - {"page"}
    required = {field for field, annotation in fields.items() if get_origin(annotation) is not NotRequired}
    assert required == set(schema.get("required", []))


# --- the assumptions ---------------------------------------------------------------------------------------------


def test_every_assumption_is_numbered_and_has_its_test() -> None:
    table = (ROOT / "include/metering/stripe_emulator/assumptions.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if re.match(r"\| \d", line)]
    assert [int(row[0]) for row in rows] == list(range(1, len(rows) + 1))
    tests = "\n".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    for row in rows:
        named = row[4].strip("`")
        assert named.startswith(f"test_a{int(row[0]):02}_")
        assert f"def {named}(" in tests, named
        assert row[3] in ("high", "medium", "low")
    for number in re.findall(r"def test_a(\d\d)_", tests):
        assert int(number) <= len(rows)

"""The OpenAPI document and its page: valid, complete, and true to the code that they describe."""

from __future__ import annotations

import json
import re
from html import unescape
from html.parser import HTMLParser
from typing import Any

import jsonschema
import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route

from metering.ingestion import tracking
from metering.ingestion.app import create_app
from metering.ingestion.cloudevents import CloudEvent
from metering.ingestion.events import Event
from metering.ingestion.openapi import Document
from metering.ingestion.operations import Operation
from metering.ingestion.reference_page import HEADERS, render

APP = create_app("postgresql://nobody@127.0.0.1:1/nothing")
OPERATIONS: list[Operation] = APP.state.operations
DOCUMENT: dict[str, Any] = json.loads(msgspec.json.encode(Document(OPERATIONS).content))


def test_the_document_is_openapi_3_1() -> None:
    assert DOCUMENT["openapi"] == "3.1.0"
    assert [error.message for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []


def test_every_route_is_described_and_nothing_else() -> None:
    described = {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert {(operation.method, operation.template) for operation in OPERATIONS} == described
    routes = {route.path for route in APP.router.routes if isinstance(route, Route)}
    assert routes == {operation.path for operation in OPERATIONS} and len(routes) == len(APP.router.routes)
    assert len({operation.name for operation in OPERATIONS}) == len(OPERATIONS)
    names = [operation["operationId"] for methods in DOCUMENT["paths"].values() for operation in methods.values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_example_is_what_its_schema_says(operation: Operation) -> None:
    described = DOCUMENT["paths"][operation.template][operation.method.lower()]
    contents = [described.get("requestBody", {}).get("content", {})]
    contents += [reply["content"] for reply in described["responses"].values()]
    for content in contents:
        for part in content.values():
            for example in part["examples"].values():
                check(part["schema"], example["value"])
    for parameter in described["parameters"]:
        check(parameter["schema"], parameter["example"])
    assert all(described.get("requestBody", {"content": {"": {"examples": 1}}})["content"].values())


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_path_parameter_is_described(operation: Operation) -> None:
    described = {parameter.name for parameter in operation.parameters if parameter.where == "path"}
    assert described == set(re.findall(r"\{(\w+)\}", operation.template))


def check(schema: dict[str, Any], value: Any) -> None:
    jsonschema.validate(value, {**schema, "components": DOCUMENT["components"]}, jsonschema.Draft202012Validator)


def test_the_schema_of_an_event_has_the_fields_of_an_event() -> None:
    assert set(tracking.EVENT["properties"]) == set(Event.__struct_fields__)
    assert set(tracking.CLOUD_EVENT["properties"]) == set(CloudEvent.__struct_fields__)


def test_the_page_shows_every_operation_and_its_examples() -> None:
    page = render(DOCUMENT)
    text = unescape(re.sub(r"<[^>]+>", "", page))
    for operation in OPERATIONS:
        assert f"{operation.method} {operation.template}" in text
        for content in operation.body:
            for value in content.examples.values():
                shown = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
                assert shown in text


class Loads(HTMLParser):
    """Collects what a page would load, run, or lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.targets: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attributes:
            if name in ("href", "src", "action"):
                self.addresses.append(value or "")
            if name == "id":
                self.targets.add(value or "")
            assert not name.startswith("on") and name != "style"


def test_the_page_loads_and_runs_nothing() -> None:
    loads = Loads()
    loads.feed(render(DOCUMENT))
    assert loads.tags.isdisjoint({"script", "link", "img", "iframe", "form", "object"})
    outside = [address for address in loads.addresses if not address.startswith("#")]
    assert outside == ["openapi.json"]
    assert {address[1:] for address in loads.addresses if address.startswith("#")} <= loads.targets
    assert HEADERS["content-security-policy"].startswith("default-src 'none'")


def test_what_a_document_says_is_text_on_the_page_and_never_markup() -> None:
    hostile = json.loads(json.dumps(DOCUMENT).replace("Send usage events", "<script>alert(1)</script>"))
    assert "<script>" not in render(hostile)

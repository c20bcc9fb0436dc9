"""The pinned shapes of requests and replies, compiled once.

A request that does not fit is refused in Stripe's words. A reply of the emulator's own that does not fit is a fault of
the emulator: it is answered as a 500 and counted, so that no test passes on a shape Stripe does not have.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from metering.stripe_emulator.errors import Json, StripeError, bad_request
from metering.stripe_emulator.quick import compiled

_FILES = tuple(Path(__file__).with_name(name) for name in ("shapes.json", "shapes_invoicing.json"))


class ShapeViolationError(Exception):
    """The emulator was about to answer with a shape that is not Stripe's."""


def pinned() -> Json:
    """The shapes files as one, with every reference replaced by what it names."""
    document: Json = {"operations": {}, "schemas": {}}
    for part in (json.loads(file.read_text()) for file in _FILES):
        document["operations"] |= part["operations"]
        document["schemas"] |= part["schemas"]
    schemas = document["schemas"]

    def resolve(node: Any) -> Any:
        # References are resolved here and not by the validator, which would look them up again for every request.
        if isinstance(node, dict):
            if "$ref" in node:
                return resolve(schemas[node["$ref"].removeprefix("#/schemas/")])
            return {name: resolve(part) for name, part in node.items()}
        if isinstance(node, list):
            return [resolve(part) for part in node]
        return node

    resolved: Json = resolve(document)
    return resolved


class Shape:
    """One compiled JSON Schema."""

    def __init__(self, schema: Json) -> None:
        self.schema = schema
        self._fits = compiled(schema)
        self._validator = Draft202012Validator(schema)

    def check_request(self, parameters: Json) -> None:
        """Raise the 400 that names the first parameter in the way."""
        if self._fits(parameters):
            return
        for error in self._validator.iter_errors(parameters):
            raise _refusal(error)

    def check_reply(self, reply: Json) -> None:
        """Raise ShapeViolationError when a reply of ours is not of this shape."""
        if self._fits(reply):
            return
        for error in self._validator.iter_errors(reply):
            raise ShapeViolationError(f"{error.json_path}: {error.message}")

    def typed(self, parameters: Json) -> Json:
        """Give form strings the types of this schema; what does not convert stays text, for the check to refuse."""
        typed: Json = _typed(parameters, self.schema)
        return typed


def _typed(value: Any, schema: Json) -> Any:
    kind = schema.get("type")
    if isinstance(value, str):
        if kind in ("integer", ["integer", "string"]) and value.removeprefix("-").isdecimal() and len(value) < 20:
            return int(value)
        if kind == "boolean" and value in ("true", "false"):
            return value == "true"
        return value
    if kind == "array":
        return [_typed(part, schema.get("items", {})) for part in value.values()]
    properties = schema.get("properties", {})
    return {name: _typed(part, properties[name]) if name in properties else part for name, part in value.items()}


def _refusal(error: ValidationError) -> StripeError:
    rule: Any = error.validator_value
    schema: Any = error.schema
    instance: Any = error.instance
    path = [str(part) for part in error.absolute_path]
    param = _bracketed(path)
    if error.validator == "required":
        missing = next(name for name in rule if name not in instance)
        param = _bracketed([*path, missing])
        return bad_request(f"Missing required param: {param}.", code="parameter_missing", param=param)
    if error.validator == "additionalProperties" and rule is False:
        unknown = next(name for name in instance if name not in schema.get("properties", {}))
        param = _bracketed([*path, unknown])
        return bad_request(f"Received unknown parameter: {param}", code="parameter_unknown", param=param)
    if error.validator == "type" and rule == "integer":
        return bad_request(f"Invalid integer: {instance}", code="parameter_invalid_integer", param=param)
    if error.validator == "type":
        return bad_request(f"Invalid {rule}: {instance}", param=param)
    if error.validator == "enum":
        return bad_request(f"Invalid {param}: must be {_choice(rule)}", param=param)
    if error.validator == "maxLength":
        return bad_request(f"Invalid string: {param} must be at most {rule} characters", param=param)
    return bad_request(f"Invalid {param or 'request'}: {error.message}", param=param or None)


def _bracketed(path: list[str]) -> str:
    return path[0] + "".join(f"[{part}]" for part in path[1:]) if path else ""


def _choice(values: Iterable[Any]) -> str:
    names = [str(value) for value in values if value is not None]
    return names[0] if len(names) == 1 else f"one of {', '.join(names[:-1])} or {names[-1]}"

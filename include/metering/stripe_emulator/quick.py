"""A quick yes for values that plainly fit a schema.

jsonschema takes longer over a meter event than everything else together. So each pinned schema is compiled to plain
functions that may say yes; whatever they do not, jsonschema judges, and says why. A test holds that a yes here is
always a yes there.
"""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from metering.stripe_emulator.errors import Json

Check = Callable[[Any], bool]

_KEYWORDS = {
    "object": {"type", "required", "properties", "additionalProperties"},
    "array": {"type", "items"},
    "string": {"type", "enum", "maxLength", "pattern"},
    "integer": {"type"},
    "number": {"type"},
    "boolean": {"type", "enum"},
}


def compiled(schema: Json) -> Check:
    """A function that says True only of values that fit ``schema``."""
    if schema.keys() == {"anyOf"}:
        return _any([compiled(part) for part in schema["anyOf"]])
    kinds = schema.get("type", ())
    if isinstance(kinds, list):
        return _any([_of_kind({**schema, "type": kind}) for kind in kinds])
    return _of_kind(schema)


def _of_kind(schema: Json) -> Check:
    kind = schema.get("type", "")
    if kind == "null":
        # What the other types of the schema are held to says nothing about null, save for enum.
        return lambda value: value is None and None in schema.get("enum", [None])
    if not schema.keys() <= _KEYWORDS.get(kind, set()):
        return _unsure
    match kind:
        case "object":
            return _object(schema)
        case "array":
            return _array(compiled(schema["items"]) if "items" in schema else _anything)
        case "string":
            return _string(schema)
        case "integer":
            return lambda value: type(value) is int
        case "number":
            return lambda value: type(value) in (int, Decimal)
        case _:
            allowed = schema.get("enum", [True, False])
            return lambda value: type(value) is bool and value in allowed


def _object(schema: Json) -> Check:
    required = tuple(schema.get("required", ()))
    properties = {name: compiled(part) for name, part in schema.get("properties", {}).items()}
    others = schema.get("additionalProperties", True)
    other = compiled(others) if isinstance(others, dict) else _anything if others else _unsure

    def check(value: Any) -> bool:
        if type(value) is not dict:
            return False
        for name in required:
            if name not in value:
                return False
        # A plain loop: all() over a generator takes twice as long, and this runs for every part of every request.
        for name, part in value.items():  # noqa: SIM110 - a plain loop, on the path of every request
            if not properties.get(name, other)(part):
                return False
        return True

    return check


def _array(item: Check) -> Check:
    return lambda value: type(value) is list and all(item(part) for part in value)


def _string(schema: Json) -> Check:
    longest = schema.get("maxLength", 2**31)
    enum, pattern = schema.get("enum"), schema.get("pattern")
    if enum is not None and pattern is not None:
        return _unsure
    if pattern is not None:
        search = re.compile(pattern).search
        return lambda value: type(value) is str and len(value) <= longest and search(value) is not None
    if enum is not None:
        allowed = frozenset(enum)
        return lambda value: type(value) is str and len(value) <= longest and value in allowed
    return lambda value: type(value) is str and len(value) <= longest


def _any(checks: list[Check]) -> Check:
    return lambda value: any(check(value) for check in checks)


def _anything(value: Any) -> bool:
    return True


def _unsure(value: Any) -> bool:
    return False

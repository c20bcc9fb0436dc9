"""The JSON Schema of a catalog file, by which an editor completes it and marks mistakes while they are typed.

It is made from the models that read the file and committed beside them; `./billing prices schema` prints it anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from metering.catalog.checks import AGGREGATIONS
from metering.catalog.currencies import EXPONENTS
from metering.catalog.model import Catalog
from metering.catalog.price_checks import MODELS

FILE = Path(__file__).with_name("catalog.schema.json")

# What may stand in a field is checked with reasons of our own, and told to editors here.
_CHOICES = {
    ("Meter", "aggregation"): AGGREGATIONS,
    ("PriceVersion", "model"): MODELS,
    ("Price", "currency"): tuple(sorted(EXPONENTS)),
    ("PlanTerms", "currency"): tuple(sorted(EXPONENTS)),
    ("Subscription", "currency"): tuple(sorted(EXPONENTS)),
}


class _Generator(GenerateJsonSchema):
    """As pydantic does, except that the pattern of a decimal says what is taken here."""

    def decimal_schema(self, schema: Any) -> JsonSchemaValue:
        """A number, or its text: up to 12 decimals."""
        return {"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^[+-]?\d+(\.\d{1,12})?$"}]}


def text() -> str:
    """The schema as the file has it."""
    schema = _tidy(Catalog.model_json_schema(schema_generator=_Generator))
    for (part, field), choices in _CHOICES.items():
        schema["$defs"][part]["properties"][field] |= {"enum": [*choices]}
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Catalog of meters, plans with prices, and teams",
    }
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _tidy(node: Any, *, names: bool = False) -> Any:
    """Without titles, which repeat the names of fields, and words that no editor knows.

    `names`: the keys of this object are names of fields.
    """
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _tidy(value, names=key in ("properties", "$defs") and not names)
        for key, value in node.items()
        if names or key not in ("title", "max_digits", "decimal_places")
    }

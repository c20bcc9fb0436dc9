"""What all parts of a catalog are made of."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


def _decimal(value: object) -> object:
    """Decimals come as text or whole numbers. A float has already lost what was written."""
    if isinstance(value, bool | float):
        raise ValueError("write the number as text, such as '0.001'")
    return value


Amount = Annotated[Decimal, BeforeValidator(_decimal), Field(max_digits=38, decimal_places=12, allow_inf_nan=False)]


def _on_a_quarter_hour(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("has no time zone: end it with Z or an offset")
    moment = moment.astimezone(UTC)
    if moment.minute % 15 or moment.second or moment.microsecond:
        raise ValueError("is not on a quarter of an hour, the smallest time that usage is added up for")
    return moment


Moment = Annotated[datetime, AfterValidator(_on_a_quarter_hour)]


class Part(BaseModel):
    """What all parts of a catalog have in common: they are values, and an unknown field is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, use_attribute_docstrings=True)


def plain(number: Decimal) -> str:
    """A decimal in its one way of being written, as it is kept: 1.50 is 1.5."""
    text = format(number, "f")
    return (text.rstrip("0").rstrip(".") if "." in text else text) if number else "0"

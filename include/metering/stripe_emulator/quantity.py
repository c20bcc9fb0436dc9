"""Quantities as Stripe takes them: a decimal written out in a string, 15 significant digits at most."""

import re
from decimal import Context, Decimal

MAX_DIGITS = 15
MAX_LENGTH = 100
_WRITTEN_OUT = re.compile(r"-?[0-9]+(\.[0-9]+)?")

# Wide enough that no sum of 15-digit values is ever rounded here.
_EXACT = Context(prec=200)


def is_written_out(text: str) -> bool:
    """Digits with an optional sign and point: no exponent, no spaces, no NaN."""
    return len(text) <= MAX_LENGTH and _WRITTEN_OUT.fullmatch(text) is not None


def significant_digits(text: str) -> int:
    """Digits from the first that is not zero to the last written one: a trailing zero is a digit too."""
    return len(text.removeprefix("-").replace(".", "").lstrip("0"))


def total(values: list[Decimal]) -> Decimal:
    """The exact sum, without an exponent."""
    result = Decimal(0)
    for value in values:
        result = _EXACT.add(result, value)
    return written_out(result)


def written_out(value: Decimal) -> Decimal:
    """The same number without trailing zeros or an exponent, so that JSON shows it in digits."""
    text = format(value, "f")
    return Decimal(text.rstrip("0").rstrip(".") if "." in text else text) + 0


def product(one: Decimal, other: Decimal) -> Decimal:
    """The exact product."""
    return _EXACT.multiply(one, other)

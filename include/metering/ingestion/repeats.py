"""Fields that a JSON object says twice. Decoders take the last of them and say nothing; nobody knows which was meant.

What was decoded is written again, and colons are counted. Each field brings one; the colons of texts are there before
and after; a field that was said twice leaves one behind. Only a colon that was written with an escape is not seen, so
where there is one, and wherever the counts differ, a slower reader looks at each field.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from metering.ingestion.events import Plain

_write = msgspec.json.Encoder(decimal_format="number").encode
# Numbers need not be made: they have no colons.
_read = msgspec.json.Decoder(float_hook=len)
_LONG = 4_096
_COLON = ord(":")


class _Said(list[tuple[str, Any]]):
    """The fields of an object, as they were said."""


_said = json.JSONDecoder(
    object_pairs_hook=_Said, parse_int=len, parse_float=len, parse_constant=len, strict=False
).decode


def none_in(text: bytes, decoded: Any) -> bool:
    """Whether it is sure that no object of `text` says a field twice; `decoded` holds all that was decoded of it."""
    if b"\\" in text and b"\\u003" in text:
        return False
    return colons(text) == colons(_write(decoded))


def none_among(text: bytes, events: Sequence[Plain], *, lines: bool = False) -> bool:
    """The same of a list or lines of events, leaving out what their properties say.

    Fields that are null are not written again, so where there are any, all is decoded once more.
    """
    return none_in(text, events) or _none_after_reading(text, lines=lines)


def first(text: bytes) -> str | None:
    """The first field that an object of this JSON says twice, such as `properties.region`; None where there is none.

    What is no JSON is for others to tell, and raises ValueError or RecursionError.
    """
    return None if _none_after_reading(text, lines=False) else _first(_said(text.decode()), "")


def _none_after_reading(text: bytes, *, lines: bool) -> bool:
    try:
        return none_in(text, _read.decode_lines(text) if lines else _read.decode(text))
    except (msgspec.DecodeError, ValueError, RecursionError, OverflowError):
        return False


def colons(text: bytes) -> int:
    """How many there are."""
    if len(text) < _LONG:
        return text.count(b":")
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == _COLON))


def _first(value: Any, place: str) -> str | None:
    names: set[str] = set()
    for name, below in value if isinstance(value, _Said) else ():
        if name in names:
            return f"{place}{name}"
        names.add(name)
        found = _first(below, f"{place}{name}.")
        if found is not None:
            return found
    for element in value if type(value) is list else ():
        found = _first(element, place)
        if found is not None:
            return found
    return None

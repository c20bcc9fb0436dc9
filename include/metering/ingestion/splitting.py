"""Taking a JSON list apart into the texts of its elements, where one of them can't be decoded and the others can.

This is the way of last resort, for lists that did not decode at once, so it is lenient: bytes that are no UTF-8, half a
character, NaN, or a number of a million digits spoil the element that they are in, and not the list. Nothing is made of
the elements, and no more are looked at than may come, however many there are.
"""

from __future__ import annotations

import json
import re

from metering.ingestion.events import Unreadable

_BLANK = re.compile(r"[ \t\n\r]*")
# The standard library's scanner, which tells where a value ends. It must neither make numbers nor judge them.
_scan = json.JSONDecoder(parse_int=len, parse_float=len, parse_constant=len, strict=False).raw_decode


def split_list(body: bytes, limit: int) -> list[bytes]:
    """Return the text of each element; raises `Unreadable` where it is no list, or one of more than `limit`."""
    text = body.decode(errors="surrogateescape")
    at = _after_blank(text, 0)
    if text[at : at + 1] != "[":
        raise _unreadable("a list was expected", text, at)
    elements: list[bytes] = []
    at = _after_blank(text, at + 1)
    while text[at : at + 1] != "]" or elements:
        try:
            _, end = _scan(text, at)
        except json.JSONDecodeError as error:
            raise _unreadable(error.msg[:1].lower() + error.msg[1:], text, error.pos) from None
        except RecursionError:
            raise Unreadable("The body is nested too deeply.") from None
        elements.append(text[at:end].encode(errors="surrogateescape"))
        if len(elements) > limit:
            raise Unreadable(f"The body holds more than {limit} events; {limit} are allowed.")
        at = _after_blank(text, end)
        if text[at : at + 1] == "]":
            break
        if text[at : at + 1] != ",":
            raise _unreadable("a comma or the end of the list was expected", text, at)
        at = _after_blank(text, at + 1)
    at = _after_blank(text, at + 1)
    if at < len(text):
        raise _unreadable("the list has ended, and there is more", text, at)
    return elements


def _after_blank(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at


def _unreadable(what: str, text: str, at: int) -> Unreadable:
    return Unreadable(f"The body is not JSON: {what}.", len(text[:at].encode(errors="surrogateescape")))

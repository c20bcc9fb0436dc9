"""Decoding of what was sent: JSON (one event, a list, or {"events": [...]}) or JSON lines.

The quick way decodes all events at once. Where that fails, each event is decoded by itself, so that one that is broken
is told apart from the others; only what cannot be taken apart into events at all is `Unreadable`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np

from metering.ingestion import repeats
from metering.ingestion.events import Event, Malformed, Plain, Unreadable
from metering.ingestion.numbers import Quantity, number, quantity
from metering.ingestion.splitting import split_list
from metering.ingestion.written import Written

T = TypeVar("T")
Broken = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

MAX_EVENTS = 10_000
MAX_EVENT_BYTES = 1024 * 1024
"""Of one that comes alone: many times what it can fill with what is allowed."""
MAX_LINES = 100_000
"""Blank ones included."""
MAX_BYTES = 32 * 1024 * 1024
"""Of a body, compressed or not."""


class _Sent(Event, forbid_unknown_fields=True, gc=False):
    """An event as JSON says it."""

    quantity: Quantity = Quantity(1)


_one_event = msgspec.json.Decoder(_Sent, float_hook=number, dec_hook=quantity).decode
_one_plain = msgspec.json.Decoder(Plain, float_hook=number).decode
_line_plains = msgspec.json.Decoder(Plain, float_hook=number).decode_lines
_many_plains = msgspec.json.Decoder(list[Plain], float_hook=number).decode


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    events: msgspec.Raw


class _Team(msgspec.Struct):
    team: str | None = None


class _Key(msgspec.Struct):
    idempotency_key: str | None = None


_only_team = msgspec.json.Decoder(_Team).decode
_only_key = msgspec.json.Decoder(_Key).decode
_envelope = msgspec.json.Decoder(_Envelope).decode
_raw_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_any_object = msgspec.json.Decoder(dict[str, Any], float_hook=number).decode

_END, _OPENED, _CLOSED = b"\n{}"
_AT_BYTE = re.compile(r" ?\(byte (\d+)\)")
_AT_FIELD = re.compile(r" - at (?:key in )?`\$\.?(?P<path>[^`]*)`")
_UNKNOWN_FIELD = re.compile(r"unknown field `(?P<name>[^`]*)`")
_MISSING_FIELD = re.compile(r"missing required field `(?P<name>[^`]*)`")


class Body:
    """The events of one request, and what was sent for each."""

    def __init__(
        self, text: bytes, *, lines: bool, plain: Sequence[Plain] | None = None, texts: list[bytes] | None = None
    ) -> None:
        """Hold the text of a list, or of lines; its events where all were decoded the quick way, else their texts."""
        self.plain = plain
        self._text = text
        self._lines = lines
        self._raw = texts

    @classmethod
    def parse(cls, body: bytes, *, lines: bool = False) -> Body:
        """Decode a body, JSON lines or JSON; raises `Unreadable`."""
        if lines:
            told = plain_lines(body)
            if told is not None:
                return cls(body, lines=True, plain=bounded(told))
            return cls(body, lines=True, texts=[*bounded(_split_lines(body))])
        start = body.lstrip()[:1]
        if start == b"{":
            try:
                if len(body) <= MAX_EVENT_BYTES:
                    one = [_one_plain(body)]
                    plain = one if repeats.none_among(body, one) else None
                    return cls(b"[" + body + b"]", lines=False, plain=plain, texts=[body])
            except Broken:
                pass
            try:
                whole, body = body, bytes(_envelope(body).events)
                if repeats.colons(whole) > repeats.colons(body) + 1:
                    raise Unreadable("The list named events is there twice.")
            except msgspec.ValidationError:  # another object: one event
                if len(body) > MAX_EVENT_BYTES:
                    raise Unreadable(f"The event takes {len(body)} bytes; {MAX_EVENT_BYTES} are allowed.") from None
                if "events" in _any_keys(body):
                    raise Unreadable("The list named events has to be the object's only field.") from None
                return cls(b"[" + body + b"]", lines=False, texts=[body])
            except Broken as error:
                raise unreadable(error) from None
        elif start != b"[":
            raise Unreadable('The body is neither an event, a list of events, nor {"events": [...]}.', 0)
        try:
            events = bounded(_many_plains(body))
            if repeats.none_among(body, events):
                return cls(body, lines=False, plain=events)
        except Broken:
            pass
        return cls(body, lines=False, texts=split_list(body, MAX_EVENTS))

    def __len__(self) -> int:
        return len(self._texts()) if self.plain is None else len(self.plain)

    @property
    def events(self) -> Sequence[Event | Malformed]:
        """Each event, decoded in full."""
        return [decode_event(text) for text in self._texts()]

    @property
    def written(self) -> Written | None:
        """The events column by column, where all were decoded the quick way."""
        return None if self.plain is None else Written.of(self.plain)

    @property
    def vectors(self) -> None:
        """Of a thousand events, which a body holds, arrays would cost as much as they save."""

    @property
    def holds_escapes(self) -> bool:
        """Whether any text of it is written with a backslash."""
        return b"\\" in self._text

    def event(self, index: int) -> Event | Malformed:
        """The event at `index`, decoded in full."""
        return decode_event(self._texts()[index])

    def payload(self, index: int) -> str:
        """The event at `index` as it was sent; bytes that are no UTF-8 are written as \\xNN."""
        return self._texts()[index].decode(errors="backslashreplace")

    def _texts(self) -> list[bytes]:
        if self._raw is None:
            self._raw = _split_lines(self._text) if self._lines else split_list(self._text, MAX_EVENTS)
        return self._raw

    def line(self, index: int) -> int | None:
        """Nothing here comes from a file."""
        return None


def plain_lines(text: bytes) -> list[Plain] | None:
    """The events of JSON lines the quick way; None where that fails, or where a line is not one event from end to end.

    The decoder sees objects and no lines: two of them on one line, or one on two, would be told of by wrong numbers.
    """
    try:
        events = _line_plains(text)
    except Broken:
        return None
    return events if _a_line_each(text, len(events)) and repeats.none_among(text, events, lines=True) else None


def _a_line_each(text: bytes, count: int) -> bool:
    """Whether the text is so many lines, blank ones apart, each of which begins and ends as an object does."""
    if text[:1] == b"{" and text[-2:] == b"}\n":
        signs = np.frombuffer(text, np.uint8)
        ends = np.flatnonzero(signs == _END)
        if len(ends) == count and (signs[ends - 1] == _CLOSED).all() and (signs[ends[:-1] + 1] == _OPENED).all():
            return True
    lines = [line for line in map(bytes.strip, text.split(b"\n")) if line]
    return len(lines) == count and all(line[:1] == b"{" and line[-1:] == b"}" for line in lines)


def decode_event(text: bytes) -> Event | Malformed:
    """Decode one event; what is wrong with it is told by a code, a field and a sentence."""
    found = _decode_event(text)
    if isinstance(found, Malformed):
        tell_whose(found, text)
    return found


def _decode_event(text: bytes) -> Event | Malformed:
    try:
        event = _one_event(text)
        twice = repeats.first(text)
        return event if twice is None else said_twice(twice)
    except msgspec.ValidationError as error:
        return misshapen(str(error))
    except UnicodeDecodeError:
        return Malformed("invalid_encoding", None, "The event is not UTF-8.")
    except RecursionError:
        return Malformed("invalid_json", None, "The event is nested too deeply.")
    except msgspec.DecodeError as error:
        return Malformed("invalid_json", None, f"The event is not JSON: {_sentence(error)}")


def decode_object(text: bytes, *, last: bool = False) -> dict[str, Any] | Malformed:
    """Decode one JSON object of any fields, its numbers exactly; with `last`, the last of what it says twice."""
    try:
        found = _any_object(text)
        twice = None if last else repeats.first(text)
        return found if twice is None else said_twice(twice)
    except msgspec.ValidationError:
        return Malformed("invalid_json", None, "The line is not a JSON object.")
    except UnicodeDecodeError:
        return Malformed("invalid_encoding", None, "The line is not UTF-8.")
    except (RecursionError, msgspec.DecodeError) as error:
        return Malformed("invalid_json", None, f"The line is not JSON: {_sentence(error)}")


def tell_whose(found: Malformed, text: bytes) -> None:
    """Say which team, and which key, an object names that is wrong in another way."""
    with contextlib.suppress(*Broken):
        found.team = None if found.field == "team" else _only_team(text).team
    with contextlib.suppress(*Broken):
        found.idempotency_key = None if found.field == "idempotency_key" else _only_key(text).idempotency_key


def said_twice(field: str) -> Malformed:
    """Tell that an object says a field twice."""
    return Malformed("repeated_field", field, f"The field {field[:80]!r} is there twice; which one is meant?")


def _any_keys(body: bytes) -> set[str]:
    try:
        return set(_raw_object(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise unreadable(error) from None


def bounded(events: Sequence[T]) -> Sequence[T]:
    """Return these events; raise `Unreadable` where they are too many."""
    if len(events) > MAX_EVENTS:
        raise Unreadable(f"The body holds {len(events)} events; {MAX_EVENTS} are allowed.")
    return events


def _split_lines(body: bytes) -> list[bytes]:
    if body.count(b"\n") > MAX_LINES:
        raise Unreadable(f"The body has more than {MAX_LINES} lines.")
    return [line for line in body.split(b"\n") if line.strip()]


def misshapen(said: str) -> Malformed:
    """Tell what the decoder says of JSON that is no event."""
    unknown = _UNKNOWN_FIELD.search(said)
    if unknown:
        return Malformed("unknown_field", unknown["name"], f"There is no field {unknown['name']!r} in an event.")
    missing = _MISSING_FIELD.search(said)
    if missing:
        return Malformed(f"missing_{missing['name']}", missing["name"], f"The field {missing['name']!r} is missing.")
    place = _AT_FIELD.search(said)
    field = place["path"] if place and place["path"] else None
    what = {"": "json", "idempotency_key": "key"}.get(field or "", re.split(r"[.\[]", field or "")[0])
    sentence = _AT_FIELD.sub("", said).replace("`", "")
    return Malformed(f"invalid_{what}", field, f"{f'The field {field} is wrong: ' if field else ''}{sentence}.")


def _sentence(error: Exception) -> str:
    return _AT_BYTE.sub("", str(error)).removeprefix("JSON is malformed: ").replace("`", "").rstrip(".") + "."


def unreadable(error: Exception) -> Unreadable:
    """Tell what the decoder says of what is no JSON."""
    if isinstance(error, RecursionError):
        return Unreadable("The body is nested too deeply.")
    if isinstance(error, UnicodeDecodeError):
        return Unreadable("The body is not UTF-8.")
    position = _AT_BYTE.search(str(error))
    sentence = _sentence(error)
    return Unreadable(f"The body is not JSON: {sentence}", int(position[1]) if position else None)

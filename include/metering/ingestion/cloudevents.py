"""CloudEvents 1.0, as usage events: single and in batches (JSON event format), and in binary mode (HTTP headers).

Rules: https://github.com/cloudevents/spec, `spec.md`, `formats/json-format.md`, `bindings/http-protocol-binding.md`.

| CloudEvent | usage event |
|---|---|
| `type` | event |
| `source` and `id` | idempotency key: what makes a CloudEvent one and the same |
| `time` | time |
| `subject` | subject |
| `data` | an object of team, meter, quantity, unit and properties, each of them optional |

Other attributes and extensions belong to those who carry the event, may differ from one sending to the next, and mean
nothing here.
"""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from metering.ingestion import repeats
from metering.ingestion.body import MAX_EVENTS, bounded, misshapen, said_twice, tell_whose, unreadable
from metering.ingestion.events import Event, Malformed, Unreadable
from metering.ingestion.numbers import Quantity, number, quantity
from metering.ingestion.splitting import split_list

VERSION = "1.0"
SINGLE = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_JSON = re.compile(r"[\w.+-]+/([\w.+-]+\+)?json *(;.*)?", re.ASCII | re.IGNORECASE)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")


_ONE = Quantity(1)


class Usage(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The data of a CloudEvent."""

    team: str | None = None
    meter: str | None = None
    quantity: Quantity = _ONE
    unit: str | None = None
    properties: dict[str, Any] = {}


class CloudEvent(msgspec.Struct, gc=False):
    """A CloudEvent in JSON, as far as it means something here."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str | None = None
    time: str | None = None
    datacontenttype: str | None = None
    data: Usage | None = None
    data_base64: str | None = None


class _Data(msgspec.Struct):
    data: msgspec.Raw = msgspec.Raw()
    data_base64: str | None = None


_only_data = msgspec.json.Decoder(_Data).decode
_one = msgspec.json.Decoder(CloudEvent, float_hook=number, dec_hook=quantity).decode
_many = msgspec.json.Decoder(list[CloudEvent], float_hook=number, dec_hook=quantity).decode
_usage = msgspec.json.Decoder(Usage, float_hook=number, dec_hook=quantity).decode
_raw = msgspec.json.Decoder(msgspec.Raw).decode
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class CloudEvents:
    """The events of one request, and what was sent for each."""

    def __init__(self, events: Sequence[Event | Malformed], sent: bytes, *, many: bool) -> None:
        """Hold decoded events and the JSON that they were decoded from."""
        self.events = events
        self._sent = sent
        self._many = many
        self._raw: list[bytes] | None = None

    def __len__(self) -> int:
        return len(self.events)

    def payload(self, index: int) -> str:
        """The CloudEvent at `index` in JSON; bytes that are no UTF-8 are written as \\xNN."""
        if self._raw is None:
            self._raw = split_list(self._sent, MAX_EVENTS) if self._many else [self._sent]
        return self._raw[index].decode(errors="backslashreplace")

    def line(self, index: int) -> int | None:
        """Nothing here comes from a file."""
        return None


def single(body: bytes) -> CloudEvents:
    """Decode one CloudEvent in JSON; raises `Unreadable`."""
    try:
        _raw(body)
    except _NOT_JSON as error:
        raise unreadable(error) from None
    return CloudEvents([decode(body)], body, many=False)


def batch(body: bytes) -> CloudEvents:
    """Decode a JSON array of CloudEvents, which may be empty; raises `Unreadable`."""
    try:
        events = bounded(_many(body))
        if repeats.first(body) is None:
            found = [_event(event) for event in events]
            if not any(isinstance(event, Malformed) for event in found):
                return CloudEvents(found, body, many=True)
    except _NOT_JSON:
        pass  # then one by one
    return CloudEvents([decode(event) for event in split_list(body, MAX_EVENTS)], body, many=True)


def binary(headers: Iterable[tuple[bytes, bytes]], content_type: str | None, body: bytes) -> CloudEvents:
    """Put one CloudEvent together from `ce-` headers and a body of data; raises `Unreadable`.

    For the quarantine it is kept as the JSON that says the same.
    """
    attributes: dict[str, Any] = {}
    for header, value in headers:
        if header.startswith(b"ce-"):
            name = header[3:].decode("latin-1")
            if name in attributes:
                raise Unreadable(f"The header ce-{name[:40]} was sent more than once.")
            attributes[name] = _header_value(name, value)
    for name in ("data", "data_base64", "datacontenttype"):
        if attributes.pop(name, None) is not None:
            raise Unreadable(f"In binary mode, the header ce-{name} must not be sent.")
    if content_type:
        attributes["datacontenttype"] = content_type
    if body:
        attributes["data_base64"] = base64.b64encode(body).decode()
    event = decode(msgspec.json.encode(attributes))
    if body:
        try:
            attributes["data"] = _raw(body)
        except _NOT_JSON:
            pass  # it stays as it is
        else:
            del attributes["data_base64"]
    return CloudEvents([event], msgspec.json.encode(attributes), many=False)


def decode(text: bytes) -> Event | Malformed:
    """Decode one CloudEvent in JSON; what is wrong with it is told by a code, a field and a sentence."""
    found = _decode(text)
    if isinstance(found, Malformed):
        with contextlib.suppress(*_NOT_JSON, ValueError):
            said = _only_data(text)
            encoded = said.data_base64
            data = bytes(said.data) if encoded is None else base64.b64decode(encoded, validate=True)
            tell_whose(found, data)
            found.idempotency_key = None  # it is made of other attributes
    return found


def _decode(text: bytes) -> Event | Malformed:
    try:
        event, twice = _one(text), repeats.first(text)
        return _event(event) if twice is None else said_twice(twice)
    except msgspec.ValidationError as error:
        return misshapen(str(error))
    except _NOT_JSON as error:
        return Malformed("invalid_json", None, unreadable(error).message)


def _event(said: CloudEvent) -> Event | Malformed:
    if said.specversion != VERSION:
        message = f"CloudEvents {said.specversion[:20]!r} are not known; {VERSION} are."
        return Malformed("invalid_specversion", "specversion", message)
    for name, text in (("id", said.id), ("source", said.source), ("type", said.type), ("subject", said.subject)):
        if text is not None and (not text or _CONTROL.search(text)):
            message = f"The attribute {name} of a CloudEvent is a text that is not empty, without control characters."
            return Malformed(f"invalid_{name}", name, message)
    if " " in said.source:
        return Malformed("invalid_source", "source", "The attribute source is a URI reference; it holds a space.")
    usage = said.data
    if said.datacontenttype and not _JSON.fullmatch(said.datacontenttype):
        message = f"The data is {said.datacontenttype[:80]!r}; it has to be JSON."
        return Malformed("invalid_datacontenttype", "datacontenttype", message)
    if said.data_base64 is not None:
        if usage is not None:
            return Malformed("invalid_data", "data", "A CloudEvent has data or data_base64, not both.")
        try:
            sent = base64.b64decode(said.data_base64, validate=True)
            usage, twice = _usage(sent), repeats.first(sent)
            if twice is not None:
                return said_twice(f"data.{twice}")
        except msgspec.ValidationError as error:
            return misshapen(str(error))
        except _NOT_JSON as error:
            message = unreadable(error).message.replace("The body", "The data")
            return Malformed("invalid_data", "data", message)
        except ValueError:  # of b64decode
            return Malformed("invalid_data", "data_base64", "The field data_base64 is not Base64.")
    usage = usage or Usage()
    return Event(
        event=said.type,
        meter=usage.meter,
        team=usage.team,
        quantity=usage.quantity,
        unit=usage.unit,
        # A source holds no space, so that no two pairs make the same key.
        idempotency_key=f"{said.source} {said.id}",
        time=said.time,
        subject=said.subject,
        properties=usage.properties,
    )


def _header_value(name: str, value: bytes) -> str:
    """Unquote and percent-decode the value of a header, once each, in this order (HTTP binding, 3.1.3.2)."""
    text = _QUOTED.sub(lambda quoted: _ESCAPED.sub(r"\1", quoted[1]), value.decode("latin-1"))
    try:
        return unquote_to_bytes(text.encode("latin-1")).decode()
    except UnicodeDecodeError:
        raise Unreadable(f"The header ce-{name[:40]} is not UTF-8, percent-encoded.") from None

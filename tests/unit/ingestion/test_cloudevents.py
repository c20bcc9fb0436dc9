"""CloudEvents 1.0 in the three content modes, by the rules of the specification."""

from __future__ import annotations

import base64
import json
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.ingestion import cloudevents
from metering.ingestion.events import Event, Malformed, Unreadable

GOOD: dict[str, Any] = {
    "specversion": "1.0",
    "type": "api_request",
    "source": "https://api.example.com/eu",
    "id": "req-7f3a",
    "time": "2026-10-25T02:30:00Z",
    "subject": "user-1",
    "datacontenttype": "application/json",
    "data": {"team": "acme", "quantity": "0.25", "unit": "request", "properties": {"status": 200}},
}
SAME = Event(
    event="api_request",
    team="acme",
    quantity=Decimal("0.25"),
    unit="request",
    idempotency_key="https://api.example.com/eu req-7f3a",
    time="2026-10-25T02:30:00Z",
    subject="user-1",
    properties={"status": 200},
)


def without(*names: str, **more: Any) -> bytes:
    return json.dumps({name: value for name, value in GOOD.items() if name not in names} | more).encode()


def headers(**more: str) -> list[tuple[bytes, bytes]]:
    said = {name: GOOD[name] for name in ("specversion", "type", "source", "id", "time", "subject")} | more
    return [(f"ce-{name}".encode(), value.encode()) for name, value in said.items()]


def test_each_mode_says_the_same() -> None:
    body = json.dumps(GOOD).encode()
    assert list(cloudevents.single(body).events) == [SAME]
    assert list(cloudevents.batch(b"[" + body + b"," + body + b"]").events) == [SAME, SAME]
    data = json.dumps(GOOD["data"]).encode()
    in_binary = cloudevents.binary(headers(), "application/json; charset=utf-8", data)
    assert list(in_binary.events) == [SAME]
    in_base64 = without("data", data_base64=base64.b64encode(data).decode())
    assert list(cloudevents.single(in_base64).events) == [SAME]


def test_what_is_kept_of_an_event_can_be_decoded_again() -> None:
    data = json.dumps(GOOD["data"]).encode()
    for events in (
        cloudevents.single(json.dumps(GOOD).encode()),
        cloudevents.batch(b"[" + json.dumps(GOOD).encode() + b"]"),
        cloudevents.binary(headers(), "application/json", data),
    ):
        assert cloudevents.decode(events.payload(0).encode()) == SAME


def test_an_empty_batch_holds_nothing_and_data_may_be_left_out() -> None:
    assert list(cloudevents.batch(b" [] ").events) == []
    (event,) = cloudevents.single(without("data", "time", "subject", "datacontenttype")).events
    assert isinstance(event, Event) and event.quantity == 1 and event.properties == {} and event.time is None
    (event,) = cloudevents.binary(headers(), None, b"").events
    assert isinstance(event, Event) and event.quantity == 1


def test_extensions_of_those_who_carry_an_event_change_nothing() -> None:
    carried = without(traceparent="00-4bf9-00f0-01", partitionkey="7", dataschema="https://example.com/usage")
    assert list(cloudevents.single(carried).events) == [SAME]
    data = json.dumps(GOOD["data"]).encode()
    assert list(cloudevents.binary(headers(traceparent="00-4bf9"), "application/json", data).events) == [SAME]


def test_the_identity_is_the_source_and_the_id_together() -> None:
    keys = set()
    for source, identifier in (("/a", "b"), ("/a/b", ""), ("/a", "b c"), ("/a b", "c"), ("/ab", "c"), ("/a", "bc")):
        event = cloudevents.decode(without(source=source, id=identifier))
        if isinstance(event, Event):
            keys.add(event.idempotency_key)
    assert len(keys) == 4  # an id must not be empty, a source holds no space


@pytest.mark.parametrize(
    ("text", "reason", "field"),
    [
        (without("id"), "missing_id", "id"),
        (without("source"), "missing_source", "source"),
        (without("type"), "missing_type", "type"),
        (without("specversion"), "missing_specversion", "specversion"),
        (without(specversion="0.3"), "invalid_specversion", "specversion"),
        (without(id=""), "invalid_id", "id"),
        (without(id=7), "invalid_id", "id"),
        (without(source="not a uri"), "invalid_source", "source"),
        (without(subject=""), "invalid_subject", "subject"),
        (without(type="a\u0007b"), "invalid_type", "type"),
        (without(datacontenttype="text/xml"), "invalid_datacontenttype", "datacontenttype"),
        (without(data=5), "invalid_data", "data"),
        (without(data={"quantity": "many"}), "invalid_data", "data.quantity"),
        (without(data={"quantitty": 5}), "unknown_field", "quantitty"),
        (without(data_base64="e30="), "invalid_data", "data"),
        (without("data", data_base64="no"), "invalid_data", "data_base64"),
        (without("data", data_base64="é"), "invalid_data", "data_base64"),
        (without("data", data_base64=base64.b64encode(b"{").decode()), "invalid_data", "data"),
    ],
)
def test_what_is_no_valid_cloudevent_is_told_apart(text: bytes, reason: str, field: str) -> None:
    (broken,) = cloudevents.single(text).events
    assert isinstance(broken, Malformed)
    assert (broken.reason, broken.field) == (reason, field)
    first, again, last = cloudevents.batch(b"[" + without() + b"," + text + b"," + without() + b"]").events
    assert (first, last) == (SAME, SAME) and again == broken


@pytest.mark.parametrize("text", [b"", b"{", b"[" * 100_000, b'{"id": "\xff"}', b"[" + without() + b"]"])
def test_what_is_not_json_at_all_is_unreadable_or_no_event(text: bytes) -> None:
    try:
        events = cloudevents.single(text).events
    except Unreadable:
        return
    assert isinstance(events[0], Malformed)


def test_a_batch_that_is_no_list_is_unreadable() -> None:
    for text in (b"", b"{}", without(), b"[{]"):
        with pytest.raises(Unreadable):
            cloudevents.batch(text)


def test_data_of_a_binary_event_that_is_not_json_is_kept_as_it_came() -> None:
    events = cloudevents.binary(headers(), "application/json", b"\xff\x00")
    (broken,) = events.events
    assert isinstance(broken, Malformed) and broken.reason == "invalid_data"
    assert base64.b64decode(json.loads(events.payload(0))["data_base64"]) == b"\xff\x00"
    (xml,) = cloudevents.binary(headers(), "text/xml", b"<usage/>").events
    assert isinstance(xml, Malformed) and xml.reason == "invalid_datacontenttype"


def test_header_values_are_unquoted_and_then_percent_decoded_once() -> None:
    # The example of the HTTP binding, section 3.1.3.2.
    for sent in (
        "Euro%20%E2%82%AC%20%F0%9F%98%80",
        '"Euro %E2%82%AC%20%f0%9f%98%80"',
        '"E\\uro" %E2%82%AC%20%F0%9F%98%80',
    ):
        (event,) = cloudevents.binary(headers(subject=sent), None, b"").events
        assert isinstance(event, Event) and event.subject == "Euro € 😀"
    (event,) = cloudevents.binary(headers(subject="100%2525"), None, b"").events
    assert isinstance(event, Event) and event.subject == "100%25"


@pytest.mark.parametrize("more", [{"subject": "%C0%A0"}, {"data": "x"}, {"datacontenttype": "application/json"}])
def test_headers_that_must_not_be_are_unreadable(more: dict[str, str]) -> None:
    with pytest.raises(Unreadable):
        cloudevents.binary(headers(**more), "application/json", b"{}")


def test_an_attribute_sent_twice_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="ce-id"):
        cloudevents.binary([*headers(), (b"ce-id", b"another")], None, b"")


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=50))
def test_any_subject_survives_the_way_through_a_header(subject: str) -> None:
    sent = quote(subject, safe="!#$&'()*+,-./:;<=>?@[]^_`{|}~\\")
    (event,) = cloudevents.binary(headers(subject=sent), None, b"").events
    assert isinstance(event, Event) and event.subject == subject

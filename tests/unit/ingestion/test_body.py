"""Decoding of bodies: every shape, and what is broken told apart from what is not."""

from __future__ import annotations

import pytest

from metering.ingestion.body import Body
from metering.ingestion.events import Event, Malformed, Unreadable

GOOD = '{"event": "call", "idempotency_key": "a"}'


def reasons(body: Body) -> list[str | None]:
    return [event.reason if isinstance(event, Malformed) else None for event in body.events]


@pytest.mark.parametrize(
    ("text", "lines", "count"),
    [
        (GOOD, False, 1),
        (f" \n[{GOOD}, {GOOD}] ", False, 2),
        (f'{{"events": [{GOOD}]}}', False, 1),
        ("[]", False, 0),
        (f"{GOOD}\n\n{GOOD}\n", True, 2),
    ],
)
def test_each_shape_of_a_body_holds_its_events(text: str, lines: bool, count: int) -> None:
    body = Body.parse(text.encode(), lines=lines)
    assert len(body.events) == count
    assert all(isinstance(event, Event) for event in body.events)


def test_one_broken_event_is_told_apart_from_the_others() -> None:
    broken = [
        b'{"event": "call", "quantitty": 5}',
        b'{"event": "call", "quantity": true}',
        b'{"event": "call", "quantity": "many"}',
        b'{"event": "call", "time": 5}',
        b'{"event": "call", "properties": []}',
        b'{"event": "call", "idempotency_key": 7}',
        b'{"event": "\xff"}',
        b"7",
    ]
    body = Body.parse(b"[" + b",".join([GOOD.encode(), *broken, GOOD.encode()]) + b"]")
    assert reasons(body) == [
        None,
        "unknown_field",
        "invalid_quantity",
        "invalid_quantity",
        "invalid_time",
        "invalid_properties",
        "invalid_key",
        "invalid_encoding",
        "invalid_json",
        None,
    ]
    assert body.payload(1) == '{"event": "call", "quantitty": 5}'
    assert body.payload(7) == '{"event": "\\xff"}'


def test_a_broken_line_is_told_apart_from_the_others() -> None:
    body = Body.parse(f"{GOOD}\n{{oh no\n{GOOD}".encode(), lines=True)
    assert reasons(body) == [None, "invalid_json", None]
    assert body.payload(1) == "{oh no"


@pytest.mark.parametrize(
    "text", [b"", b"nonsense", b"[{]", b'[{"event": "call"}', b'{"events": 5}', b'{"events": [], "more": 1}', b"{"]
)
def test_what_holds_no_events_is_unreadable(text: bytes) -> None:
    with pytest.raises(Unreadable):
        Body.parse(text)


def test_the_position_of_a_mistake_in_json_is_told() -> None:
    with pytest.raises(Unreadable) as caught:
        Body.parse(b'[{"event": "call"}, oh]')
    assert caught.value.position == 20


def test_deeply_nested_json_is_refused() -> None:
    with pytest.raises(Unreadable, match="nested"):
        Body.parse(b"[" * 100_000)
    nested = b'[{"event": "call", "properties": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}]"
    with pytest.raises(Unreadable, match="nested"):
        Body.parse(nested)


def test_more_than_ten_thousand_events_are_refused() -> None:
    with pytest.raises(Unreadable, match="10000 are allowed"):
        Body.parse(f"[{','.join([GOOD] * 10_001)}]".encode())


def test_numbers_never_pass_through_a_float() -> None:
    text = '{"event": "call", "quantity": 0.30000000000000000001, "properties": {"a": 12345678901234567890.5}}'
    event = Body.parse(text.encode()).events[0]
    assert isinstance(event, Event)
    assert str(event.quantity) == "0.30000000000000000001"
    assert str(event.properties["a"]) == "12345678901234567890.5"


@pytest.mark.parametrize(
    "text",
    [
        b'{"event":"a"}{"event":"b"}\n{"event":"c"\n}',
        b'{"event":"a"}{"event":"b"}\n',
        b'{"event":\n"a"}{"event":"b"}',
    ],
)
def test_a_line_is_one_event_or_none(text: bytes) -> None:
    """Each line is accounted for by its own number, whatever its neighbours hold."""
    body = Body.parse(text, lines=True)
    lines = [line for line in text.split(b"\n") if line]
    assert body.plain is None and len(body) == len(lines)
    assert [body.payload(index) for index in range(len(body))] == [line.decode() for line in lines]
    assert all(isinstance(event, Malformed) for event in body.events)

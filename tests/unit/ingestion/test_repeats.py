"""What an object says twice is found however it is written, and nothing else is taken for it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.ingestion import repeats
from metering.ingestion.body import decode_event, decode_object
from metering.ingestion.cloudevents import batch, single
from metering.ingestion.events import Malformed

names = st.sampled_from(["a", "b", "time", ":", "\\u003a", '":', "ü"])
texts = st.one_of(st.text(max_size=4), st.sampled_from(["12:00:00", '":"', "\\u003a", "https://x:1"]))
leaves = st.one_of(texts, st.integers(), st.none(), st.booleans(), st.just(1.5))


def written(name: str, escaped: bool) -> str:
    """A text as JSON, each character escaped if that is wanted."""
    return '"' + "".join(f"\\u{ord(sign):04x}" for sign in name) + '"' if escaped else json.dumps(name)


@st.composite
def objects(draw: st.DrawFn, depth: int = 2) -> str:
    """JSON objects that may say fields twice, in any spelling."""
    below = st.one_of(leaves.map(json.dumps), objects(depth - 1)) if depth else leaves.map(json.dumps)
    blank = st.sampled_from(["", " ", "\n\t"])
    pairs = draw(st.lists(st.tuples(names, st.booleans(), below), max_size=4))
    fields = [f"{written(name, escaped)}{draw(blank)}:{draw(blank)}{value}" for name, escaped, value in pairs]
    return "{" + ",".join(fields) + "}"


def says_twice(text: str) -> bool:
    found: list[bool] = []

    def look(pairs: list[tuple[str, Any]]) -> None:
        found.append(len({name for name, _ in pairs}) < len(pairs))

    json.loads(text, object_pairs_hook=look)
    return any(found)


@given(objects())
def test_a_field_is_found_to_be_said_twice_just_where_it_is(text: str) -> None:
    assert (repeats.first(text.encode()) is not None) is says_twice(text)
    if repeats.none_in(text.encode(), msgspec.json.decode(text)):
        assert not says_twice(text)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{"a": 1, "a": 1}', "a"),
        ('{"a": {"b": 1, "b": 2}}', "a.b"),
        ('{"a": [1, {"b": 1, "b": 2}]}', "a.b"),
        ('{"a": 1, "\\u0061": 2}', "a"),
        ('{"a": {"b": 1}, "c": {"b": 1}, "d": "12:30, \\"b\\": 1"}', None),
    ],
)
def test_the_place_of_the_field_is_told(text: str, field: str | None) -> None:
    assert repeats.first(text.encode()) == field


def test_every_reader_of_objects_refuses_what_they_say_twice() -> None:
    event = b'{"event": "call", "idempotency_key": "a", "idempotency_key": "b"}'
    cloud = b'{"specversion": "1.0", "id": "1", "id": "2", "source": "s", "type": "call"}'
    data = b'{"specversion": "1.0", "id": "1", "source": "s", "type": "call", "data": {"quantity": 1, "quantity": 2}}'
    packed = data.replace(
        b'"data": {"quantity": 1, "quantity": 2}', b'"data_base64": "eyJ1bml0IjoiYSIsInVuaXQiOiJiIn0="'
    )
    found = [
        decode_event(event),
        decode_object(event),
        *single(cloud).events,
        *batch(b"[%b,%b]" % (data, packed)).events,
    ]
    assert [(one.reason, one.field) for one in found if isinstance(one, Malformed)] == [
        ("repeated_field", field)
        for field in ("idempotency_key", "idempotency_key", "id", "data.quantity", "data.unit")
    ]
    assert isinstance(decode_object(event, last=True), dict)

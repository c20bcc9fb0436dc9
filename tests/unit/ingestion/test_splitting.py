"""Taking a list apart: the same elements as a decoder finds, and only the spoilt ones spoilt."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.ingestion.events import Unreadable
from metering.ingestion.splitting import split_list

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(VALUES, max_size=6), st.sampled_from([None, 1, "\t"]), st.booleans())
def test_the_elements_of_any_list_are_found(values: list[Any], indent: Any, ascii_only: bool) -> None:
    text = json.dumps(values, indent=indent, ensure_ascii=ascii_only)
    split = split_list(f" \n{text}\r\n ".encode(errors="surrogatepass"), 10)
    assert [json.dumps(json.loads(part.decode(errors="surrogatepass"))) for part in split] == [
        json.dumps(value) for value in values
    ]


@given(st.binary(max_size=60) | st.text('[]{},:"\\ 1e-.ntrufalsN', max_size=40).map(str.encode))
def test_whatever_comes_is_taken_apart_or_unreadable(body: bytes) -> None:
    try:
        parts = split_list(body, 5)
    except Unreadable as unreadable:
        assert unreadable.position is None or 0 <= unreadable.position <= len(body)
    else:
        assert all(part in body for part in parts)


def test_a_spoilt_element_spoils_no_other() -> None:
    spoilt = [b'"\xff"', b'"\\ud800"', b"NaN", b"9" * 100_000, b'{"a": "\n"}', b"1e999999999"]
    assert split_list(b"[1," + b", ".join(spoilt) + b",2]", 100) == [b"1", *spoilt, b"2"]


@pytest.mark.parametrize(
    ("body", "position"),
    [
        (b"", 0),
        (b"{}", 0),
        (b"[1", 2),
        (b"[1,]", 3),
        (b"[,1]", 1),
        (b"[1 2]", 3),
        (b"[1] 2", 4),
        ('["é", x]'.encode(), 7),
        (b'["a', 1),
        (b"]", 0),
    ],
)
def test_where_a_list_breaks_off_is_told_in_bytes(body: bytes, position: int) -> None:
    with pytest.raises(Unreadable, match="not JSON") as caught:
        split_list(body, 10)
    assert caught.value.position == position


def test_no_more_is_looked_at_than_may_come() -> None:
    started = time.process_time()
    with pytest.raises(Unreadable, match="more than 10000"):
        split_list(b"[" + b"1," * 8_000_000 + b"1]", 10_000)
    with pytest.raises(Unreadable, match="nested"):
        split_list(b"[" * 1_000_000, 10_000)
    assert time.process_time() - started < 1

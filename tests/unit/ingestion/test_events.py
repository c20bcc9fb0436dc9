"""Identity of events: what is the same content, and how decimals are written."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.ingestion.body import Body
from metering.ingestion.catalog import Catalog, Listeners, Meter
from metering.ingestion.events import Fact, plain_decimal
from metering.ingestion.validation import Judge

CATALOG = Catalog(
    {"acme": 1},
    {"call": Listeners(frozenset(["call"]), (Meter(None, True, True, {}),), True, ())},
)


def fact(json: str) -> Fact:
    body = Body.parse(json.encode())
    events = Judge(CATALOG).sort(body.events, body)
    assert not events.rejects, events.rejects
    return events.facts[0]


def call(quantity: str = "1", properties: str = "{}", time: str = "2026-10-01T00:00:00Z", **more: str) -> str:
    extra = "".join(f', "{name}": "{value}"' for name, value in more.items())
    head = f'{{"team": "acme", "event": "call", "quantity": {quantity}, "time": "{time}"'
    return f'{head}, "properties": {properties}{extra}}}'


fitting = st.decimals(
    min_value=Decimal("-1e25"), max_value=Decimal("1e25"), places=12, allow_nan=False, allow_infinity=False
)


countable = st.decimals(min_value=Decimal("-1e20"), max_value=Decimal("1e20"), places=12, allow_nan=False)


@given(countable, st.integers(0, 6))
def test_a_quantity_is_the_same_content_however_it_is_written(value: Decimal, zeros: int) -> None:
    plain = format(value, "f")
    spellings = {plain, plain + "0" * zeros, f"{value:E}"}
    digests = {fact(call(form)).content_digest for text in spellings for form in (text, f'"{text}"')}
    assert len(digests) == 1


def test_one_and_one_point_zero_are_the_same_content_as_number_and_as_text() -> None:
    digests = {fact(call(quantity)).content_digest for quantity in ("1", "1.0", '"1.00"', "10e-1", '"1"')}
    assert len(digests) == 1
    assert fact(call("1.01")).content_digest not in digests


@given(fitting)
def test_a_decimal_is_written_exactly_and_in_one_way(value: Decimal) -> None:
    text = plain_decimal(value)
    assert Decimal(text) == value
    assert "E" not in text and text != "-0"
    assert plain_decimal(Decimal(text)) == text


@pytest.mark.parametrize(
    "text",
    ["NaN", "Infinity", "-Infinity", "1e26", "1e-13", "0.1234567890123", "1e999999999", "9" * 27, "1e-999999999"],
)
def test_a_decimal_that_does_not_fit_is_refused_and_never_rounded(text: str) -> None:
    with pytest.raises(ValueError, match=r"digits|finite"):
        plain_decimal(Decimal(text))


@pytest.mark.parametrize("text", ["0", "-0", "0.000", "0E+400", "-0E-400"])
def test_zero_is_written_in_one_way(text: str) -> None:
    assert plain_decimal(Decimal(text)) == "0"


def test_the_order_and_the_spelling_of_properties_do_not_matter_but_their_values_do() -> None:
    one = fact(call(properties='{"a": 1, "b": "x"}'))
    assert fact(call(properties='{"b": "x", "a": 1.0}')).content_digest == one.content_digest
    assert fact(call(properties='{"a": "1", "b": "x"}')).content_digest != one.content_digest
    assert fact(call(properties='{"a": 1, "b": "y"}')).content_digest != one.content_digest


def test_a_moment_is_the_same_in_every_zone_and_its_digits_beyond_the_microsecond_are_cut() -> None:
    one = fact(call(time="2026-10-25T01:45:00.1234567Z"))
    assert fact(call(time="2026-10-25T07:30:00.123456+05:45")).content_digest == one.content_digest
    midnight = fact(call(time="2026-10-01T00:00:00Z")).moment
    assert fact(call(time="2026-09-30T23:59:59.9999999Z")).moment == midnight - 1
    assert fact(call(time="2026-10-01t05:45:00+05:45")).moment == midnight


def test_a_missing_key_is_derived_from_all_that_the_event_says() -> None:
    one = fact(call())
    assert one.key_derived and one.key.startswith("derived-")
    assert fact(call('"1.0"')).key == one.key
    assert fact(call(subject="someone")).key != one.key


def test_an_event_without_a_time_says_the_same_when_it_is_sent_again() -> None:
    text = '{"team": "acme", "event": "call", "idempotency_key": "k"}'
    assert fact(text).content_digest == fact(text).content_digest

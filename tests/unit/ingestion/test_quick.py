"""The quick way to a fact says what the careful one says, or leaves the event to it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg.types.numeric import NumericBinaryLoader

from metering.ingestion import binary, times
from metering.ingestion.body import Body
from metering.ingestion.catalog import Catalog, Listeners, Meter, Named
from metering.ingestion.events import Fact, Sorted, plain_decimal
from metering.ingestion.validation import Judge

TOKENS = Meter("tokens", True, False, {})
EVERYBODY = Meter("tokens", False, False, {"a": ["x", "1", "true"]})
TERABYTES = Meter(None, True, False, {"a": ["x"]}, Decimal(1000))
CATALOG = Catalog(
    {"acme": 1, "globex": 2},
    {
        "call": Listeners(frozenset(["call"]), (Meter(None, True, False, {}),), False, ()),
        "move": Listeners(frozenset(["byte"]), (TERABYTES,), False, (), TERABYTES.most),
        "credit": Listeners(frozenset(["unit"]), (Meter(None, True, True, {}),), True, ()),
        "prompt": Listeners(frozenset(["token", "person"]), (TOKENS, EVERYBODY), False, (TOKENS,)),
    },
    {
        "calls": Named("call", "call", Meter(None, True, False, {})),
        "tokens": Named("prompt", "token", TOKENS),
        "somebody": Named("prompt", "person", EVERYBODY),
    },
)
NOW = datetime.now(UTC)

texts = st.one_of(st.sampled_from(["", "a", "ü", "\0", "a\tb\\", "\ud7ff", "k" * 255, "k" * 256]), st.text(max_size=5))
moments = st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))
spelt = st.one_of(
    moments.map(lambda moment: moment.isoformat()),
    moments.map(lambda moment: moment.replace(microsecond=0).isoformat().replace("+00:00", "Z")),
    moments.map(lambda moment: moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")),
    st.from_regex(
        r"20\d\d-[01]\d-[0-3]\d[Tt ][0-2]\d:[0-5]\d:[0-6]\d([.,]\d{1,8})?([Zz]|[+-]0[05]:[04][05])?", fullmatch=True
    ),
    st.sampled_from(
        ["2026-02-29T00:00:00Z", "2024-02-29T00:00:00Z", "2026-10-01T24:00:00Z", "", "Z", "2026-W40-1T00:00:00Z"]
    ),
    st.just((NOW + timedelta(hours=2)).isoformat()),
)
quantities = st.one_of(
    st.integers(-(10**27), 10**27),
    st.sampled_from([1000, 1001, 10**20 - 1, 10**20, "99999999999999999999.999999999999", 10**20 + 1]),
    st.decimals(-(10**6), 10**6, places=3).map(str),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(
        [
            "1",
            "1.0",
            "1.00",
            "01",
            "+1",
            " 1",
            "1_0",
            "٣",
            "",
            "NaN",
            "sNaN",
            "1e999999999",
            "1e3",
            "-0",
            ".5",
            "5.",
            True,
            None,
            [],
            {},
        ]
    ),
)
properties = st.one_of(
    st.dictionaries(
        st.sampled_from(["tokens", "b", "a"]),
        st.one_of(st.integers(), texts, st.booleans(), st.none(), st.floats(0, 9)),
    ),
    st.sampled_from([None, [], {"a": {}}, {"a": []}, {"tokens": -1}, {"tokens": "1.5"}, {"a": "x" * 17_000}]),
)
events = st.fixed_dictionaries(
    {},
    optional={
        "event": st.sampled_from(["call", "credit", "prompt", "move", "cal", "", None]),
        "meter": st.sampled_from(["calls", "tokens", "somebody", "call", "", None]),
        "team": st.sampled_from(["acme", "globex", "nobody", "", None]),
        "quantity": quantities,
        "unit": st.sampled_from(["call", "unit", "token", "person", "calls", None]),
        "idempotency_key": st.one_of(st.none(), texts),
        "time": st.one_of(spelt, st.none(), st.just(5)),
        "observed_at": st.one_of(spelt, st.none(), st.just(5)),
        "subject": st.one_of(st.none(), texts),
        "properties": properties,
        "unknown": st.just(1),
    },
)
judges = st.sampled_from([(None, None), (1, "acme")])


def told(result: Sorted) -> list[Any]:
    """All that was found out, without what it was found out about."""

    def facts(fact: Fact) -> tuple[Any, ...]:
        return tuple(getattr(fact, name) for name in fact.__struct_fields__ if name != "origin")

    rejects = [(r.index, r.team_id, r.reason, r.field, r.message, r.key) for r in (*result.rejects, *result.refused)]
    return [[facts(fact) for fact in result.facts], rejects]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(events, max_size=4), judges, st.booleans(), st.integers(0, 1))
@example(
    [{"event": "call", "team": "acme", "idempotency_key": "a", "properties": {"b": 1.0, "a": "x"}}] * 2,
    (None, None),
    True,
    1,
)
def test_the_quick_way_finds_what_the_careful_one_finds(
    sent: list[dict[str, Any]], sender: tuple[int | None, str | None], ascii_only: bool, many: int
) -> None:
    # More than a handful are read at once, so both ways of reading times are tried.
    text = json.dumps(sent * (1 + many * times_needed(sent)), ensure_ascii=ascii_only).encode(errors="surrogatepass")
    body = Body.parse(text)
    judge = Judge(CATALOG, team_id=sender[0], team_key=sender[1])
    for _ in range(2):  # what was remembered is told again
        assert told(judge.sort_body(body)) == told(judge.sort(body.events, body))


def times_needed(sent: list[dict[str, Any]]) -> int:
    return 20 // len(sent) if sent else 0


@given(st.lists(st.one_of(spelt, st.none(), texts), min_size=1, max_size=30))
def test_times_read_at_once_are_those_read_one_by_one(given_times: list[str | None]) -> None:
    judge = Judge(CATALOG)
    for time, moment in zip(given_times, times.read(given_times), strict=True):
        if moment != times.UNREAD:
            assert time is not None and judge.moment(time) == moment


@given(st.lists(moments, min_size=1, max_size=30), st.sampled_from(["seconds", "milliseconds", "microseconds"]))
def test_times_as_one_sender_writes_them_are_all_read_at_once(given_times: list[datetime], digits: str) -> None:
    written = [moment.isoformat(timespec=digits) for moment in given_times]
    assert times.UNREAD not in times.read(written)
    assert times.UNREAD not in times.read([text.replace("+00:00", "Z") for text in written])


@given(st.decimals(-(10**25), 10**25, places=12, allow_nan=False))
@example(Decimal(0))
@example(Decimal("0.000000000001"))
@example(Decimal("10000.0001"))
@example(Decimal("99999999999999999999999999.999999999999"))
def test_a_numeric_is_written_as_postgresql_reads_it(value: Decimal) -> None:
    size, data = binary.numeric_field(plain_decimal(value))[:4], binary.numeric_field(plain_decimal(value))[4:]
    assert int.from_bytes(size) == len(data)
    assert NumericBinaryLoader(0).load(data) == value


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metering.ingestion.memory.ENTRIES", 10)
    catalog = Catalog(CATALOG.teams, CATALOG.events)
    common = {"event": "call", "team": "acme", "time": "2026-10-01T00:00:00Z"}
    sent = [{**common, "quantity": number, "properties": {"n": number}} for number in range(95)]
    body = Body.parse(json.dumps(sent).encode())
    assert told(Judge(catalog).sort_body(body)) == told(Judge(CATALOG).sort(body.events, body))
    assert len(catalog.memory.amounts) <= 10
    assert all(len(form.properties) <= 10 for form in catalog.memory.forms.values())

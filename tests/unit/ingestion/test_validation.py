"""Each reason for which an event cannot count."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from metering.ingestion.body import Body
from metering.ingestion.catalog import Catalog, Listeners, Meter, Named
from metering.ingestion.events import Sorted
from metering.ingestion.validation import Judge

PLAIN = Meter(None, True, False, {})
SIGNED = Meter(None, True, True, {})
TOKENS = Meter("tokens", True, False, {})
TERABYTES, BYTES = Meter(None, True, False, {"in": ["TB"]}, Decimal(1000)), Meter(None, True, False, {"in": ["B"]})
USERS = Meter("user", False, False, {"kind": ["person"]})
CATALOG = Catalog(
    {"acme": 1, "globex": 2},
    {
        "call": Listeners(frozenset(["call"]), (PLAIN,), False, ()),
        "credit": Listeners(frozenset(["unit"]), (SIGNED,), True, ()),
        "prompt": Listeners(frozenset(["token"]), (TOKENS,), False, (TOKENS,)),
        "move": Listeners(frozenset(["B"]), (TERABYTES, BYTES), False, (), TERABYTES.most),
        "visit": Listeners(frozenset(["user", "visit"]), (USERS, PLAIN), False, (USERS,)),
    },
    {
        "calls": Named("call", "call", PLAIN),
        "tokens": Named("prompt", "token", TOKENS),
        "people": Named("visit", "user", USERS),
        "visits": Named("visit", "visit", PLAIN),
    },
)


def judge(judge: Judge | None = None, **fields: Any) -> Sorted:
    event = {"team": "acme", "event": "call", "idempotency_key": "k", "time": "2026-10-01T00:00:00Z", **fields}
    body = Body.parse(json.dumps({name: value for name, value in event.items() if value is not None}).encode())
    return (judge or Judge(CATALOG)).sort(body.events, body)


NOW = datetime.now(UTC)
WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"team": None}, "missing_team", "team"),
    ({"team": "nobody"}, "unknown_team", "team"),
    ({"event": "cal"}, "unknown_event", "event"),
    ({"event": None}, "missing_event", "event"),
    ({"event": None, "meter": "call"}, "unknown_meter", "meter"),
    ({"event": None, "meter": ""}, "unknown_meter", "meter"),
    ({"event": "visit", "meter": "calls"}, "meter_mismatch", "meter"),
    ({"event": "cal", "meter": "calls"}, "meter_mismatch", "meter"),
    ({"event": None, "meter": "people"}, "filtered_out", "properties.kind"),
    ({"event": None, "meter": "people", "properties": {"kind": "robot"}}, "filtered_out", "properties.kind"),
    ({"event": None, "meter": "visits", "unit": "user"}, "unit_mismatch", "unit"),
    ({"event": None, "meter": "tokens"}, "missing_value_property", "properties.tokens"),
    ({"event": None, "meter": "calls", "quantity": -1}, "negative_quantity", "quantity"),
    ({"quantity": -1}, "negative_quantity", "quantity"),
    ({"quantity": "NaN"}, "invalid_quantity", "quantity"),
    *(({"quantity": text}, "invalid_quantity", "quantity") for text in ("1_000", "٣", " 1", "1 ", "0x1", "1e", "")),
    *(({"quantity": value}, "invalid_quantity", "quantity") for value in (True, [1], {})),
    *(
        ({"quantity": value}, "quantity_too_large", "quantity")
        for value in (10**20 + 1, "1.1e20", 10**25, "1" * 21 + ".5")
    ),
    ({"event": "credit", "quantity": -(10**20) - 1}, "quantity_too_large", "quantity"),
    ({"event": "move", "quantity": 1001, "properties": {"in": "TB"}}, "quantity_too_large", "quantity"),
    ({"event": "prompt", "properties": {"tokens": 10**21}}, "quantity_too_large", "properties.tokens"),
    ({"event": "prompt", "properties": {"tokens": "1_000"}}, "invalid_value_property", "properties.tokens"),
    ({"quantity": "Infinity"}, "invalid_quantity", "quantity"),
    ({"quantity": "1e26"}, "invalid_quantity", "quantity"),
    ({"quantity": "0.0000000000001"}, "invalid_quantity", "quantity"),
    ({"unit": "calls"}, "unit_mismatch", "unit"),
    ({"time": None, "idempotency_key": None}, "missing_time", "time"),
    ({"time": "yesterday"}, "invalid_time", "time"),
    ({"time": "2026-10-01T00:00:00"}, "invalid_time", "time"),
    ({"time": "2026-13-01T00:00:00Z"}, "invalid_time", "time"),
    ({"time": "2026-10-01T24:30:00+01:00"}, "invalid_time", "time"),
    ({"time": "0001-01-01T00:00:00+10:00"}, "invalid_time", "time"),
    ({"time": (NOW + timedelta(hours=2)).isoformat()}, "time_too_far_ahead", "time"),
    ({"time": (NOW - timedelta(days=3700)).isoformat()}, "time_too_old", "time"),
    ({"idempotency_key": "k" * 256}, "key_too_long", "idempotency_key"),
    ({"idempotency_key": ""}, "invalid_key", "idempotency_key"),
    ({"idempotency_key": "a\0b"}, "invalid_key", "idempotency_key"),
    ({"subject": "s" * 256}, "invalid_subject", "subject"),
    ({"properties": {"a": {"b": 1}}}, "invalid_properties", "properties.a"),
    ({"properties": {"a": [1]}}, "invalid_properties", "properties.a"),
    ({"properties": {"a": "x" * 17_000}}, "invalid_properties", "properties"),
    ({"properties": {"a": "\0"}}, "invalid_properties", "properties.a"),
    ({"properties": {"a": 10**40}}, "invalid_properties", "properties.a"),
    ({"event": "prompt"}, "missing_value_property", "properties.tokens"),
    ({"event": "prompt", "properties": {"tokens": None}}, "missing_value_property", "properties.tokens"),
    ({"event": "prompt", "properties": {"tokens": "many"}}, "invalid_value_property", "properties.tokens"),
    ({"event": "prompt", "properties": {"tokens": True}}, "invalid_value_property", "properties.tokens"),
    ({"event": "prompt", "properties": {"tokens": "1_0"}}, "invalid_value_property", "properties.tokens"),
    ({"event": "prompt", "properties": {"tokens": -5}}, "negative_quantity", "properties.tokens"),
    ({"event": "visit", "properties": {"kind": "person"}}, "missing_value_property", "properties.user"),
]


@pytest.mark.parametrize(("fields", "reason", "field"), WRONG)
def test_what_cannot_count_is_kept_with_a_reason_and_its_field(fields: dict[str, Any], reason: str, field: str) -> None:
    result = judge(**fields)
    assert [(reject.reason, reject.field) for reject in result.rejects] == [(reason, field)]
    assert result.rejects[0].message.endswith(".")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"time": None},
        {"idempotency_key": None},
        {"unit": "call", "subject": "someone", "properties": {"a": "\\u0000", "b": None, "c": 1.5, "d": False}},
        {"quantity": "99999999999999999999.999999999999"},
        {"quantity": "+12.50"},
        {"event": "move", "quantity": "1000", "properties": {"in": "TB"}},
        {"event": "move", "quantity": "99999999999999999999", "properties": {"in": "B"}},
        {"event": "move", "quantity": "1e20"},
        {"event": "credit", "quantity": -3},
        {"event": "prompt", "properties": {"tokens": "12.5"}},
        {"event": "visit", "properties": {"kind": "robot"}},
        {"event": "call", "meter": "calls"},
        {"event": None, "meter": "visits", "unit": "visit"},
        {"event": None, "meter": "people", "unit": "user", "properties": {"kind": "person", "user": "ann"}},
        {"time": (NOW + timedelta(minutes=59)).isoformat()},
    ],
)
def test_what_can_count_does(fields: dict[str, Any]) -> None:
    assert len(judge(**fields).facts) == 1


@pytest.mark.parametrize("key", ["k", None])
def test_an_event_is_the_same_whether_it_names_itself_a_meter_of_it_or_both(key: str | None) -> None:
    said: dict[str, Any] = {"idempotency_key": key, "properties": {"kind": "person", "user": "ann"}}
    ways: list[dict[str, Any]] = [
        {"event": "visit"},
        {"event": None, "meter": "visits"},
        {"event": None, "meter": "people"},
    ]
    ways += [{"event": "visit", "meter": "people"}]
    facts = [judge(**way, **said).facts[0] for way in ways]
    assert len({(fact.key, fact.key_digest, fact.content_digest, fact.row) for fact in facts}) == 1


def test_a_key_of_one_team_may_leave_the_team_out_but_not_name_another() -> None:
    bound = Judge(CATALOG, team_id=1, team_key="acme")
    assert judge(bound, team=None).facts[0].team_id == 1
    assert judge(bound, team="acme").facts[0].team_id == 1
    foreign = judge(bound, team="globex")
    assert not foreign.facts and not foreign.rejects
    assert foreign.refused[0].reason == "foreign_team"


def test_what_is_wrong_with_an_event_of_a_known_team_is_kept_under_that_team() -> None:
    assert judge(quantity=-1, team="globex").rejects[0].team_id == 2
    assert judge(team="nobody").rejects[0].team_id == 0
    assert judge(team="globex", quantity="many").rejects[0].team_id == 2
    assert judge(team="globex", qantity=1).rejects[0].team_id == 2
    assert judge(team=["globex"]).rejects[0].team_id == 0


def test_which_team_is_meant_is_not_guessed_at() -> None:
    body = Body.parse(b'{"team": "acme", "event": "call", "idempotency_key": "k", "team": "globex"}')
    (reject,) = Judge(CATALOG).sort(body.events, body).rejects
    assert (reject.reason, reject.team_id) == ("repeated_field", 0)

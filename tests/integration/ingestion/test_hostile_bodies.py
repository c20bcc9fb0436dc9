"""What a hostile sender puts into a body: told what is wrong with it, and nothing lands that was not meant."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import psutil
import psycopg
import pytest
from backports import zstd
from psycopg.rows import DictRow

from metering.ingestion.body import MAX_BYTES

from .conftest import Running

Connection = psycopg.Connection[DictRow]

GOOD: dict[str, Any] = {
    "team": "acme",
    "event": "call",
    "quantity": "1",
    "unit": "call",
    "idempotency_key": "a",
    "time": "2026-10-05T12:00:00Z",
    "subject": "someone",
    "properties": {"a": "b"},
}
SQL = [
    "'; DROP TABLE landing.usage_events; --",
    "' OR '1'='1",
    "$$; DELETE FROM billing.api_keys; $$",
    "%(team_id)s %s {0} ${jndi:ldap://x}",
    "\\N",
    "\\.",
    "a\tb\nc\rd\\e",
    "\"; COPY (SELECT 1) TO PROGRAM 'true'; \"",
    "../../etc/passwd",
    "😀 é ‮ ﷽",
]


@pytest.fixture(autouse=True)
def still_alive(service: Running, connection: Connection) -> Iterator[None]:
    """After each: the service answers, in the same process, and its tables are there."""
    yield
    assert service.process.poll() is None
    assert httpx.get(f"{service.address}/health", timeout=30).status_code == 200
    assert psutil.Process(service.process.pid).memory_info().rss < 1024**3
    assert connection.execute("SELECT count(*) AS n FROM billing.api_keys").fetchone() == {"n": 1}


def track(service: Running, key: str, body: bytes, **headers: str) -> httpx.Response:
    said = {"authorization": f"Bearer {key}"} | {name.replace("_", "-"): value for name, value in headers.items()}
    reply = httpx.post(f"{service.address}/api/usage/track", content=body, headers=said, timeout=60)
    assert reply.status_code < 500, reply.text
    if reply.status_code >= 400:
        error = reply.json()["error"]
        assert error["code"] and error["message"]
    return reply


def landed(connection: Connection) -> list[dict[str, Any]]:
    return connection.execute(
        "SELECT event_key, event_name, quantity, unit, subject, properties FROM landing.usage_events ORDER BY event_key"
    ).fetchall()


HUGE = [
    "1e400",
    "1e999999999",
    "-1e999999999",
    "1e-999999999",
    "9" * 39,
    "9" * 5000,
    "0." + "9" * 5000,
    "9" * 1_000_000,
]
NO_NUMBERS = ["NaN", "Infinity", "-Infinity", "sNaN", "0x10", "1,5", "", "one", "--1", "1e", "٣٫٥"]


@pytest.mark.parametrize("field", ["quantity", "properties"])
def test_numbers_that_nothing_could_hold_are_kept_in_quarantine_one_by_one(
    service: Running, api_key: str, connection: Connection, field: str
) -> None:
    events = []
    for number, text in enumerate([*HUGE, *(json.dumps(text) for text in (*HUGE[:-1], *NO_NUMBERS))]):
        event = {**GOOD, "idempotency_key": f"k{number}", "event": "call" if field == "quantity" else "prompt"}
        said = (
            {**event, "quantity": "@"}
            if field == "quantity"
            else {**event, "properties": {"tokens": "@"}, "unit": None}
        )
        events.append(json.dumps(said).replace('"@"', text))
    reply = track(service, api_key, f"[{','.join(events)}]".encode()).json()
    assert reply["quarantined"] == len(events), [one for one in reply["events"] if one["status"] != "quarantined"]
    assert {re.split(r"[.\[]", one["field"])[0] for one in reply["events"]} == {field}
    assert landed(connection) == []


@pytest.mark.parametrize(
    "text", ["NaN", "Infinity", "-Infinity", "01", "+1", ".5", "1.", "0x1", "1_000", "nan", "undefined"]
)
def test_what_json_has_no_number_for_is_refused(
    service: Running, api_key: str, connection: Connection, text: str
) -> None:
    body = json.dumps({**GOOD, "quantity": "@"}).replace('"@"', text).encode()
    for sent, headers in ((body, {}), (b"[" + body + b"]", {}), (body, {"content_type": "application/x-ndjson"})):
        reply = track(service, api_key, sent, **headers)
        assert reply.status_code == 400 or reply.json()["quarantined"] == 1
    assert landed(connection) == []


def test_a_field_of_the_wrong_type_is_told_for_each_event(
    service: Running, api_key: str, connection: Connection
) -> None:
    wrong = [True, [], [1], {}, {"a": {}}, 5, "\ud800", "a\u0000b", "x" * 300_000]
    events = [{**GOOD, "idempotency_key": f"k{n}-{m}", f: v} for n, f in enumerate(GOOD) for m, v in enumerate(wrong)]
    events += [{**GOOD, "properties": {"a": value}} for value in ([], {}, [{}])]
    events += [{**GOOD, "properties": {"a\0": "1"}}, {**GOOD, "a\0": 1}]
    events += [5, None, "event", [], [[]], {}, {"": 1}]
    reply = track(service, api_key, json.dumps(events).encode()).json()
    assert len(reply["events"]) == len(events)
    accepted = {one["idempotency_key"] for one in reply["events"] if one["status"] == "accepted"}
    assert {row["event_key"] for row in landed(connection)} == accepted
    # Of all of these, only numbers and empty objects are what their field may be.
    fields = list(GOOD)
    allowed = {f"k{fields.index('quantity')}-5", f"k{fields.index('properties')}-3"}
    assert accepted <= allowed | {"True", "5"}, accepted


@pytest.mark.parametrize("lines", [False, True])
def test_a_number_beyond_all_numbers_is_quarantined_and_its_neighbours_count(
    service: Running, api_key: str, connection: Connection, lines: bool
) -> None:
    beyond = "1e99999999999999999999"
    events = [
        json.dumps({**GOOD, "idempotency_key": "good"}),
        json.dumps({**GOOD, "idempotency_key": "amount", "quantity": 0}).replace(
            '"quantity": 0', f'"quantity": {beyond}'
        ),
        json.dumps({**GOOD, "idempotency_key": "property", "properties": {"n": 0}}).replace('"n": 0', f'"n": {beyond}'),
    ]
    body = "\n".join(events) if lines else f"[{','.join(events)}]"
    reply = track(service, api_key, body.encode(), content_type="application/x-ndjson" if lines else "application/json")
    assert [one["status"] for one in reply.json()["events"]] == ["accepted", "quarantined", "quarantined"]
    assert {row["event_key"] for row in landed(connection)} == {"good"}


@pytest.mark.parametrize("text", SQL)
def test_sql_in_every_string_is_only_text(service: Running, api_key: str, connection: Connection, text: str) -> None:
    stored = {**GOOD, "idempotency_key": text, "subject": text, "properties": {text: text, "n": 1}}
    unknown = [{**GOOD, "idempotency_key": name, name: text} for name in ("team", "event", "unit", "time")]
    reply = track(service, api_key, json.dumps([stored, *unknown]).encode()).json()
    assert (reply["accepted"], reply["quarantined"]) == (1, 4), reply
    (row,) = landed(connection)
    assert (row["event_key"], row["subject"], row["properties"]) == (text, text, {text: text, "n": 1})
    assert row["quantity"] == Decimal(1)
    held = connection.execute("SELECT payload, field FROM landing.quarantined_events").fetchall()
    assert {json.loads(one["payload"])[one["field"]] for one in held} == {text}
    for header in ({"authorization": f"Bearer {text}"}, {"content-type": text}, {"content-encoding": text}):
        headers = {"authorization": f"Bearer {api_key}"} | header
        sent = {name: value.encode("utf-8").replace(b"\n", b"").replace(b"\r", b"") for name, value in headers.items()}
        reply = httpx.post(f"{service.address}/api/usage/track", content=b"[]", headers=sent, timeout=30)
        assert reply.status_code in (400, 401, 415), reply.text


BAD_TEXT = [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xe2\x82", b"\xf8\x88\x80\x80\x80", b"\x80"]


@pytest.mark.parametrize("bad", BAD_TEXT)
def test_what_is_not_utf_8_is_told_and_kept_readable(
    service: Running, api_key: str, connection: Connection, bad: bytes
) -> None:
    good = json.dumps(GOOD).encode()
    spoilt = [good.replace(b'"someone"', b'"' + bad + b'"'), good.replace(b'"b"', b'"' + bad + b'"')]
    reply = track(service, api_key, b"[" + b",".join([*spoilt, good]) + b"]").json()
    assert [one["status"] for one in reply["events"]] == ["quarantined", "quarantined", "accepted"]
    assert {one["reason"] for one in reply["events"][:2]} == {"invalid_encoding"}
    held = connection.execute("SELECT payload FROM landing.quarantined_events").fetchall()
    assert all("\\x" in one["payload"] for one in held)


DEEP = [
    b"[" * 1_000_000,
    b'{"a":' * 1_000_000,
    b"[" + b'{"event":"call","properties":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}]",
    b"[" * 500 + b"]" * 500,
]


@pytest.mark.parametrize("body", DEEP, ids=["lists", "objects", "properties", "shallow"])
def test_deep_json_is_refused(service: Running, api_key: str, connection: Connection, body: bytes) -> None:
    reply = track(service, api_key, body)
    assert reply.status_code == 400 or reply.json()["accepted"] == 0
    assert landed(connection) == []


UNREADABLE = {
    "byte order mark of UTF-16": '[{"event": "call"}]'.encode("utf-16"),
    "nothing": b"",
    "blanks": b" \n\t ",
    "zeros": bytes(1000),
    "a bomb in gzip's clothes": b"\x1f\x8b\x08\x00",
    "XML": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
    "unfinished": json.dumps([GOOD]).encode()[:-1],
    "two documents": json.dumps(GOOD).encode() * 2,
    "an envelope in an envelope": json.dumps({"events": {"events": [GOOD]}}).encode(),
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
def test_what_holds_no_events_is_refused(service: Running, api_key: str, connection: Connection, body: bytes) -> None:
    assert track(service, api_key, body).status_code == 400
    assert landed(connection) == []


MANY = {
    "numbers": b"[" + b"1," * 4_000_000 + b"1]",
    "texts": b"[" + b'"",' * 2_000_000 + b'""]',
    "events": b"[" + b'{"event":"call"},' * 500_000 + b'{"event":"call"}]',
    "lines": b"1\n" * 4_000_000,
    "lines of events": b'{"event":"call"}\n' * 500_000,
    "keys of an object": b"{" + b",".join(b'"%d":1' % number for number in range(500_000)) + b"}",
}


@pytest.mark.parametrize("name", MANY)
def test_more_than_may_come_is_refused_in_bounded_time(
    service: Running, api_key: str, connection: Connection, name: str
) -> None:
    kind = "application/x-ndjson" if name.startswith("lines") else "application/json"
    used = psutil.Process(service.process.pid).cpu_times().user
    reply = track(service, api_key, MANY[name], content_type=kind)
    assert reply.status_code == 400 or reply.json()["accepted"] == 0
    assert psutil.Process(service.process.pid).cpu_times().user - used < 4
    assert landed(connection) == []


BOMBS = {
    "gzip": gzip.compress(bytes(300_000_000)),
    "gzip of blanks": gzip.compress(b" " * 300_000_000),
    "gzip in gzip": gzip.compress(gzip.compress(bytes(300_000_000))),
    "gzip of a million members": (gzip.compress(b"") * 1_000_000)[:MAX_BYTES],
    "zstd": zstd.compress(bytes(300_000_000)),
    "zstd in zstd": zstd.compress(zstd.compress(bytes(300_000_000))),
    "zstd of a million frames": zstd.compress(b"") * 1_000_000,
    "gzip cut off": gzip.compress(json.dumps([GOOD]).encode())[:-4],
    "zstd cut off": zstd.compress(json.dumps([GOOD]).encode())[:-4],
    "gzip, then more": gzip.compress(json.dumps([GOOD]).encode()) + b"more",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_zip_bomb_is_refused(service: Running, api_key: str, connection: Connection, name: str) -> None:
    reply = track(service, api_key, BOMBS[name], content_encoding=name[:4])
    # 413 tells a sender that smaller parts would do.
    assert reply.status_code == (413 if name in ("gzip", "gzip of blanks", "zstd") else 400)
    assert landed(connection) == []

"""What may be sent, over real sockets: formats, compression, and what is said of those that aren't taken."""

from __future__ import annotations

import gzip
import json
from typing import Any

import httpx
import psycopg
import pytest
from backports import zstd
from psycopg.rows import DictRow

from .conftest import Running

Connection = psycopg.Connection[DictRow]

EVENT = {"team": "acme", "event": "call", "idempotency_key": "a", "time": "2026-10-05T12:00:00Z"}
CLOUD_EVENT = {
    "specversion": "1.0",
    "type": "call",
    "source": "/gateway",
    "id": "7",
    "time": "2026-10-05T12:00:00Z",
    "data": {"team": "acme", "quantity": "0.25"},
}


def track(service: Running, key: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"} | headers
    return httpx.post(f"{service.address}/api/usage/track", content=body, headers=headers, timeout=30)


def landed(connection: Connection) -> list[tuple[str, str]]:
    rows = connection.execute(
        "SELECT event_key, trim_scale(quantity)::text AS quantity FROM landing.usage_events ORDER BY event_key"
    )
    return [(row["event_key"], row["quantity"]) for row in rows]


def test_a_cloudevent_counts_once_whichever_mode_it_comes_in(
    service: Running, api_key: str, connection: Connection
) -> None:
    single = json.dumps(CLOUD_EVENT).encode()
    attributes = {f"ce-{name}": str(CLOUD_EVENT[name]) for name in ("specversion", "type", "source", "id", "time")}
    ways = [
        (single, {"content-type": "application/cloudevents+json; charset=UTF-8"}, "accepted"),
        (b"[" + single + b"]", {"content-type": "application/cloudevents-batch+json"}, "duplicate"),
        (
            json.dumps(CLOUD_EVENT["data"]).encode(),
            attributes | {"content-type": "application/json"},
            "duplicate",
        ),
    ]
    for body, headers, status in ways:
        reply = track(service, api_key, body, headers)
        assert reply.status_code == 200, reply.text
        (event,) = reply.json()["events"]
        assert (event["status"], event["idempotency_key"], event["key_derived"]) == (status, "/gateway 7", False)
    assert landed(connection) == [("/gateway 7", "0.25")]


def test_a_broken_cloudevent_is_in_quarantine_as_it_came(
    service: Running, api_key: str, connection: Connection
) -> None:
    broken = {name: value for name, value in CLOUD_EVENT.items() if name != "id"}
    body = json.dumps([CLOUD_EVENT, broken]).encode()
    reply = track(service, api_key, body, {"content-type": "application/cloudevents-batch+json"}).json()
    assert [(one["status"], one.get("reason")) for one in reply["events"]] == [
        ("accepted", None),
        ("quarantined", "missing_id"),
    ]
    held = connection.execute("SELECT payload, field FROM landing.quarantined_events").fetchone()
    assert held is not None and json.loads(held["payload"]) == broken and held["field"] == "id"


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("zstd", zstd.compress), ("GZIP", gzip.compress)]
)
def test_compressed_bodies_are_taken(
    service: Running, api_key: str, connection: Connection, encoding: str, pack: Any
) -> None:
    reply = track(service, api_key, pack(json.dumps([EVENT]).encode()), {"content-encoding": encoding})
    assert reply.json()["accepted"] == 1
    assert landed(connection) == [("a", "1")]


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"content-type": "text/xml"}, 415, "wrong_content_type"),
        ({"content-type": "application/cloudevents+avro"}, 415, "wrong_content_type"),
        ({"content-type": "application/json; charset=latin-1"}, 415, "wrong_content_type"),
        ({"content-encoding": "br"}, 415, "wrong_encoding"),
        ({"content-encoding": "gzip, gzip"}, 415, "wrong_encoding"),
        ({"content-encoding": "zstd"}, 400, "unreadable_body"),
    ],
)
def test_what_is_not_taken_is_said_with_what_is(
    service: Running, api_key: str, connection: Connection, headers: dict[str, str], status: int, code: str
) -> None:
    reply = track(service, api_key, json.dumps([EVENT]).encode(), headers)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert landed(connection) == []


@pytest.mark.parametrize(
    "kind", ["", "application/json", "Application/JSON; charset=utf-8", "application/x-www-form-urlencoded"]
)
def test_json_is_taken_under_each_of_its_names(
    service: Running, api_key: str, connection: Connection, kind: str
) -> None:
    headers = {"content-type": kind} if kind else {}
    assert track(service, api_key, json.dumps(EVENT).encode(), headers).json()["accepted"] == 1


@pytest.mark.parametrize(
    ("quantity", "stored"),
    [
        ('"0.000001"', "0.000001"),
        ("0.1", "0.1"),
        ('"12345678901234567890.123456"', "12345678901234567890.123456"),
        ("12345678901234567890.123456", "12345678901234567890.123456"),
        ("1e3", "1000"),
        ("12345678901234567890", "12345678901234567890"),
    ],
)
def test_a_quantity_is_a_decimal_as_text_or_number_and_never_rounded(
    service: Running, api_key: str, connection: Connection, quantity: str, stored: str
) -> None:
    body = json.dumps(EVENT)[:-1] + f', "quantity": {quantity}}}'
    assert track(service, api_key, body.encode(), {}).json()["accepted"] == 1, quantity
    assert landed(connection) == [("a", stored)]


def test_a_missing_key_is_derived_from_the_whole_event_and_told(
    service: Running, api_key: str, connection: Connection
) -> None:
    keyless = {name: value for name, value in EVENT.items() if name != "idempotency_key"}
    said = [
        keyless,
        keyless,
        {**keyless, "quantity": 2},
        {**keyless, "properties": {"a": 1}},
        {**keyless, "subject": "b"},
    ]
    events = track(service, api_key, json.dumps(said).encode(), {}).json()["events"]
    assert [event["status"] for event in events] == ["accepted", "duplicate", "accepted", "accepted", "accepted"]
    assert all(event["key_derived"] and event["idempotency_key"].startswith("derived-") for event in events)
    assert len({event["idempotency_key"] for event in events}) == 4

"""An event may name a meter in place of itself, whichever way it comes; it is the same event."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import psycopg
from psycopg.rows import DictRow

from metering.files import Mapping, import_file
from metering.ingestion.keys import create_api_key
from metering.ingestion.landing import Landing
from usage_client import UsageClient

from .conftest import Running

PATH = "/api/usage/quarantine"
AT = "2026-10-05T12:00:00Z"
NAMED = {"team": "acme", "meter": "calls", "quantity": "0.25", "time": AT}
ITSELF = {"team": "acme", "event": "call", "quantity": "0.25", "time": AT}


def track(service: Running, key: str, body: Any, kind: str = "application/json") -> dict[str, Any]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"authorization": f"Bearer {key}", "content-type": kind}
    reply = httpx.post(f"{service.address}/api/usage/track", content=content, headers=headers, timeout=30)
    assert reply.status_code == 200, reply.text
    said: dict[str, Any] = reply.json()
    return said


def test_an_event_has_one_identity_by_meter_or_name_over_http_and_from_files(
    service: Running, api_key: str, connection: psycopg.Connection[DictRow], tmp_path: Path
) -> None:
    first = track(service, api_key, NAMED)
    assert first["accepted"] == 1 and first["events"][0]["key_derived"]
    key = first["events"][0]["idempotency_key"]

    lines = b"\n".join(json.dumps(event).encode() for event in (NAMED, ITSELF))
    for body, kind, count in (
        (ITSELF, "application/json", 1),
        ([NAMED, ITSELF, {**NAMED, "event": "call"}], "application/json", 3),
        ({"events": [NAMED, {**ITSELF, "meter": None}]}, "application/json", 2),
        (lines, "application/x-ndjson", 2),
    ):
        said = track(service, api_key, body, kind)
        assert said["duplicate"] == count and {event["idempotency_key"] for event in said["events"]} == {key}

    header, row = "team,meter,quantity,time\n", f"acme,calls,0.250,{AT}\n"
    files = [
        ("by-meter.csv", header + row, None),
        ("by-name.csv", f"team,event,quantity,time\nacme,call,0.25,{AT}\n", None),
        ("either.csv", f"team,event,meter,quantity,time\nacme,call,,0.25,{AT}\nacme,,calls,0.25,{AT}\n", None),
        ("lines.jsonl", lines.decode(), None),
        ("mapped.csv", f"who,much,at\nacme,0.25,{AT}\n", {"meter": {"value": "calls"}}),
        ("mapped-column.csv", f"who,much,at,what\nacme,0.25,{AT},calls\n", {"meter": "what"}),
    ]
    landing = Landing(connection)
    for name, content, meter in files:
        path = tmp_path / name
        path.write_text(content)
        mapping = Mapping.model_validate({"team": "who", "quantity": "much", "time": "at", **meter}) if meter else None
        tally = import_file(landing, path, mapping)
        assert (tally.accepted, tally.duplicate, tally.quarantined) == (0, tally.read, 0), name
    (stored,) = connection.execute("SELECT event_key, event_name FROM landing.usage_events").fetchall()
    assert stored == {"event_key": key, "event_name": "call"}


def test_a_cloudevent_and_the_client_library_may_name_a_meter(
    service: Running, api_key: str, connection: psycopg.Connection[DictRow]
) -> None:
    cloud = {"specversion": "1.0", "type": "call", "source": "/gateway", "id": "7", "time": AT}
    said = track(
        service,
        api_key,
        [{**cloud, "data": {"team": "acme", "meter": meter}} for meter in ("calls", "tokens", "none")],
        "application/cloudevents-batch+json",
    )
    assert [event.get("reason") for event in said["events"]] == [None, "meter_mismatch", "unknown_meter"]
    with UsageClient(service.address, api_key, team="acme", raise_errors=True) as usage:
        assert usage.track(meter="calls", idempotency_key="by-client") == "by-client"
        usage.track("call", 2, meter="calls", time=AT)
        usage.flush()
        assert usage.tally.accepted == 2
    names = connection.execute("SELECT DISTINCT event_name FROM landing.usage_events").fetchall()
    assert names == [{"event_name": "call"}]


def test_an_unknown_meter_is_quarantined_mended_and_sent_again(
    service: Running, catalog: None, connection: psycopg.Connection[DictRow]
) -> None:
    api_key = create_api_key(connection, scopes=["track", "read", "admin"])
    said = track(service, api_key, [{**NAMED, "meter": "call"}, {**NAMED, "event": "prompt"}, {"team": "acme"}])
    reasons = [(event["reason"], event["field"]) for event in said["events"]]
    assert reasons == [("unknown_meter", "meter"), ("meter_mismatch", "meter"), ("missing_event", "event")]
    kept = connection.execute("SELECT DISTINCT team_id FROM landing.quarantined_events").fetchall()
    assert [row["team_id"] for row in kept] != [0] and len(kept) == 1

    headers = {"authorization": f"Bearer {api_key}"}
    with httpx.Client(base_url=service.address, headers=headers, timeout=30) as quarantine:
        (entry,) = quarantine.get(PATH, params={"reason": "unknown_meter"}).json()["entries"]
        quarantine.patch(f"{PATH}/{entry['id']}", json={"meter": "calls"}).raise_for_status()
        resent = quarantine.post(f"{PATH}/resend", json={"ids": [entry["id"]]}).json()
    assert resent["accepted"] == 1
    assert track(service, api_key, ITSELF)["duplicate"] == 1

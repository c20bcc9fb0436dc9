"""The service over real sockets."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import DictRow

from metering.errors import BillingError
from metering.ingestion.keys import create_api_key, key_digest, revoke_api_key
from metering.ingestion.service import PROVEN_SECONDS
from metering.settings import PROJECT_ROOT

from .conftest import Running

Connection = psycopg.Connection[DictRow]


def event(key: str, **fields: Any) -> dict[str, Any]:
    return {"team": "acme", "event": "call", "idempotency_key": key, "time": "2026-10-05T12:00:00Z", **fields}


def track(service: Running, key: str | None, body: Any, **more: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    headers |= more.pop("headers", {})
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(f"{service.address}/api/usage/track", content=content, headers=headers, timeout=30, **more)


def test_every_event_of_a_request_is_accounted_for(service: Running, api_key: str, connection: Connection) -> None:
    events = [event("a"), event("a"), event("a", quantity=2), event("b", quantity=-1), event("c", colour="red")]
    derived = {"team": "acme", "event": "call", "time": "2026-10-05T12:00:00Z"}
    reply = track(service, api_key, {"events": [*events, derived]})
    assert reply.status_code == 200
    said = reply.json()
    assert {name: said[name] for name in ("accepted", "duplicate", "quarantined", "refused")} == {
        "accepted": 2,
        "duplicate": 1,
        "quarantined": 3,
        "refused": 0,
    }
    assert [one["index"] for one in said["events"]] == list(range(6))
    assert [one["status"] for one in said["events"]] == [
        "accepted",
        "duplicate",
        "quarantined",
        "quarantined",
        "quarantined",
        "accepted",
    ]
    assert [one.get("reason") for one in said["events"]][2:5] == ["conflict", "negative_quantity", "unknown_field"]
    assert said["events"][4]["idempotency_key"] == "c", "also of what is no event"
    assert said["events"][3]["field"] == "quantity" and said["events"][4]["field"] == "colour"
    assert said["events"][5]["key_derived"] is True and said["events"][5]["idempotency_key"].startswith("derived-")
    landed = connection.execute("SELECT event_key FROM landing.usage_events ORDER BY event_key").fetchall()
    assert [row["event_key"] for row in landed] == ["a", said["events"][5]["idempotency_key"]]


def test_a_brief_reply_lists_only_what_was_not_accepted(service: Running, api_key: str) -> None:
    reply = track(service, api_key, [event("a"), event("b")], params={"summary": "1"}).json()
    assert reply["accepted"] == 2 and reply["events"] == []
    again = track(service, api_key, [event("a"), event("c")], headers={"prefer": "return=minimal"}).json()
    assert [(one["index"], one["status"]) for one in again["events"]] == [(0, "duplicate")]


def test_an_event_sent_again_without_its_time_is_a_duplicate_and_the_first_time_stands(
    service: Running, api_key: str, connection: Connection
) -> None:
    plain = {"team": "acme", "event": "call", "idempotency_key": "a"}
    observed = {**plain, "idempotency_key": "b", "observed_at": "2026-10-05T12:00:00Z"}
    later = {**observed, "observed_at": "2026-10-06T12:00:00Z"}
    cloud = {"specversion": "1.0", "type": "call", "source": "s", "id": "c", "data": {"team": "acme"}}
    kinds = {"content-type": "application/cloudevents-batch+json"}
    assert track(service, api_key, [plain, observed]).json()["accepted"] == 2
    assert track(service, api_key, [cloud], headers=kinds).json()["accepted"] == 1
    stands = connection.execute("SELECT event_key, occurred_at FROM landing.usage_events").fetchall()
    assert track(service, api_key, [plain, later, *([later] * 20)]).json()["duplicate"] == 22
    assert track(service, api_key, [cloud], headers=kinds).json()["duplicate"] == 1
    assert connection.execute("SELECT event_key, occurred_at FROM landing.usage_events").fetchall() == stands
    assert {row["occurred_at"].isoformat() for row in stands if row["event_key"] == "b"} == {
        "2026-10-05T12:00:00+00:00"
    }
    # To say a time is to say something else.
    said = track(service, api_key, {**plain, "time": "2026-10-05T12:00:00Z"}).json()
    assert said["events"][0]["reason"] == "conflict"


def test_what_is_not_built_yet_is_said_and_is_no_mistake_of_the_sender(
    service: Running, connection: Connection, catalog: None
) -> None:
    reader = create_api_key(connection, scopes=["read"])
    headers = {"authorization": f"Bearer {reader}"}
    reply = httpx.get(f"{service.address}/api/usage/report", params={"team": "acme"}, headers=headers, timeout=30)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "not_deployed")


def test_what_an_event_says_twice_is_not_guessed_at(service: Running, api_key: str) -> None:
    twice = [b'"quantity": 1, "quantity": 2', b'"properties": {"a": 1, "a": 2}', b'"unit": null, "\\u0075nit": "call"']
    broken = [b'{"team": "acme", "event": "call", "idempotency_key": "x", %b}' % fields for fields in twice]
    body = b"[%b]" % b",".join([json.dumps(event("a")).encode(), *broken])
    for sent, headers in ((body, {}), (b"\n".join([*broken]), {"content-type": "application/x-ndjson"})):
        said = track(service, api_key, sent, headers=headers).json()["events"]
        found = [(one["reason"], one["field"]) for one in said if one["status"] == "quarantined"]
        assert found == [("repeated_field", name) for name in ("quantity", "properties.a", "unit")]
    envelope = b'{"events": [%b], "events": [%b]}' % (json.dumps(event("b")).encode(), json.dumps(event("c")).encode())
    assert track(service, api_key, envelope).status_code == 400


def test_one_event_json_lines_and_gzip_are_taken(service: Running, api_key: str) -> None:
    assert track(service, api_key, event("a")).json()["accepted"] == 1
    lines = "\n".join(json.dumps(event(key)) for key in "bcd").encode()
    kind = {"content-type": "application/x-ndjson; charset=utf-8", "content-encoding": "gzip"}
    assert track(service, api_key, gzip.compress(lines), headers=kind).json()["accepted"] == 3


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b'[{"event": }]', {}, 400, "unreadable_body"),
        (b"", {}, 400, "unreadable_body"),
        (b"x", {"content-encoding": "gzip"}, 400, "unreadable_body"),
        (gzip.compress(b" " * 40_000_000, mtime=0), {"content-encoding": "gzip"}, 413, "body_too_large"),
        (b"[]", {"content-encoding": "br"}, 415, "wrong_encoding"),
        (b" " * 34_000_000, {}, 413, "body_too_large"),
    ],
)
def test_a_body_that_holds_no_events_is_refused(
    service: Running, api_key: str, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    reply = track(service, api_key, body, headers=headers)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)


def test_who_has_no_key_or_no_scope_is_refused(service: Running, connection: Connection) -> None:
    reader = create_api_key(connection, scopes=["read"])
    for key, status, code in (
        (None, 401, "missing_api_key"),
        ("bk_no", 401, "invalid_api_key"),
        (reader, 403, "missing_scope"),
    ):
        reply = track(service, key, [event("a")])
        assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert httpx.get(f"{service.address}/api/usage/track").status_code == 405
    assert httpx.get(f"{service.address}/nothing").json()["error"]["code"] == "no_such_route"


def test_the_key_of_a_team_cannot_write_for_another(service: Running, connection: Connection) -> None:
    key = create_api_key(connection, "acme")
    mine = {name: value for name, value in event("a").items() if name != "team"}
    reply = track(service, key, [mine, event("b", team="globex")])
    assert reply.status_code == 200
    assert [one["status"] for one in reply.json()["events"]] == ["accepted", "refused"]
    alone = track(service, key, [event("b", team="globex")])
    assert (alone.status_code, alone.json()["error"]["code"]) == (403, "foreign_team")
    teams = connection.execute("SELECT DISTINCT team_id FROM landing.usage_events").fetchall()
    assert len(teams) == 1
    assert not connection.execute("SELECT FROM landing.quarantined_events").fetchall()


def test_a_revoked_key_soon_stops_working(service: Running, connection: Connection) -> None:
    key = create_api_key(connection, "acme")
    assert track(service, key, [event("a")]).status_code == 200
    stored = connection.execute("SELECT key_digest, key_hint FROM billing.api_keys").fetchone()
    assert stored is not None and bytes(stored["key_digest"]) == key_digest(key) and stored["key_hint"] == key[:9]
    assert revoke_api_key(connection, stored["key_hint"]) == key[:9]
    until = time.monotonic() + 6
    while track(service, key, [event("a")]).status_code != 401:
        assert time.monotonic() < until
        time.sleep(0.2)
    with pytest.raises(BillingError, match="No API key"):
        revoke_api_key(connection, key)


def test_keys_are_made_only_for_what_there_is(connection: Connection, catalog: None) -> None:
    with pytest.raises(BillingError, match="no team 'nobody'"):
        create_api_key(connection, "nobody")
    with pytest.raises(BillingError, match="no scope 'all'"):
        create_api_key(connection, scopes=["all"])


def test_a_team_made_a_moment_ago_is_known(service: Running, api_key: str, connection: Connection) -> None:
    assert track(service, api_key, [event("a", team="later")]).json()["quarantined"] == 1
    connection.execute("INSERT INTO billing.teams (team_key, team_name, time_zone) VALUES ('later', 'Later', 'UTC')")
    time.sleep(0.6)
    assert track(service, api_key, [event("a", team="later")]).json()["accepted"] == 1


def test_logs_are_json_and_hold_neither_keys_nor_what_was_sent(start: Callable[..., Running], api_key: str) -> None:
    service = start()
    track(service, api_key, [event("secret-key", properties={"card": "secret-value"}), event("x", quantity=-1)])
    track(service, api_key, b"secret-nonsense")
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(20) in (0, -signal.SIGTERM)
    text = service.log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert {line["event"] for line in lines} == {"started", "landed", "request_failed", "stopped"}
    assert "secret" not in text and api_key[:9] not in text


def test_a_port_in_use_is_said_in_one_sentence(service: Running, database_url: str) -> None:
    port = service.address.rpartition(":")[2]
    done = subprocess.run(
        [sys.executable, "-m", "metering.ingestion", "--port", port],
        env={"DATABASE_URL": database_url, "PYTHONPATH": str(PROJECT_ROOT / "include")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"Port {port} on 127.0.0.1, meant for the ingestion service, is in use by")
    assert "Traceback" not in done.stderr


def test_a_full_queue_is_told_and_not_hidden(database_url: str, catalog: None, connection: Connection) -> None:
    import asyncio

    from metering.ingestion.app import create_app

    key = create_api_key(connection)

    async def run() -> list[int]:
        app = create_app(database_url, max_waiting=100)
        transport = httpx.ASGITransport(app)
        headers = {"authorization": f"Bearer {key}"}
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://x") as client,
        ):
            requests = [
                client.post("/api/usage/track", headers=headers, json=[event(f"{n}-{m}") for m in range(60)])
                for n in range(4)
            ]
            replies = await asyncio.gather(*requests)
        assert all(reply.headers["retry-after"] == "1" for reply in replies if reply.status_code == 429)
        return sorted(reply.status_code for reply in replies)

    statuses = asyncio.run(run())
    assert set(statuses) == {200, 429}
    landed = connection.execute("SELECT count(*) AS n FROM landing.usage_events").fetchone()
    assert landed == {"n": 60 * statuses.count(200)}


def test_two_services_and_overlapping_keys_count_each_once(
    start: Callable[..., Running], api_key: str, connection: Connection
) -> None:
    import threading

    services = [start(), start()]
    tally = {"accepted": 0, "duplicate": 0}

    def send(service: Running, turns: list[int]) -> None:
        for turn in turns:
            reply = track(service, api_key, [event(f"{turn}-{number}") for number in range(200)]).json()
            for name in tally:
                tally[name] += reply[name]

    orders = [list(range(10)), list(range(9, -1, -1))]
    threads = [threading.Thread(target=send, args=(service, order)) for service in services for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tally == {"accepted": 2000, "duplicate": 6000}
    landed = connection.execute(
        "SELECT count(*) AS n, count(DISTINCT event_key) AS k FROM landing.usage_events"
    ).fetchone()
    assert landed == {"n": 2000, "k": 2000}


def test_a_list_without_events_is_accounted_for_and_a_body_without_anything_is_not(
    service: Running, api_key: str
) -> None:
    for body in (b"[]", b'{"events": []}'):
        reply = track(service, api_key, body)
        assert (reply.status_code, reply.json()["accepted"], reply.json()["events"]) == (200, 0, [])
    assert track(service, api_key, b"").status_code == 400


def test_health_says_no_where_the_database_is_read_only(
    service: Running, api_key: str, connection: Connection, database_url: str
) -> None:
    name = connection.info.dbname

    def renew() -> None:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE 'billing-%' AND pid <> pg_backend_pid()"
        )

    assert httpx.get(f"{service.address}/health").status_code == 200
    connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    renew()
    time.sleep(PROVEN_SECONDS)
    assert httpx.get(f"{service.address}/health").status_code == 503
    assert track(service, api_key, [event("a")]).status_code == 503
    connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    renew()
    assert track(service, api_key, [event("a")]).json()["accepted"] == 1
    time.sleep(PROVEN_SECONDS)
    assert httpx.get(f"{service.address}/health").status_code == 200


def test_health_says_no_while_events_fail_to_be_committed(
    service: Running, api_key: str, connection: Connection
) -> None:
    connection.execute(
        "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$"
        " BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;"
        " CREATE TRIGGER no_room BEFORE INSERT ON landing.event_keys FOR EACH STATEMENT EXECUTE FUNCTION no_room()"
    )
    assert httpx.get(f"{service.address}/health").status_code == 200
    assert track(service, api_key, [event("a")]).status_code == 503
    health = httpx.get(f"{service.address}/health")
    assert (health.status_code, health.json()["status"]) == (503, "unavailable")
    connection.execute("DROP TRIGGER no_room ON landing.event_keys")
    assert track(service, api_key, [event("a")]).json()["accepted"] == 1
    assert httpx.get(f"{service.address}/health").status_code == 200


def test_what_libraries_warn_of_is_a_line_of_json_too() -> None:
    program = (
        "import logging; from metering.ingestion import logs; logs.set_up();"
        " logging.getLogger('some.library').warning('gone: %s', 'x' * 999); logging.getLogger('other').info('chatter')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=True, env={"PYTHONPATH": str(PROJECT_ROOT / "include")},
    )  # fmt: skip
    (line,) = done.stdout.splitlines()
    said = json.loads(line)
    assert (said["event"], said["library"], said["level"]) == ("library_warning", "some.library", "warning")
    assert said["said"].startswith("gone: xxx") and len(said["said"]) == 200 and done.stderr == ""

"""The quarantine: looked at, mended, sent again and discarded, over real sockets and by command."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from psycopg.rows import DictRow

from metering.cli.app import main
from metering.files import Mapping, import_file
from metering.ingestion.keys import create_api_key
from metering.ingestion.landing import Landing
from metering.quarantine.mending import merge

from .conftest import Running

Connection = psycopg.Connection[DictRow]
SCOPES = ["track", "read", "admin"]
PATH = "/api/usage/quarantine"


class Hand:
    """Somebody with an API key."""

    def __init__(self, service: Running, key: str) -> None:
        self.service, self.key = service, key

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.key}"}
        return httpx.request(method, f"{self.service.address}{path}", headers=headers, timeout=60, **more)

    def said(self, method: str, path: str, **more: Any) -> Any:
        reply = self.ask(method, path, **more)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def track(self, *events: dict[str, Any]) -> Any:
        return self.said("POST", "/api/usage/track", json=list(events))

    def entries(self, **params: Any) -> list[dict[str, Any]]:
        return list(self.said("GET", PATH, params=params)["entries"])


@pytest.fixture
def anyone(service: Running, connection: Connection, catalog: None) -> Hand:
    return Hand(service, create_api_key(connection, scopes=SCOPES))


@pytest.fixture
def acme(service: Running, connection: Connection, catalog: None) -> Hand:
    return Hand(service, create_api_key(connection, "acme", SCOPES))


@pytest.fixture
def globex(service: Running, connection: Connection, catalog: None) -> Hand:
    return Hand(service, create_api_key(connection, "globex", SCOPES))


@pytest.fixture
def remove_meter(connection: Connection) -> Any:
    yield
    connection.execute("DELETE FROM billing.meters WHERE meter_key = 'uploads'")


def event(key: str | None, **fields: Any) -> dict[str, Any]:
    identity = {} if key is None else {"idempotency_key": key}
    return {"event": "call", **identity, "time": "2026-10-05T12:00:00Z", **fields}


def landed(connection: Connection) -> dict[str, Any]:
    rows = connection.execute("SELECT event_key, quantity FROM landing.usage_events").fetchall()
    return {row["event_key"]: int(row["quantity"]) for row in rows}


def test_events_of_a_missing_meter_count_once_it_is_there_and_only_once(
    acme: Hand, connection: Connection, remove_meter: None
) -> None:
    acme.track(*(event(f"up-{n}", event="upload", quantity=n) for n in range(1, 41)), event("wrong", quantity=-1))
    acme.track(event("up-1", event="upload", quantity=1))
    counts = acme.said("GET", f"{PATH}/counts")["counts"]
    assert [(row["reason"], row["entries"], row["times_seen"]) for row in counts] == [
        ("unknown_event", 40, 41),
        ("negative_quantity", 1, 1),
    ]
    still = acme.said("POST", f"{PATH}/resend", params={"reason": "unknown_event"})
    assert (still["accepted"], still["quarantined"], still["reasons"]) == (0, 40, {"unknown_event": 40})
    connection.execute(
        "INSERT INTO billing.meters (meter_key, meter_name, event_name, aggregation, unit)"
        " VALUES ('uploads', 'Uploads', 'upload', 'sum', 'upload')"
    )
    dry = acme.said("POST", f"{PATH}/resend", params={"reason": "unknown_event", "dry_run": "1"})
    assert (dry["accepted"], dry["dry_run"], landed(connection)) == (40, True, {})
    # The sender repeats some of them by itself meanwhile.
    again = acme.track(*(event(f"up-{n}", event="upload", quantity=n) for n in range(1, 4)))
    if again["accepted"] == 0:  # the service has not looked at the catalog since
        again = acme.track(*(event(f"up-{n}", event="upload", quantity=n) for n in range(1, 4)))
    said = acme.said("POST", f"{PATH}/resend", params={"reason": "unknown_event"})
    assert (said["accepted"], said["duplicate"], said["quarantined"]) == (40 - again["accepted"], again["accepted"], 0)
    assert landed(connection) == {f"up-{n}": n for n in range(1, 41)}
    assert acme.said("POST", f"{PATH}/resend", params={"reason": "unknown_event"})["entries"] == []
    assert [entry["reason"] for entry in acme.entries()] == ["negative_quantity"]
    # The first came twice before the others came again, if they did before the service knew their meter.
    one = max(acme.entries(status="resent", limit=1000), key=lambda entry: int(entry["times_seen"]))
    assert one["times_seen"] >= 2
    history = acme.said("GET", f"{PATH}/{one['id']}")["history"]
    assert [(step["action"], step["outcome"]) for step in history][:1] == [("resent", "quarantined")]
    assert history[-1]["outcome"] in ("accepted", "duplicate")
    sources = connection.execute("SELECT DISTINCT source FROM landing.batches WHERE accepted > 0").fetchall()
    assert "quarantine" in {row["source"] for row in sources}


def test_a_mended_event_keeps_its_key_and_what_was_sent_is_kept(acme: Hand, connection: Connection) -> None:
    acme.track(event("m-1", quantity="-5", colour="red", properties={"a": 1.10, "b": "x"}))
    (entry,) = acme.entries()
    assert (entry["reason"], entry["field"], entry["team"]) == ("unknown_field", "colour", "acme")
    path = f"{PATH}/{entry['id']}"
    acme.said("PATCH", path, json={"colour": None})
    said = acme.said("POST", f"{PATH}/resend", json={"ids": [entry["id"]]})
    assert said["entries"][0]["reason"] == "negative_quantity"
    assert [(e["reason"], e["status"]) for e in acme.entries()] == [("negative_quantity", "held")]
    acme.said("PATCH", path, json={"quantity": "5", "properties": {"b": None, "c": True}})
    said = acme.said("POST", f"{PATH}/resend", json={"ids": [entry["id"]]})
    assert [(one["outcome"], one["idempotency_key"]) for one in said["entries"]] == [("accepted", "m-1")]
    row = connection.execute("SELECT event_key, quantity, properties::text FROM landing.usage_events").fetchone()
    assert row is not None and (row["event_key"], int(row["quantity"])) == ("m-1", 5)
    assert row["properties"] == '{"a": 1.1, "c": true}'
    shown = acme.said("GET", path)
    assert (shown["status"], shown["first_reason"]) == ("resent", "unknown_field")
    assert json.loads(shown["payload"])["colour"] == "red" and "colour" not in json.loads(shown["mended_payload"])
    assert [step["action"] for step in shown["history"]] == ["mended", "resent", "mended", "resent"]
    assert {step["by"] for step in shown["history"]} == {f"API key {acme.key[:9]}"}
    refused = acme.ask("PATCH", path, json={"quantity": "6"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "not_possible")


def test_a_conflict_stays_a_conflict_until_the_mend_changes_its_key(acme: Hand, connection: Connection) -> None:
    acme.track(event("c-1", quantity=1), event("c-1", quantity=2))
    (entry,) = acme.entries(reason="conflict")
    for dry_run in ("1", "0"):
        said = acme.said("POST", f"{PATH}/resend", params={"dry_run": dry_run}, json={"ids": [entry["id"]]})
        assert said["reasons"] == {"conflict": 1}
    assert len(acme.entries(status="all")) == 1
    acme.said("PATCH", f"{PATH}/{entry['id']}", json={"idempotency_key": "c-2"})
    assert acme.said("POST", f"{PATH}/resend", json={"ids": [entry["id"]]})["accepted"] == 1
    assert landed(connection) == {"c-1": 1, "c-2": 2}


def test_a_cloudevent_is_mended_in_its_own_shape(acme: Hand, connection: Connection) -> None:
    sent = {"specversion": "1.0", "id": "1", "source": "/gate", "type": "call", "time": "2026-10-05T12:00:00Z"}
    headers = {"authorization": f"Bearer {acme.key}", "content-type": "application/cloudevents+json"}
    address = f"{acme.service.address}/api/usage/track"
    for _ in range(2):
        httpx.post(address, headers=headers, content=json.dumps({**sent, "data": {"quantity": "-2"}}))
    (entry,) = acme.entries()
    assert entry["times_seen"] == 2
    acme.said("PATCH", f"{PATH}/{entry['id']}", json={"data": {"quantity": "2"}})
    said = acme.said("POST", f"{PATH}/resend", json={"ids": [entry["id"]]})
    assert said["accepted"] == 1, said
    again = httpx.post(address, headers=headers, content=json.dumps({**sent, "data": {"quantity": "2"}})).json()
    assert again["duplicate"] == 1 and list(landed(connection).values()) == [2]


def test_rows_of_a_file_are_sent_again_without_the_file_and_its_map(
    anyone: Hand, connection: Connection, database_url: str, tmp_path: Path, remove_meter: None
) -> None:
    file, map_file = tmp_path / "rows.csv", tmp_path / "rows.map.yaml"
    file.write_text("at,who,n,kind\n2026-10-05T12:00:00,acme,1.50,upload\n2026-10-05T12:00:01,acme,many,upload\n")
    map_file.write_text(
        "{time: {column: at, zone: Asia/Kathmandu}, team: who, event: kind, quantity: n, key: [at], properties: {n: n}}"
    )
    landing = Landing.connect(database_url)
    try:
        assert import_file(landing, file, Mapping.load(map_file)).quarantined == 2
    finally:
        landing.close()
    connection.execute(
        "INSERT INTO billing.meters (meter_key, meter_name, event_name, aggregation, unit)"
        " VALUES ('uploads', 'Uploads', 'upload', 'sum', 'upload')"
    )
    said = anyone.said("POST", f"{PATH}/resend", params={"source": "file:rows.csv"})
    assert (said["accepted"], said["quarantined"]) == (1, 1)
    row = connection.execute("SELECT event_key, occurred_at, quantity::text FROM landing.usage_events").fetchone()
    assert row is not None and row["quantity"].startswith("1.50")
    assert row["occurred_at"].isoformat() == "2026-10-05T06:15:00+00:00"
    landing = Landing.connect(database_url)
    try:
        assert import_file(landing, file, Mapping.load(map_file), again=True).duplicate == 1
    finally:
        landing.close()


def test_an_event_without_a_time_occurred_when_it_first_came(acme: Hand, connection: Connection) -> None:
    acme.track({"event": "call", "idempotency_key": "t-1", "unit": "GB"})
    (entry,) = acme.entries()
    acme.said("PATCH", f"{PATH}/{entry['id']}", json={"unit": None})
    acme.said("POST", f"{PATH}/resend", json={"ids": [entry["id"]]})
    row = connection.execute("SELECT occurred_at FROM landing.usage_events").fetchone()
    assert row is not None and row["occurred_at"].isoformat().replace("+00:00", "Z") == entry["first_recorded_at"]
    # What the sender repeats is known.
    assert acme.track({"event": "call", "idempotency_key": "t-1"})["duplicate"] == 1


def test_many_who_send_the_same_again_at_once_count_it_once(acme: Hand, connection: Connection) -> None:
    acme.track(*(event(f"p-{n}", unit="GB", quantity=n) for n in range(1, 201)))
    connection.execute("UPDATE landing.quarantined_events SET mended_payload = replace(payload, 'GB', 'call')")
    said: list[Any] = []

    def send() -> None:
        said.append(acme.said("POST", f"{PATH}/resend", params={"reason": "unit_mismatch"}))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one["accepted"] for one in said) == 200 and sum(one["quarantined"] for one in said) == 0
    assert landed(connection) == {f"p-{n}": n for n in range(1, 201)}
    row = connection.execute("SELECT count(*) AS actions FROM landing.quarantine_actions").fetchone()
    assert row is not None and row["actions"] == 200


def test_what_is_discarded_stays_away_and_can_be_restored(acme: Hand, connection: Connection) -> None:
    acme.track(event("d-1", quantity=-1), event("d-2", quantity=-2))
    assert acme.said("POST", f"{PATH}/discard", params={"source": "http", "dry_run": "1"})["entries"] == 2
    assert len(acme.entries()) == 2
    said = acme.said("POST", f"{PATH}/discard", params={"reason": "negative_quantity"}, json={"note": "a test"})
    assert said == {"dry_run": False, "entries": 2} and acme.entries() == []
    acme.track(event("d-1", quantity=-1))
    assert acme.entries() == []
    assert acme.said("POST", f"{PATH}/resend", params={"source": "http"})["entries"] == []
    entry = acme.entries(status="discarded")[0]
    assert acme.said("GET", f"{PATH}/{entry['id']}")["history"][0]["message"] == "a test"
    assert acme.said("POST", f"{PATH}/restore", json={"ids": [entry["id"]]})["entries"] == 1
    assert [one["id"] for one in acme.entries()] == [entry["id"]]


def test_a_key_of_one_team_neither_sees_nor_touches_another_teams(
    acme: Hand, globex: Hand, anyone: Hand, connection: Connection
) -> None:
    globex.track(event("g-1", quantity=-1))
    anyone.track(event("n-1", team="nobody"))
    acme.track(event("a-1", quantity=-1))
    (foreign,) = globex.entries()
    (nobodys,) = [entry for entry in anyone.entries() if entry.get("team") is None]
    assert {entry["id"] for entry in anyone.entries()} >= {foreign["id"], nobodys["id"]}
    assert [entry["team"] for entry in acme.entries(status="all")] == ["acme"]
    for theirs in (foreign["id"], nobodys["id"]):
        for method, path, body in (
            ("GET", f"{PATH}/{theirs}", None),
            ("PATCH", f"{PATH}/{theirs}", {"quantity": 1}),
            ("POST", f"{PATH}/resend", {"ids": [theirs]}),
            ("POST", f"{PATH}/discard", {"ids": [theirs]}),
            ("POST", f"{PATH}/restore", {"ids": [theirs]}),
        ):
            reply = acme.ask(method, path, json=body)
            assert (reply.status_code, reply.json()["error"]["code"]) == (404, "unknown_entry"), (method, path)
    for path in ("", "/counts", "/resend", "/discard", "/restore"):
        method = "GET" if path in ("", "/counts") else "POST"
        reply = acme.ask(
            method, f"{PATH}{path}", params={"team": "globex"} | ({"source": "http"} if method == "POST" else {})
        )
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "foreign_team")
    # A mend may not send an event to another team either.
    (mine,) = acme.entries()
    acme.said("PATCH", f"{PATH}/{mine['id']}", json={"team": "globex", "quantity": 1})
    said = acme.said("POST", f"{PATH}/resend", json={"ids": [mine["id"]]})
    assert said["reasons"] == {"foreign_team": 1} and landed(connection) == {}
    assert acme.said("POST", f"{PATH}/discard", params={"source": "http"})["entries"] == 1
    assert [entry["status"] for entry in globex.entries()] == ["held"]
    # A key for any team gives nobody's event to a team.
    anyone.said("PATCH", f"{PATH}/{nobodys['id']}", json={"team": "globex"})
    assert anyone.said("POST", f"{PATH}/resend", json={"ids": [nobodys["id"]]})["accepted"] == 1
    row = connection.execute("SELECT team_key FROM landing.usage_events JOIN billing.teams USING (team_id)").fetchone()
    assert row == {"team_key": "globex"}


def test_each_action_needs_its_scope(service: Running, acme: Hand, connection: Connection) -> None:
    acme.track(event("s-1", quantity=-1))
    (entry,) = acme.entries()
    reader = Hand(service, create_api_key(connection, "acme", ["read", "track"]))
    assert reader.said("GET", f"{PATH}/{entry['id']}")["id"] == entry["id"]
    for method, path in (("PATCH", f"/{entry['id']}"), ("POST", "/resend"), ("POST", "/discard"), ("POST", "/restore")):
        reply = reader.ask(method, f"{PATH}{path}", json={})
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "missing_scope")
    tracker = Hand(service, create_api_key(connection, "acme", ["track"]))
    assert tracker.ask("GET", PATH).status_code == tracker.ask("GET", f"{PATH}/{entry['id']}").status_code == 403


def test_pages_hold_each_entry_once(anyone: Hand) -> None:
    for team in ("acme", "globex"):
        anyone.track(*(event(f"q-{n}", team=team, quantity=-n) for n in range(1, 26)))
    seen: list[str] = []
    cursor = None
    while True:
        page = anyone.said("GET", PATH, params={"limit": 7} | ({"cursor": cursor} if cursor else {}))
        seen += [entry["id"] for entry in page["entries"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 50
    assert set(seen) == {entry["id"] for entry in anyone.entries(limit=1000)}


@pytest.mark.parametrize(
    ("method", "path", "more", "status", "code"),
    [
        ("POST", "/resend", {}, 400, "nothing_chosen"),
        ("POST", "/resend", {"json": {"ids": []}}, 400, "wrong_ids"),
        ("POST", "/resend", {"json": {"ids": ["x"]}}, 404, "unknown_entry"),
        ("POST", "/discard", {"json": {"id": ["x"]}}, 400, "unreadable_body"),
        ("POST", "/resend", {"content": b"{" * 100_000}, 400, "unreadable_body"),
        ("GET", "/1-0", {}, 404, "unknown_entry"),
        ("GET", "", {"params": {"cursor": "AAAA"}}, 409, "not_possible"),
        ("GET", "", {"params": {"status": "lost"}}, 400, "wrong_parameter"),
        ("PATCH", "/1-00000000000000000000000000000000", {"content": b"[]"}, 400, "unreadable_body"),
        ("PATCH", "/1-00000000000000000000000000000000", {"json": {}}, 404, "unknown_entry"),
    ],
)
def test_what_is_asked_wrongly_is_refused(
    anyone: Hand, method: str, path: str, more: dict[str, Any], status: int, code: str
) -> None:
    reply = anyone.ask(method, f"{PATH}{path}", **more)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code), reply.text


def test_a_mend_that_no_event_can_be_is_refused_or_found_when_it_is_sent(acme: Hand) -> None:
    acme.track(event("w-1", quantity=-1))
    (entry,) = acme.entries()
    path = f"{PATH}/{entry['id']}"
    assert acme.ask("PATCH", path, json={"properties": {"a": "x" * 70_000}}).status_code == 409
    assert acme.ask("PATCH", path, json={"subject": "\0"}).status_code == 409
    acme.said("PATCH", path, json={"quantity": [1]})
    assert acme.said("POST", f"{PATH}/resend", json={"ids": [entry["id"]]})["reasons"] == {"invalid_quantity": 1}


@dataclass
class Said:
    """What a command said."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def billing(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    monkeypatch.setenv("DATABASE_URL", database_url)

    def run(*arguments: str) -> Said:
        status = 0
        try:
            main(["quarantine", *arguments])
        except SystemExit as ended:
            status = int(ended.code or 0)
        said = capsys.readouterr()
        return Said(status, said.out, said.err)

    return run


def test_the_commands_do_the_same(billing: Callable[..., Said], acme: Hand, connection: Connection) -> None:
    acme.track(event("k-1", unit="GB", quantity=3), event("k-2", quantity=-1))
    listed = billing("list", "--team", "acme", "--reason", "unit_mismatch")
    (entry,) = acme.entries(reason="unit_mismatch")
    assert entry["id"] in listed.stdout and "1 of 1." in listed.stderr
    assert "negative_quantity" in billing("list", "--counts").stdout
    dry = billing("mend", entry["id"], "--unset", "unit", "--set", "properties.a=1", "--resend", "--dry-run")
    assert dry.returncode == 0 and "accepted" in dry.stdout, dry.stderr
    assert landed(connection) == {} and not acme.entries(reason="unit_mismatch")[0]["mended"]
    mended = billing("mend", entry["id"], "--unset", "unit", "--set", "idempotency_key=7", "--resend")
    assert mended.returncode == 0 and landed(connection) == {"7": 3}, mended.stderr
    shown = billing("show", entry["id"])
    assert "command line, " in shown.stdout and "accepted" in shown.stdout
    failed = billing("resend", "--all")
    assert failed.returncode == 1 and "negative_quantity" in failed.stdout
    assert billing("discard", "--source", "http", "--dry-run").stderr.count("1 would be discarded") == 1
    assert "1 were discarded" in billing("discard", "--source", "http", "--note", "no").stderr
    assert "1 are held again" in billing("restore", "--all").stderr
    for wrong in (
        ("resend",),
        ("list", "--team", "nobody"),
        ("show", "1-2"),
        ("mend", entry["id"]),
        ("list", "--status", "x"),
    ):
        refused = billing(*wrong)
        assert refused.returncode == 1 and "Traceback" not in refused.stderr and refused.stderr


objects = some.recursive(
    some.none() | some.booleans() | some.integers() | some.text(max_size=3),
    lambda below: some.dictionaries(some.text(max_size=2), below, max_size=3),
    max_leaves=8,
).filter(lambda value: isinstance(value, dict))


@settings(max_examples=60, deadline=None)
@given(objects, objects)
def test_a_patch_says_what_is_there_afterwards_and_applying_it_again_changes_nothing(target: Any, patch: Any) -> None:
    merged = merge(target, patch)
    assert merge(merged, patch) == merged
    for name, value in patch.items():
        assert (name in merged) == (value is not None)
        if value is not None and not isinstance(value, dict):
            assert merged[name] == value
    assert {name: merged[name] for name in target if name not in patch} == {
        name: value for name, value in target.items() if name not in patch
    }

"""Teams are kept apart, on every route that the service has: routes are taken from the application, not from a list."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from psycopg import sql

from metering.database import connect
from metering.ingestion.app import create_app
from metering.ingestion.keys import SCOPES, create_api_key, revoke_api_key
from metering.ingestion.openapi import Document
from metering.ingestion.operations import Operation

from .conftest import SECRETS, Planted

APP = create_app("postgresql://nobody@127.0.0.1:1/nothing")
OPERATIONS: list[Operation] = APP.state.operations
DOCUMENT = Document(OPERATIONS).content
WITH_KEY = [operation for operation in OPERATIONS if operation.scope is not None]

PUBLIC = {"GET /health", "GET /health/live", "GET /openapi.json", "GET /docs"}
NOT_HERE = {"aggregat": "Airflow, which this test does not have, is asked."}
"""Operations, by a part of their path, that can't succeed for anybody here, and why."""

FILTERS = ("team", "key", "subject", "reason")
"""Parameters of a query that would lead to what is acme's, if anybody's."""

each_operation = pytest.mark.parametrize("operation", WITH_KEY, ids=lambda operation: operation.name)


def requests(planted: Planted, operation: Operation) -> list[dict[str, Any]]:
    """Ways to ask for what is acme's: with its name and without, by each body that the document has as an example."""
    known = planted.named
    path = operation.template
    query: dict[str, str] = {}
    for parameter in operation.parameters:
        value = known.get(parameter.name)
        if parameter.where == "path":
            path = path.replace(f"{{{parameter.name}}}", value or str(parameter.example))
        elif parameter.where == "query" and (parameter.required or parameter.name in FILTERS):
            query[parameter.name] = value or str(parameter.example)
    bodies: list[tuple[bytes, str]] = [(b"", "application/json")]
    if operation.body:
        bodies = [
            (_of_acme(value if isinstance(value, str) else json.dumps(value), known).encode(), content.media_type)
            for content in operation.body
            for value in content.examples.values()
        ]
    nameless = {name: value for name, value in query.items() if name != "team"}
    only_team = {name: value for name, value in query.items() if name == "team"}
    asked = []
    for parameters in (query, nameless, only_team, {}):
        for body, media_type in bodies:
            way = {"method": operation.method, "url": path, "params": parameters, "content": body}
            way["headers"] = {"content-type": media_type}
            if way not in asked:
                asked.append(way)
    return asked


def _of_acme(text: str, known: dict[str, str]) -> str:
    """Put what is acme's in the place of the examples that stand for such things in paths."""
    for operation in WITH_KEY:
        for parameter in operation.parameters:
            if parameter.where == "path" and parameter.name in known:
                text = text.replace(f'"{parameter.example}"', json.dumps(known[parameter.name]))
    return text


def ask(planted: Planted, key: str | None, way: dict[str, Any]) -> httpx.Response:
    headers = dict(way["headers"])
    if key is not None:
        headers["authorization"] = f"Bearer {key}"
    with httpx.Client(base_url=planted.world.address, timeout=60) as client:
        return client.request(**{**way, "headers": headers})


def rows_of(planted: Planted, team: str) -> dict[str, str | None]:
    """A digest of everything that any table has of a team: tables are found by their column, none is forgotten."""
    found: dict[str, str | None] = {}
    with connect(planted.world.url) as connection:
        tables = connection.execute(
            "SELECT c.relnamespace::regnamespace::text AS schema, c.relname AS name FROM pg_class c"
            " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'team_id' AND NOT a.attisdropped"
            " WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition"
            " AND c.relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        assert {"usage_events", "quarantined_events", "event_keys", "api_keys"} <= {row["name"] for row in tables}
        for table in tables:
            name = sql.Identifier(table["schema"], table["name"])
            digest = sql.SQL("SELECT md5(string_agg(t::text, ' ' ORDER BY t::text)) AS d FROM {} t WHERE team_id = %s")
            row = connection.execute(digest.format(name), [planted.world.house.teams[team]]).fetchone()
            found[f"{table['schema']}.{table['name']}"] = row and row["d"]
    return found


def told(reply: httpx.Response) -> set[str]:
    return {secret for secret in SECRETS if secret in reply.text or secret in str(reply.headers)}


def test_only_these_are_answered_without_a_key() -> None:
    assert {operation.name for operation in OPERATIONS if operation.scope is None} == PUBLIC


@each_operation
def test_who_has_no_key_or_not_the_right_one_is_refused(planted: Planted, operation: Operation) -> None:
    others = [scope for scope in SCOPES if scope != operation.scope]
    with connect(planted.world.url) as connection:
        revoked = create_api_key(connection, "acme", SCOPES)
        revoke_api_key(connection, revoked)
        under_scoped = create_api_key(connection, "acme", others)
        of_nobody = create_api_key(connection, scopes=others)
    before = rows_of(planted, "acme")
    way = requests(planted, operation)[0]
    for key, status, code in (
        (None, 401, "missing_api_key"),
        ("bk_" + "a" * 43, 401, "invalid_api_key"),
        ("bk_' OR true --", 401, "invalid_api_key"),
        (revoked, 401, "invalid_api_key"),
        (revoked[:9], 401, "invalid_api_key"),
        (under_scoped, 403, "missing_scope"),
        (of_nobody, 403, "missing_scope"),
    ):
        reply = ask(planted, key, way)
        assert (reply.status_code, reply.json()["error"]["code"]) == (status, code), (key, reply.text)
        assert told(reply) == set()
    assert rows_of(planted, "acme") == before


@each_operation
def test_the_key_of_a_team_neither_changes_nor_sees_what_is_anothers(planted: Planted, operation: Operation) -> None:
    before = rows_of(planted, "acme")
    for way in requests(planted, operation):
        reply = ask(planted, planted.world.keys["globex"], way)
        assert reply.status_code < 500 or any(part in operation.path for part in NOT_HERE), reply.text
        assert told(reply) == set(), (way, reply.text)
    assert rows_of(planted, "acme") == before, "the key of globex has changed what is acme's"


def test_what_is_looked_for_is_seen_by_its_own_team(planted: Planted) -> None:
    """Else the test above would look for what no reply ever holds."""
    seen: set[str] = set()
    for operation in WITH_KEY:
        if operation.method != "GET":
            continue
        for way in requests(planted, operation):
            seen |= told(ask(planted, planted.world.keys["acme"], way))
    reading = [operation for operation in WITH_KEY if operation.method == "GET"]
    assert seen == (set(SECRETS) if reading else set())


@each_operation
def test_the_operation_answers_its_own_team(planted: Planted, operation: Operation) -> None:
    if any(part in operation.path for part in NOT_HERE):
        pytest.skip(next(reason for part, reason in NOT_HERE.items() if part in operation.path))
    replies = [ask(planted, planted.world.keys["acme"], way) for way in requests(planted, operation)]
    assert any(reply.status_code < 300 for reply in replies), [reply.text for reply in replies]
    assert not [reply.text for reply in replies if reply.status_code >= 500]


def test_every_parameter_in_a_path_has_a_value_of_acmes_own(planted: Planted) -> None:
    """Else a new route would be tried with an example that belongs to nobody."""
    named = {p.name for operation in WITH_KEY for p in operation.parameters if p.where == "path"}
    assert named <= set(planted.named) | {"run_id"}

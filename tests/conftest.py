"""What every test can have: a real PostgreSQL, a migrated database of its own, a connection to it."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import DictRow
from xdist.scheduler import LoadScopeScheduling

from metering import database
from metering.processes import postgres
from metering.processes.ports import free_port

# Whoever runs the tests may have a system of their own configured: none of it is for the tests.
for _name in [*os.environ]:
    if _name.startswith("BILLING_") or _name in ("DATABASE_URL", "AIRFLOW_DATABASE_URL", "STRIPE_API_KEY"):
        del os.environ[_name]

# A shell's background job ignores Ctrl-C, and so would all that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The address of a server for this session; TEST_DATABASE_SERVER_URL names a running one to use instead."""
    given = os.environ.get("TEST_DATABASE_SERVER_URL")
    if given:
        yield given
        return
    # Not pytest's own tmp directory, which other sessions make private again while the server's user reads in it.
    home = Path(tempfile.mkdtemp(prefix="billing-tests-"))
    port, password = free_port(), secrets.token_urlsafe(12)
    try:
        postgres.start(
            home / "postgres",
            port,
            password,
            # Tests survive no power cut; they need none of what makes a commit durable.
            configuration={"fsync": "off", "full_page_writes": "off", "shared_buffers": "128MB"},
        )
        yield postgres.url(port, password)
    finally:
        postgres.stop(home / "postgres")
        shutil.rmtree(home, ignore_errors=True)


def database_on(server: str, name: str) -> str:
    """The address of a database on a server."""
    return urlunsplit(urlsplit(server)._replace(path=f"/{name}"))


def _new_name(kind: str) -> str:
    return f"test_{os.getpid()}_{kind}_{next(_numbers)}"


def _drop(server: str, name: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


_used: set[str] = set()


@contextlib.contextmanager
def database_from(server: str, template: str) -> Iterator[str]:
    """The address of a copy of a database, dropped afterwards.

    Its name is the first that is not in use: dbt takes up what it has parsed only for a database of the same name.
    """
    name = next(name for number in itertools.count() if (name := f"test_{os.getpid()}_{number}") not in _used)
    _used.add(name)
    try:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
            )
        yield database_on(server, name)
    finally:
        _drop(server, name)
        _used.discard(name)


@pytest.fixture(scope="session")
def template_database(postgres_server: str) -> Iterator[str]:
    """The name of a database migrated once; others are copied from it."""
    from metering import migrate

    name = _new_name("template")
    postgres.ensure_database(postgres_server, name)
    try:
        migrate.migrate(database_on(postgres_server, name))
        yield name
    finally:
        _drop(postgres_server, name)


@pytest.fixture
def empty_database_url(postgres_server: str) -> Iterator[str]:
    """The address of a database with nothing in it, dropped after the test."""
    name = _new_name("empty")
    postgres.ensure_database(postgres_server, name)
    try:
        yield database_on(postgres_server, name)
    finally:
        _drop(postgres_server, name)


@pytest.fixture
def database_url(postgres_server: str, template_database: str) -> Iterator[str]:
    """The address of a migrated database of this test's own, dropped after it."""
    with database_from(postgres_server, template_database) as url:
        yield url


@pytest.fixture(scope="session")
def dbt_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for dbt's artifacts, so that the project is parsed once."""
    return tmp_path_factory.mktemp("dbt-home")


@pytest.fixture(scope="session")
def deployed_template_database(postgres_server: str, template_database: str, dbt_home: Path) -> Iterator[str]:
    """The name of a migrated database in which dbt has deployed every model; others are copied from it."""
    from metering import transform
    from metering.settings import Settings

    name = _new_name("deployed")
    with database_from(postgres_server, template_database) as url:
        transform.deploy(Settings(home=dbt_home, values={"DATABASE_URL": url}))
        with psycopg.connect(postgres_server, autocommit=True) as connection:
            connection.execute(
                sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                    sql.Identifier(urlsplit(url).path[1:]), sql.Identifier(name)
                )
            )
    try:
        yield name
    finally:
        _drop(postgres_server, name)


@pytest.fixture
def deployed_database_url(postgres_server: str, deployed_template_database: str) -> Iterator[str]:
    """The address of a database of this test's own in which every model is deployed, dropped after it."""
    with database_from(postgres_server, deployed_template_database) as url:
        yield url


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[DictRow]]:
    """An autocommit connection to this test's database, rows as dictionaries."""
    with database.connect(database_url, application="tests") as opened:
        yield opened


class Rooms(LoadScopeScheduling):
    """Where tests run side by side, one worker takes all that share what is dear to start: a file, or a system."""

    def _split_scope(self, nodeid: str) -> str:
        file = PurePosixPath(nodeid.partition("::")[0])
        return str(file.parent if file.parent.name in ("acceptance", "faults") else file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Rooms:
    """Groups by marks would do, but the plugin's marks don't reach it in this version of pytest."""
    return Rooms(config, log)

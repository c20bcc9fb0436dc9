"""Where cases run: a database of their own, on the server that runs or on one that is started for them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from metering import database as databases
from metering.errors import BillingError
from metering.processes import postgres
from metering.processes.ports import free_port
from metering.settings import Settings


@contextmanager
def found(settings: Settings, folder: Path, say: Callable[[str], None]) -> Iterator[str]:
    """The address of a server: the one of these settings where it answers, else one that is started in `folder`."""
    try:
        url = settings.database_url
        databases.connect(url).close()
    except BillingError:
        if not settings.embedded_postgres:
            raise
    else:
        yield url
        return
    say("No server runs here: one is started for this.")
    port, password = free_port(), secrets.token_urlsafe(12)
    try:
        # What is in it is thrown away: it needs none of what makes a commit durable.
        postgres.start(folder / "postgres", port, password, configuration={"fsync": "off", "full_page_writes": "off"})
        yield postgres.url(port, password)
    finally:
        postgres.stop(folder / "postgres")


@contextmanager
def database(server_url: str, name: str) -> Iterator[str]:
    """The address of a database that is made now and dropped afterwards."""
    postgres.ensure_database(server_url, name)
    try:
        yield urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    finally:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

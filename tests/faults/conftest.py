"""A durable server prepared once, copied for each test; services and clients on it; the figures at the end.

FAULTS_TIMES says how often each fault happens (2; the product promises to survive 20, `./billing faults`), and
FAULTS_SEED makes the moments those of an earlier run.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from metering import catalog, database
from metering.catalog import Catalog
from metering.ingestion.keys import create_api_key
from metering.processes import postgres
from metering.processes.ports import free_port
from metering.settings import Settings

from ..conftest import database_on
from .disk import Disk
from .rig import Note, Rig
from .server import Server, adopt_orphans
from .service import Service

HERE = Path(__file__).parent
TIMES = int(os.environ.get("FAULTS_TIMES", "2"))
SEED = os.environ.get("FAULTS_SEED") or str(secrets.randbelow(1_000_000))
DURABLE = ("fsync", "full_page_writes", "synchronous_commit")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == HERE:
            item.add_marker(pytest.mark.faults)


def pytest_report_header() -> str:
    return f"faults: {TIMES} of each, FAULTS_SEED={SEED}"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the figures of each test that has some."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome)]
    found = [(report, dict(report.user_properties)) for report in reports if report.when == "call"]
    for report, figures in found:
        if figures.get("faults") is not None:
            terminalreporter.write_line(f"{report.nodeid.rpartition('::')[2]}:")
            said = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items())
            terminalreporter.write_line(f"    {said}")


@dataclass(frozen=True)
class Prepared:
    """A stopped server's data directory, in which everything is deployed."""

    folder: Path
    port: int
    password: str
    api_key: str


@pytest.fixture(scope="session")
def prepared(postgres_server: str, deployed_template_database: str) -> Iterator[Prepared]:
    """Made once: a migrated database with every model deployed, a catalog, and a key for all teams."""
    # Not pytest's own tmp directory, which other sessions make private again while the server's user reads in it.
    folder = Path(tempfile.mkdtemp(prefix="billing-faults-"))
    port, password = free_port(), secrets.token_urlsafe(12)
    server = Server(folder, port, password, log=folder / "prepare.log")
    adopt_orphans(True)
    try:
        postgres.start(server.data, port, password, log=server.log, configuration=server.configuration)
        postgres.ensure_database(postgres.url(port, password), "billing")
        _move(database_on(postgres_server, deployed_template_database), server.url)
        with database.connect(server.url) as connection:
            catalog.apply(connection, Catalog.load(HERE / "catalog.yaml"))
            key = create_api_key(connection)
        server.stop()
        yield Prepared(folder, port, password, key)
    finally:
        server.remove()
        adopt_orphans(False)
        shutil.rmtree(folder, ignore_errors=True)


def _move(here: str, there: str) -> None:
    """Dump one database into another one."""
    program, restore = str(postgres.binary("pg_dump")), str(postgres.binary("psql"))
    with subprocess.Popen([program, "--no-owner", here], stdout=subprocess.PIPE) as dump:
        options = ("--no-psqlrc", "--quiet", "--output=/dev/null", "--set=ON_ERROR_STOP=1")
        subprocess.run([restore, *options, there], stdin=dump.stdout, check=True)
    assert dump.returncode == 0


@contextlib.contextmanager
def _built(prepared: Prepared, *, on_a_disk: bool = False, **configuration: str) -> Iterator[Rig]:
    with contextlib.ExitStack() as stack:
        own = Path(tempfile.mkdtemp(prefix="billing-faults-"))
        stack.callback(shutil.rmtree, own, ignore_errors=True)
        disk = stack.enter_context(Disk(own, megabytes=400)) if on_a_disk else None
        home, log = disk.mounted if disk else own, own / "server.log"
        server = Server(home, free_port(), prepared.password, log=log, **configuration)
        server.copy_from(prepared.folder / "postgres")
        stack.callback(server.remove)
        server.start()
        with psycopg.connect(server.url) as connection:
            for name in DURABLE:
                assert connection.execute(f"SHOW {name}").fetchone() == ("on",), name
        services = [Service(server.url, own / f"service-{number}.log") for number in range(2)]
        for service in services:
            stack.callback(service.kill)
            service.start()
        for service in services:
            service.wait_ready()
        settings = Settings(home=prepared.folder / "home", values={"DATABASE_URL": server.url})
        yield Rig(own, server, services, disk, prepared.api_key, settings, TIMES)


@pytest.fixture(scope="session")
def shared_rig(prepared: Prepared) -> Iterator[Rig]:
    """A rig for one test after the other."""
    with _built(prepared) as built:
        yield built


@pytest.fixture
def rig(shared_rig: Rig, request: pytest.FixtureRequest, record_property: Note) -> Rig:
    """Two services on one durable database in which nothing has landed."""
    shared_rig.mend()
    shared_rig.empty()
    return shared_rig.renewed(f"{SEED} {request.node.name}", record_property)


@pytest.fixture(scope="session")
def shared_rig_on_a_disk(prepared: Prepared) -> Iterator[Rig]:
    """The same with the data of the server on a small file system of their own, where there can be one."""
    if missing := Disk.missing():
        pytest.skip(f"there can be no small file system: {missing}")
    # Nothing is kept in reserve for the log, so that it feels the end of the space as the tables do.
    reserve = {"min_wal_size": "32MB", "max_wal_size": "64MB", "wal_recycle": "off"}
    with _built(prepared, on_a_disk=True, **reserve) as built:
        yield built


@pytest.fixture
def rig_on_a_disk(shared_rig_on_a_disk: Rig, request: pytest.FixtureRequest, record_property: Note) -> Rig:
    """Two services, and a server whose disk can be filled and cut off."""
    shared_rig_on_a_disk.mend()
    shared_rig_on_a_disk.empty()
    return shared_rig_on_a_disk.renewed(f"{SEED} {request.node.name}", record_property)

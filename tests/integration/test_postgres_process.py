"""The embedded server: made with a password, on loopback only, stopped cleanly, with a sentence for each failure."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from metering.errors import BillingError
from metering.processes import postgres
from metering.processes.ports import free_port


@pytest.fixture
def home() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="billing tests "))  # a space, as in many people's home directories
    yield path
    postgres.stop(path / "postgres")
    shutil.rmtree(path)


def test_start_stop_start_keeps_what_was_stored(home: Path) -> None:
    data, port = home / "postgres", free_port()
    server = postgres.start(data, port, "first secret/@:")
    assert postgres.start(data, port, "first secret/@:") == server, "a second start returns the running server"
    address = postgres.url(port, "first secret/@:")
    assert postgres.ensure_database(address, "billing") is True
    assert postgres.ensure_database(address, "billing") is False
    with psycopg.connect(postgres.url(port, "first secret/@:", "billing")) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        settings = dict(connection.execute("SELECT name, setting FROM pg_settings").fetchall())
    assert settings["fsync"] == settings["synchronous_commit"] == settings["full_page_writes"] == "on"
    assert settings["listen_addresses"] == "127.0.0.1"
    assert settings["TimeZone"] == "UTC"
    assert settings["password_encryption"] == "scram-sha-256"
    assert "trust" not in " ".join(_rules(data))

    assert postgres.stop(data) is True
    assert postgres.stop(data) is False
    assert postgres.running(data) is None

    postgres.start(data, port, "first secret/@:")
    with psycopg.connect(postgres.url(port, "first secret/@:", "billing")) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.url(port, "wrong"))
    with pytest.raises(BillingError, match="can't be reached"):
        postgres.ensure_database(postgres.url(port, "wrong"), "billing")


def _rules(data: Path) -> list[str]:
    lines = (data / "pg_hba.conf").read_text().splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def test_an_interrupted_first_start_is_begun_again(home: Path) -> None:
    (home / "postgres.new").mkdir()
    (home / "postgres.new" / "half").write_text("made")
    server = postgres.start(home / "postgres", free_port(), "secret")
    assert server.pid > 0


def test_a_port_in_use_is_named_with_its_setting(home: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(BillingError, match=f"Port {port}.*BILLING_POSTGRES_PORT"):
            postgres.start(home / "postgres", port, "secret")
    assert not (home / "postgres").exists(), "nothing is made before the port is known to be free"


def test_data_of_another_version_is_refused_untouched(home: Path) -> None:
    data = home / "postgres"
    data.mkdir()
    (data / "PG_VERSION").write_text("15\n")
    with pytest.raises(BillingError, match="PostgreSQL 15"):
        postgres.start(data, free_port(), "secret")
    assert [entry.name for entry in data.iterdir()] == ["PG_VERSION"]


def test_a_directory_of_somebody_else_is_refused(home: Path) -> None:
    data = home / "postgres"
    data.mkdir()
    (data / "thesis.txt").write_text("years of work")
    with pytest.raises(BillingError, match="not a PostgreSQL data directory"):
        postgres.start(data, free_port(), "secret")
    assert (data / "thesis.txt").read_text() == "years of work"


def test_a_full_disk_is_one_sentence(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(postgres, "_initialise", no_space)
    with pytest.raises(BillingError, match=r"disk .* is full.*BILLING_HOME"):
        postgres.start(home / "postgres", free_port(), "secret")


def test_a_record_of_a_killed_server_is_not_a_running_server(home: Path) -> None:
    data = home / "postgres"
    data.mkdir()
    (data / "postmaster.pid").write_text(f"1\n{data}\n1000000000\n5499\n\n127.0.0.1\n 1 1\nready\n")
    assert postgres.running(data) is None


def test_a_killed_server_is_started_again_at_once(home: Path) -> None:
    data, port = home / "postgres", free_port()
    server = postgres.start(data, port, "secret")
    address = postgres.url(port, "secret")
    with psycopg.connect(address, autocommit=True) as busy:
        busy.execute("CREATE TABLE kept AS SELECT 1 AS n")
        os.kill(server.pid, signal.SIGKILL)
        while postgres.running(data):
            pass
        again = postgres.start(data, port, "secret")
    assert again.pid != server.pid
    with psycopg.connect(address) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (1,)

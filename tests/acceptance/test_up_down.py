"""The whole system comes up, says where it is, keeps its secrets, refuses what would harm, and goes down."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
from psycopg import sql

from metering import settings as settings_module
from metering.errors import BillingError
from metering.processes import airflow_api, postgres, system

COMPONENTS = {
    "postgres",
    "stripe-emulator",
    "ingestion",
    "airflow-api-server",
    "airflow-scheduler",
    "airflow-dag-processor",
    "airflow-triggerer",
}


@contextlib.contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_up_says_where_everything_is(running_system: Any) -> None:
    at = system.addresses(running_system.settings)
    for address in (at["airflow"], at["ingestion"], at["stripe"], at["postgres"]):
        assert address in running_system.said
    assert str(running_system.home / "airflow" / "passwords.json") in running_system.said
    assert "./billing down" in running_system.said


def test_everything_runs_and_answers(running_system: Any) -> None:
    status = running_system.status()
    assert {part["name"] for part in status["components"] if part["running"]} == COMPONENTS
    assert all(part["memory_bytes"] > 1_000_000 and part["uptime_seconds"] > 0 for part in status["components"])
    assert status["storage"]["billing database"] > 1_000_000
    assert status["storage"]["airflow database"] > 1_000_000
    at = status["addresses"]
    assert httpx.get(f"{at['ingestion']}/health").status_code == 200
    assert httpx.get(f"{at['stripe']}/emulator/health").status_code == 200
    health = httpx.get(f"{at['airflow']}/api/v2/monitor/health").json()
    assert {part: state["status"] for part, state in health.items()} == dict.fromkeys(
        ("metadatabase", "scheduler", "triggerer", "dag_processor"), "healthy"
    )


def test_airflow_knows_three_people_and_nobody_else(running_system: Any) -> None:
    settings = running_system.settings
    at = system.addresses(settings)["airflow"]
    assert httpx.get(f"{at}/api/v2/dags").status_code == 401
    wrong = httpx.post(f"{at}/auth/token", json={"username": "admin", "password": "admin"})
    assert wrong.status_code == 401
    may_change_pools = {}
    for user in ("admin", "operator", "viewer"):
        with airflow_api.AirflowApi(settings, user) as api:
            assert api.client.get("/dags").status_code == 200
            reply = api.client.patch(
                "/pools/default_pool", params={"update_mask": "slots"}, json={"pool": "default_pool", "slots": 128}
            )
            may_change_pools[user] = reply.status_code
    assert may_change_pools == {"admin": 200, "operator": 200, "viewer": 403}


def test_airflow_reads_every_dag_without_an_error(running_system: Any) -> None:
    dags = {path.stem for path in (settings_module.PROJECT_ROOT / "dags").glob("*.py") if path.stem != "__init__"}
    with airflow_api.AirflowApi(running_system.settings, "viewer") as api:
        api.wait_parsed(*dags)
        assert api.client.get("/importErrors").json()["import_errors"] == []


def test_secrets_stay_with_their_owner(running_system: Any) -> None:
    home = running_system.home
    for private in (home / "settings.json", home / "airflow" / "passwords.json"):
        assert stat.S_IMODE(private.stat().st_mode) == 0o600
    secrets = [running_system.settings.require(name, "") for name in settings_module.SECRETS]
    assert not [secret for secret in secrets if secret in running_system.said]
    told = [
        (log.name, name)
        for log in (home / "logs").glob("*.log")
        for name, secret in zip(settings_module.SECRETS, secrets, strict=True)
        if secret in log.read_text(encoding="utf-8", errors="replace")
    ]
    assert told == []
    command_lines = [" ".join(psutil.Process(pid).cmdline()) for pid in running_system.processes().values()]
    assert not [line for line in command_lines if any(secret in line for secret in secrets)]


def test_only_loopback_is_listened_on(running_system: Any) -> None:
    running = set(running_system.processes().values())
    family = running | {child.pid for pid in running for child in psutil.Process(pid).children(recursive=True)}
    listening = {
        connection.laddr.ip
        for connection in psutil.net_connections("inet")
        if connection.pid in family and connection.status == psutil.CONN_LISTEN and connection.laddr
    }
    assert listening <= {"127.0.0.1", "::1"}


def test_the_real_tools_have_their_environment(running_system: Any) -> None:
    psql = running_system.billing("psql", "-At", "-c", "SELECT current_database(), 'it' || 's'")
    assert (psql.returncode, psql.stdout) == (0, "billing|its\n")
    airflow = running_system.billing("airflow", "connections", "get", "billing_postgres", "-o", "json")
    assert airflow.returncode == 0, airflow.stderr
    assert '"billing_postgres"' in airflow.stdout
    dbt = running_system.billing("dbt", "debug", "--connection")
    assert dbt.returncode == 0, dbt.stdout


def test_a_second_up_says_that_it_runs_and_changes_nothing(running_system: Any) -> None:
    before = running_system.processes()
    again = running_system.billing("up")
    assert again.returncode == 0
    assert again.stdout.strip() == (
        f"Everything already runs; Airflow is at {system.addresses(running_system.settings)['airflow']}."
    )
    assert running_system.processes() == before


def test_up_with_other_settings_than_what_runs_is_refused(running_system: Any) -> None:
    before = running_system.processes()
    other = running_system.billing("up", DATABASE_URL="postgresql://127.0.0.1/other")
    assert other.returncode == 1
    assert "another DATABASE_URL" in other.stderr
    assert "./billing down" in other.stderr
    assert running_system.processes() == before


def test_a_component_that_died_is_started_by_the_next_up(running_system: Any) -> None:
    before = running_system.processes()
    psutil.Process(before["stripe-emulator"]).kill()
    until = time.monotonic() + 10
    while "stripe-emulator" in running_system.processes() and time.monotonic() < until:
        time.sleep(0.1)
    status = running_system.status()
    assert [said.partition(":")[0] for said in status["late"]] == ["stripe-emulator does not run"]
    assert "./billing up" in status["remedy"]
    again = running_system.billing("up")
    assert again.returncode == 0, again.stderr
    after = running_system.processes()
    assert after.pop("stripe-emulator") != before.pop("stripe-emulator")
    assert after == before


@pytest.mark.parametrize("name", ["POSTGRES", "AIRFLOW", "INGESTION", "STRIPE_EMULATOR"])
def test_a_port_in_use_is_one_sentence_before_anything_starts(installation: Any, name: str) -> None:
    with taken_port() as port:
        up = installation.billing("up", **{f"BILLING_{name}_PORT": str(port)})
    assert up.returncode == 1
    assert f"Port {port}, meant for " in up.stderr
    assert f"process {os.getpid()}" in up.stderr
    assert f"Set BILLING_{name}_PORT to a free port" in up.stderr
    assert not (installation.home / "postgres").exists()
    assert not list((installation.home / "run").glob("*.json"))


@pytest.mark.parametrize("whose", ["billing", "airflow"])
def test_a_database_of_somebody_else_is_refused_untouched(
    installation: Any, postgres_server: str, empty_database_url: str, whose: str
) -> None:
    name = empty_database_url.rpartition("/")[2]
    foreign = empty_database_url if whose == "billing" else f"{empty_database_url}_airflow"
    postgres.ensure_database(postgres_server, foreign.rpartition("/")[2])
    with psycopg.connect(foreign) as connection:
        connection.execute("CREATE TABLE thesis (page int)")
    try:
        up = installation.billing("up", DATABASE_URL=empty_database_url)
        assert up.returncode == 1
        assert "nothing was changed" in up.stderr
        with psycopg.connect(foreign) as connection:
            tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        assert tables == [("thesis",)]
        assert installation.processes() == {}
        assert not (installation.home / "postgres").exists(), "no server of ours beside a given one"
    finally:
        with psycopg.connect(postgres_server, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(f"{name}_airflow")))


def test_an_up_that_fails_stops_what_it_started(installation: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in installation.environment.items():
        monkeypatch.setenv(name, value)

    def fail(url: str) -> list[str]:
        raise BillingError("The migrations are broken.", "Mend them.")

    monkeypatch.setattr(system.migrate, "migrate", fail)
    said: list[str] = []
    with pytest.raises(BillingError, match="The migrations are broken"):
        system.up(installation.settings, said.append)
    assert "Stopping again what was started." in said
    assert not {*settings_module.stored(installation.settings)} & {*settings_module.GIVEN, *settings_module.PORTS}
    assert installation.processes() == {}
    assert Path(installation.home / "postgres" / "PG_VERSION").exists()


def test_the_service_starts_the_aggregation_and_tells_how_far_it_has_come(running_system: Any) -> None:
    at = system.addresses(running_system.settings)["ingestion"]
    made = running_system.billing("keys", "create", "--any-team", "--scope", "admin")
    headers = {"authorization": f"Bearer {made.stdout.strip()}"}
    begun = httpx.post(f"{at}/api/usage/aggregate", headers=headers, timeout=60)
    assert begun.status_code == 202, begun.text
    until = time.monotonic() + 600
    while True:
        run = httpx.get(f"{at}{begun.headers['location']}", headers=headers, timeout=60).json()
        if run["state"] in airflow_api.FINISHED or time.monotonic() > until:
            break
        time.sleep(1)
    assert run["state"] == "success" and run["run_id"] == begun.json()["run_id"]
    assert set(run["tasks"].values()) == {"success"} and "close_run" in run["tasks"]
    unknown = httpx.get(f"{at}/api/usage/aggregate/no%2F..%2Fsuch", headers=headers, timeout=60)
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown_run")


@pytest.mark.parametrize("command", ["up", "demo"])
def test_ctrl_c_amid_the_start_stops_soon_and_says_what_is_left(installation: Any, command: str) -> None:
    with installation.begun(command) as process:
        until = time.monotonic() + 120
        while "The billing database is up to date" not in (line := process.stderr.readline()):
            assert line and time.monotonic() < until
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=45)
    assert process.returncode == 1
    assert "Stopping again what was started." in said
    assert "Nothing is left running" in said.replace("\n", " ")
    assert installation.processes() == {}


def test_a_reader_who_goes_away_leaves_nothing_half_started(installation: Any) -> None:
    with installation.begun("up") as process:
        process.stderr.readline()
        process.stderr.close()
        assert process.wait(timeout=120) != 0
    assert installation.processes() == {}

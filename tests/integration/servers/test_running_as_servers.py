"""The commands of docker-compose.yaml start outside Docker, and Airflow's tasks run on the Celery worker."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import httpx
import psycopg
import pytest

from metering import settings as settings_module
from metering.processes.airflow_api import AirflowApi

from .conftest import Servers, write_secrets

AIRFLOW = ("airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer", "airflow-worker")
DAG = "maintain_partitions"


def counted(url: str, statement: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(statement).fetchone()  # type: ignore[arg-type]
        assert row is not None
        return int(row[0])


@pytest.mark.skipif(not shutil.which("redis-server"), reason="redis-server is not installed (Debian: redis-server)")
def test_the_services_start_by_their_own_commands_and_a_dag_runs_on_the_celery_worker(
    servers_home: Path, empty_database_url: str, postgres_server: str
) -> None:
    given = write_secrets(servers_home / "env") | {
        "DATABASE_URL": empty_database_url,
        "BILLING_WORKER_CONCURRENCY": "2",
    }
    servers = Servers(given, servers_home)
    try:
        servers.start("redis")
        servers.start("stripe-emulator")
        servers.run("init")
        for name in ("ingestion", *AIRFLOW):
            servers.start(name)
        servers.wait_well("redis", "stripe-emulator", "ingestion", *AIRFLOW)

        settings = settings_module.load(servers.environment("airflow-api-server"))
        with AirflowApi(settings, "operator") as api:
            api.wait_parsed(DAG)
            api.unpause(DAG)
            run = api.trigger(DAG)
            assert api.wait(DAG, run, timeout=120) == "success", servers.log("airflow-worker")
            tasks = api.task_states(DAG, run)
            names = ("make_partitions", "open_periods", "archive_months", "merge_batches")
            assert tasks == dict.fromkeys(names, "success")
            # The API server shows what a worker wrote.
            assert '"logger":"task"' in api.task_log(DAG, run, "make_partitions")
        # Celery keeps its own account of what its worker did, written after Airflow's.
        on_celery = "SELECT count(*) FROM celery_taskmeta WHERE status = 'SUCCESS'"
        until = time.monotonic() + 30
        while counted(settings.airflow_database_url, on_celery) < len(tasks):
            assert time.monotonic() < until, servers.log("airflow-worker")
            time.sleep(0.5)
        ahead = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'landing.usage_events'::regclass"
        assert counted(settings.database_url, ahead) >= 4
        ingestion = f"http://127.0.0.1:{servers.ports['ingestion']}"
        assert httpx.post(f"{ingestion}/api/usage/track", json=[], trust_env=False).status_code == 401

        # A server that ends is no longer well; the others are.
        servers.stop("airflow-worker")
        assert not servers.is_well("airflow-worker")
        assert servers.is_well("airflow-api-server")
    finally:
        servers.stop()
        name = empty_database_url.rpartition("/")[2]
        with psycopg.connect(postgres_server, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}_airflow" WITH (FORCE)')  # type: ignore[arg-type]

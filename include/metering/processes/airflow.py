"""Airflow, configured by its environment alone: no file to edit, and every process of it sees the same.

This module imports no Airflow: it says how Airflow's programs are to be called, and calls them.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from metering import statements
from metering.database import connect, one
from metering.errors import BillingError
from metering.processes.supervisor import Component, Record, log_file, remember, tail
from metering.settings import PROJECT_ROOT, Settings

SQL = statements.beside(__file__, "processes")

ROLES = {"admin": "admin", "operator": "op", "viewer": "viewer"}
"""The users and their roles: the administrator, who runs and mends DAGs, and who only looks."""
POOLS = PROJECT_ROOT / "plugins" / "pools.json"
"""The pools that the DAGs take their turns in, as `airflow pools import` reads them."""


def airflow_environment(settings: Settings) -> dict[str, str]:
    """The environment in which every Airflow program of this installation runs."""
    options = {
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": settings.get("BILLING_AIRFLOW_PARALLELISM") or "4",
        "CORE__DAGS_FOLDER": str(PROJECT_ROOT / "dags"),
        "CORE__PLUGINS_FOLDER": str(PROJECT_ROOT / "plugins"),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "True" if settings.get("BILLING_PAUSE_NEW_DAGS") == "1" else "False",
        "CORE__FERNET_KEY": settings.require("BILLING_AIRFLOW_FERNET_KEY", _RUN_UP),
        "CORE__EXECUTION_API_SERVER_URL": f"{internal_url(settings)}/execution/",
        "CORE__AUTH_MANAGER": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
        "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in ROLES.items()),
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords_file(settings)),
        "CORE__DEFAULT_TIMEZONE": "utc",
        "DATABASE__SQL_ALCHEMY_CONN": sqlalchemy_url(settings.airflow_database_url, "psycopg2"),
        "DATABASE__SQL_ALCHEMY_CONN_ASYNC": sqlalchemy_url(settings.airflow_database_url, "psycopg"),
        "API__BASE_URL": airflow_url(settings),
        "API__HOST": settings.get("BILLING_AIRFLOW_HOST") or "127.0.0.1",
        "API__PORT": str(settings.airflow_port),
        "API__WORKERS": "1",
        "API__SECRET_KEY": settings.require("BILLING_AIRFLOW_SECRET_KEY", _RUN_UP),
        "API__EXPOSE_CONFIG": "False",
        "API_AUTH__JWT_SECRET": settings.require("BILLING_AIRFLOW_JWT_SECRET", _RUN_UP),
        "LOGGING__BASE_LOG_FOLDER": str(settings.airflow_home / "logs"),
        "LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(settings.airflow_home / "logs" / "dag_processor"),
        "LOGGING__COLORED_CONSOLE_LOG": "False",
        "METRICS__STATSD_ON": "False",
        "METRICS__LEGACY_NAMES_ON": "False",
        "SCHEDULER__ENABLE_HEALTH_CHECK": "False",
        # How soon the next task begins, against a few percent of a core while nothing happens.
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.3",
        # A task that was killed is begun again after this long; its supervisor sends a sign of life every 5 seconds.
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
        # How soon a changed and a new DAG file is noticed, in seconds.
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "60",
        "DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        **_celery(settings),
    }
    environment = {
        "BILLING_HOME": str(settings.home),
        "PYTHONPATH": str(PROJECT_ROOT / "include"),
        "AIRFLOW_HOME": str(settings.airflow_home),
        "AIRFLOW_CONN_BILLING_POSTGRES": _connection(settings.database_url),
    }
    environment |= {f"AIRFLOW__{name}": value for name, value in options.items()}
    return {**inherited(), **environment, **quiet()}


def _celery(settings: Settings) -> dict[str, str]:
    """What differs where tasks run on servers of their own: see docker-compose.yaml."""
    broker = settings.get("BILLING_CELERY_BROKER_URL")
    if not broker:
        return {}
    return {
        "CORE__EXECUTOR": "CeleryExecutor",
        # Servers are told apart, and asked for their health, by the name that each has for itself.
        "CORE__HOSTNAME_CALLABLE": "socket.gethostname",
        "CELERY__BROKER_URL": broker,
        # Seconds until a task that a worker took and never acknowledged is given to another. Airflow itself sees within
        # a minute that a task has died; this is longer than any task runs, so that none ever runs twice at once.
        "CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "86400",
        "CELERY__WORKER_CONCURRENCY": settings.get("BILLING_WORKER_CONCURRENCY") or "2",
    }


_RUN_UP = "Run `./billing up` once: it generates it."


def quiet() -> dict[str, str]:
    """What keeps the tools from reporting their use to their makers, and from warning people who can't mend it."""
    return {
        "GX_ANALYTICS_ENABLED": "false",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DO_NOT_TRACK": "1",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        # Of the tools about each other; they would fill the logs of every task. The tests see them.
        "PYTHONWARNINGS": "ignore::DeprecationWarning,ignore::FutureWarning",
    }


def inherited() -> dict[str, str]:
    """The caller's environment without what would configure another Airflow or point libpq elsewhere."""
    others = ("AIRFLOW__", "AIRFLOW_HOME", "AIRFLOW_CONFIG", "_AIRFLOW", "PG")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(others)}
    # Our programs talk to each other over loopback, which no proxy leads to.
    direct = ",".join(filter(None, [environment.get("no_proxy") or environment.get("NO_PROXY"), "127.0.0.1,localhost"]))
    return environment | {"NO_PROXY": direct, "no_proxy": direct}


def airflow_url(settings: Settings) -> str:
    """Where Airflow's UI and API are."""
    return settings.get("BILLING_AIRFLOW_URL") or f"http://127.0.0.1:{settings.airflow_port}"


def internal_url(settings: Settings) -> str:
    """Where Airflow's other programs, and the tasks, reach its API server; its public address by default."""
    return settings.get("BILLING_AIRFLOW_INTERNAL_URL") or airflow_url(settings)


def command(*arguments: str) -> list[str]:
    """The command line of an Airflow program, run by this Python wherever the environment was moved to."""
    return [sys.executable, "-P", "-m", "airflow", *arguments]


def sqlalchemy_url(url: str, driver: str) -> str:
    """A libpq URL as SQLAlchemy wants it, naming the driver."""
    return urlunsplit(urlsplit(url)._replace(scheme=f"postgresql+{driver}"))


def passwords_file(settings: Settings) -> Path:
    """The file that Airflow's login reads: user to password, mode 0600."""
    return settings.airflow_home / "passwords.json"


def passwords(settings: Settings) -> dict[str, str]:
    """The users' passwords."""
    return {user: password(settings, user) for user in ROLES}


def password(settings: Settings, user: str) -> str:
    """One user's password."""
    return settings.require(f"BILLING_AIRFLOW_{user.upper()}_PASSWORD", _RUN_UP)


def prepare(settings: Settings) -> None:
    """Write what Airflow reads from its home: the passwords, and a configuration file that only says where to look."""
    settings.airflow_home.mkdir(parents=True, exist_ok=True)
    path = passwords_file(settings)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(passwords(settings), file)
    # Without one, Airflow writes a file with every default, and with keys of its own, that looks as if it counted.
    (settings.airflow_home / "airflow.cfg").write_text(
        "# Airflow is configured by its environment: see include/metering/processes/airflow.py.\n", encoding="utf-8"
    )


def claim_database(url: str) -> None:
    """Mark the metadata database as this installation's; refuse one that holds somebody else's tables."""
    with connect(url, application="billing-up") as connection:
        if one(connection, SQL["exists"], name="public.billing_installation")["found"]:
            return
        if one(connection, SQL["tables"])["tables"]:
            raise BillingError(
                f"The database {connection.info.dbname!r}, meant for Airflow, holds tables that are not ours.",
                "Give AIRFLOW_DATABASE_URL an empty database of its own; nothing was changed.",
            )
        connection.execute(SQL["claim"])


class Launcher:
    """Starts Airflow's programs by forking one process that has imported Airflow once: see `airflow_launcher`."""

    def __init__(self, settings: Settings, given_up: threading.Event | None = None) -> None:
        """Begin; once `given_up` is set, every answer that is waited for raises `BillingError` instead."""
        self._log = log_file(settings, "airflow-launcher")
        self._settings = settings
        self._given_up = given_up or threading.Event()
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "metering.processes.airflow_launcher"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                # The API server begins before the migrations that it would insist on; it is not ready before they are.
                env=airflow_environment(settings) | {"AIRFLOW__DATABASE__CHECK_MIGRATIONS": "False"},
                cwd=settings.home,
                text=True,
                start_new_session=True,
                umask=0o077,  # as of everything that it starts
            )

    def start(self, component: Component) -> Record:
        """Start one of Airflow's programs and record it."""
        log = log_file(self._settings, component.name)
        answer = self._ask(arguments=list(component.command), log=str(log))
        return remember(self._settings, component.name, answer["pid"], component.port, log)

    def run(self, *arguments: str) -> None:
        """Run one of Airflow's programs to its end; raise `BillingError` where it fails."""
        self.begin(*arguments)()

    def begin(self, *arguments: str) -> Callable[[], None]:
        """Begin one of Airflow's programs; what is returned waits for its end and raises where it fails."""
        log = log_file(self._settings, f"airflow-{arguments[0]}")
        pid = self._ask(arguments=list(arguments), log=str(log))["pid"]

        def finish() -> None:
            if self._ask(wait=pid)["status"] != 0:
                raise BillingError(f"`airflow {' '.join(arguments)}` failed.{tail(log)}", f"Its whole log is {log}.")

        return finish

    def preload_for_tasks(self) -> None:
        """Import what tasks need, for the scheduler that is started later and for the workers that it forks."""
        self._ask(preload="tasks")

    def _ask(self, **request: object) -> dict[str, int]:
        assert self._process.stdin and self._process.stdout
        try:
            if not self._given_up.is_set():
                self._process.stdin.write(json.dumps(request) + "\n")
                self._process.stdin.flush()
            while not self._given_up.is_set() and not select.select([self._process.stdout], [], [], 0.2)[0]:
                pass  # each request has one answer of one line, so what is read is never more than is waited for
            if self._given_up.is_set():
                self._process.kill()  # at once: it must not begin what nobody would remember
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer and self._given_up.is_set():
            raise BillingError("Airflow is no longer waited for.", "Call again to start it.")
        if not answer:
            raise BillingError(f"Airflow can't be loaded.{tail(self._log)}", f"Its whole log is {self._log}.")
        return dict(json.loads(answer))

    def close(self) -> None:
        """End the launcher; what it started goes on."""
        assert self._process.stdin and self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        if self._given_up.is_set():
            self._process.kill()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:  # it is amid its imports, or waits for a migration that nobody wants any more
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Launcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _connection(url: str) -> str:
    return urlunsplit(urlsplit(url)._replace(scheme="postgres"))

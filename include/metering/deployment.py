"""Deploying the dbt models: every view, and every table that is not there yet, once for each state of the project."""

from __future__ import annotations

import hashlib
from pathlib import Path

import psycopg
from psycopg.rows import DictRow

from metering import settings as settings_module
from metering import statements, transform
from metering.database import connect, one
from metering.settings import Settings

SQL = statements.beside(__file__, "deployment")


def deploy(settings: Settings) -> bool:
    """Deploy the models unless the database has them from this very state of the project; True where it was done now.

    Hourly runs build tables only. Views belong here, because views that are rebuilt side by side collide.
    """
    # What the models say depends on the settings that they are told, too.
    told = f"{settings.reporting_currency} {settings.minute_days}"
    digest = f"{project_digest(settings.dbt_project)} {told}"
    with connect(settings.database_url, application="billing-deploy") as connection:
        connection.execute(SQL["make_journal"])
        if one(connection, SQL["is_deployed"], digest=digest)["deployed"]:
            return False
        transform.deploy(settings)
        let_readers_read(connection)
        connection.execute(SQL["record_deployment"], {"digest": digest})
    return True


def let_readers_read(connection: psycopg.Connection[DictRow]) -> None:
    """Let the members of the role billing_reader read the marts and nothing else."""
    connection.execute(SQL["let_readers_read"])


def project_digest(project: Path) -> str:
    """The SHA-256 of everything in the project that says what its models are."""
    files = sorted(
        path
        for path in project.rglob("*")
        if path.suffix in (".sql", ".yml", ".csv") and not {"target", "logs", "dbt_packages"} & set(path.parts)
    )
    together = hashlib.sha256()
    for path in files:
        together.update(f"{path.relative_to(project)}\0".encode())
        together.update(hashlib.sha256(path.read_bytes()).digest())
    return together.hexdigest()


if __name__ == "__main__":
    deploy(settings_module.load())

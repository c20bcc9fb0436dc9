"""Metering runs, one after another until killed, as a process of their own; the settings in force say where.

Each run does what the DAG `aggregate_usage` does, without Airflow, through the real dbt models.
"""

from __future__ import annotations

import psycopg
from psycopg.rows import DictRow

from metering import database, runs, settings, transform
from metering.settings import Settings


def meter(connection: psycopg.Connection[DictRow], inside: Settings) -> None:
    """One run."""
    run = runs.open_run(connection, "faults")
    transform.build("tag:usage", inside)
    transform.build("tag:billing", inside)
    runs.close_run(connection, run)


if __name__ == "__main__":
    with database.connect(application="faults-metering") as opened:
        while True:
            meter(opened, settings.load())
            print("metered", flush=True)

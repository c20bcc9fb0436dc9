"""`./billing dbt`"""

from __future__ import annotations

import os
import sys

import typer

EXAMPLES = ["./billing dbt build --select tag:usage", "./billing dbt docs generate --static", "./billing dbt -- --help"]
CONTEXT = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}


def dbt(context: typer.Context) -> None:
    """Run the real dbt command on dbt_project and the billing database.

    All arguments are passed on to it.
    """
    from metering import settings, transform
    from metering.processes import airflow

    environment = {**os.environ, **airflow.quiet(), **transform.environment(settings.load())}
    os.execve(sys.executable, [sys.executable, "-P", "-m", "dbt.cli.main", *context.args], environment)

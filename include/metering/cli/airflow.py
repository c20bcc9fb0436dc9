"""`./billing airflow`"""

from __future__ import annotations

import os

import typer

EXAMPLES = ["./billing airflow dags list", "./billing airflow tasks --help", "./billing airflow -- --help"]
CONTEXT = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}


def airflow(context: typer.Context) -> None:
    """Run the real airflow command in this installation.

    All arguments are passed on to it.
    """
    from metering import settings
    from metering.processes import airflow as process

    command = process.command(*context.args)
    os.execve(command[0], command, process.airflow_environment(settings.load()))

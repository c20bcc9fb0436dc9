"""`./billing status`"""

from __future__ import annotations

import typer

EXAMPLES = ["./billing status", "./billing status --json"]


def status(as_json: bool = typer.Option(False, "--json", help="Print JSON instead of tables.")) -> None:
    """Say what runs and where, how full it is, and what is late.

    Succeeds (0) where all runs and nothing is late; ends with 1 where something is late, has failed or does not run,
    and with 3 where nothing runs.
    """
    import json

    from metering import settings
    from metering.cli.console import table
    from metering.processes import status as process

    found = process.collect(settings.load())
    if as_json:
        print(json.dumps(found, indent=1, default=str))
        raise typer.Exit(process.exit_code(found))
    table(
        (
            (
                part["name"],
                "runs" if part["running"] else "died" if part["died"] else "stopped",
                part["pid"],
                part["port"],
                process.megabytes(part["memory_bytes"]),
                process.duration(part["uptime_seconds"]),
            )
            for part in found["components"]
        ),
        headers=("Component", "State", "Process", "Port", "Memory", "Up for"),
    )
    print()
    table((name, process.megabytes(size)) for name, size in found["storage"].items())
    if found["usage"]:
        print()
        table((name.replace("_", " "), process.moment(value)) for name, value in found["usage"].items())
    if found["dags"]:
        print()
        table(
            ((dag["dag_id"], dag["state"], dag["run_id"], process.moment(dag["at"])) for dag in found["dags"]),
            headers=("DAG", "Latest run", "Run", "At"),
        )
    print()
    for sentence in filter(None, [*found["late"], found["remedy"]]):
        print(sentence)
    if not found["late"] and not found["remedy"]:
        print("Nothing is late.")
    raise typer.Exit(process.exit_code(found))

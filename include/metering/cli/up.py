"""`./billing up`"""

from __future__ import annotations

EXAMPLES = ["./billing up", "BILLING_AIRFLOW_PORT=9090 ./billing up", "DATABASE_URL=postgresql://... ./billing up"]


def up() -> None:
    """Start the whole system and say where it is; a second call only says that it runs."""
    from metering import settings
    from metering.cli.console import say, table
    from metering.processes import system

    report = system.up(settings.load(), say)
    if report.already:
        print(f"Everything already runs; Airflow is at {system.addresses(report.settings)['airflow']}.")
        return
    table(system.directions(report.settings).items())
    say(f"Everything runs, after {report.seconds['up']:.0f} seconds. Stop it with ./billing down")

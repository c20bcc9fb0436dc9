"""`./billing up`"""

from __future__ import annotations

EXAMPLES = ["./billing up", "BILLING_AIRFLOW_PORT=9090 ./billing up", "DATABASE_URL=postgresql://... ./billing up"]


def up() -> None:
    """Start the whole system and say where it is.

    That is PostgreSQL (unless DATABASE_URL names one), Airflow, the ingestion service, and a local Stripe (unless
    STRIPE_API_KEY is set). A second call says that it runs, and starts what has stopped.

    \b
    Environment variables, and what they are without you:
      BILLING_HOME                  .billing in the project; everything is stored there
      BILLING_AIRFLOW_PORT          8080
      BILLING_INGESTION_PORT        8090
      BILLING_STRIPE_EMULATOR_PORT  12111
      BILLING_POSTGRES_PORT         5499
      AIRFLOW_DATABASE_URL          beside DATABASE_URL, its name with _airflow added
    """
    from metering import settings
    from metering.cli.console import interruptible, say, table
    from metering.processes import system

    with interruptible():
        report = system.up(settings.load(), say)
    if report.already:
        print(f"Everything already runs; Airflow is at {system.addresses(report.settings)['airflow']}.")
        return
    table(system.directions(report.settings).items())
    say(f"Everything runs, after {report.seconds['up']:.0f} seconds. Stop it with ./billing down")

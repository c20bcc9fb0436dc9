"""What has to be there before any server starts: the `init` service of docker-compose.yaml.

    python -P -m metering.processes.initialize

Both databases at the newest migration, the dbt models deployed, the pools, and the file of the users' passwords. It may
run again at any time: what is there stays. `./billing up` does the same, side by side and with progress.
"""

from __future__ import annotations

import subprocess
import sys

from metering import deployment
from metering import settings as settings_module
from metering.errors import BillingError
from metering.processes import airflow, system
from metering.settings import Settings


def initialize(settings: Settings) -> None:
    """Make everything that the servers rely on. Raises `BillingError` where something can't be made."""
    _ = settings.stripe_api_key  # refuses a wrong or a live key before anything starts
    airflow.prepare(settings)
    system.make_databases(settings)
    print("Both databases are there; the billing one is up to date.", flush=True)
    deployment.deploy(settings)
    print("The models are deployed.", flush=True)
    _airflow(settings, "db", "migrate")
    _airflow(settings, "pools", "import", str(airflow.POOLS))
    print("Airflow's database is up to date; the servers may start.", flush=True)


def _airflow(settings: Settings, *arguments: str) -> None:
    if subprocess.run(airflow.command(*arguments), env=airflow.airflow_environment(settings)).returncode != 0:
        raise BillingError(f"`airflow {' '.join(arguments)}` failed.", "Its messages are above.")


if __name__ == "__main__":
    try:
        initialize(settings_module.load())
    except BillingError as failure:
        print(failure, file=sys.stderr)
        sys.exit(1)

"""Whether one server is well: what docker-compose.yaml asks in each container every few seconds.

    python -P -m metering.processes.health http://127.0.0.1:8090/health
    python -P -m metering.processes.health scheduler        or dag-processor, triggerer, worker

An address must answer with 200. A program of Airflow must have said that it is alive, in the database, on this very
host; a Celery worker must answer over the broker. Airflow's own checks load all of Airflow each time, for seconds; this
imports only what the question at hand needs, because it is asked so often.
"""

from __future__ import annotations

import socket
import sys
import urllib.error
import urllib.request

from metering import settings as settings_module
from metering.errors import BillingError
from metering.settings import Settings

JOBS = {"scheduler": "SchedulerJob", "dag-processor": "DagProcessorJob", "triggerer": "TriggererJob"}
"""Airflow's programs that say that they are alive, and under which name."""
TIMEOUT = 5
"""Seconds until a reply is given up."""


def well(what: str, settings: Settings) -> bool:
    """Whether an address answers, or this host's Airflow program or worker is alive."""
    if what.startswith("http"):
        return answers(what)
    return worker_answers(settings) if what == "worker" else beats(what, settings)


def answers(url: str) -> bool:
    """Whether an address answers a GET with 200."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=TIMEOUT) as reply:
            return bool(reply.status == 200)
    except urllib.error.HTTPError:
        return False


def beats(name: str, settings: Settings) -> bool:
    """Whether Airflow's program of this name (one of `JOBS`) is alive on this host."""
    from metering import statements
    from metering.database import connect, one

    sql = statements.beside(__file__, "processes")
    with connect(settings.airflow_database_url, application="billing-health") as connection:
        return bool(one(connection, sql["beats"], job=JOBS[name], host=socket.gethostname())["alive"])


def worker_answers(settings: Settings) -> bool:
    """Whether this host's Celery worker answers over the broker."""
    from celery import Celery  # type: ignore[import-untyped]  # has no types

    broker = settings.require("BILLING_CELERY_BROKER_URL", "Only servers have workers: see docs/servers.md.")
    with Celery(broker=broker, set_as_current=False) as application:
        return bool(application.control.ping(destination=[f"celery@{socket.gethostname()}"], timeout=TIMEOUT))


def main(what: str) -> int:
    """0 where it is well, 1 where it is not."""
    try:
        if well(what, settings_module.load()):
            return 0
        print(f"{what}: not well", file=sys.stderr)
    except BillingError as error:
        print(f"{what}: {error}", file=sys.stderr)
    except OSError as error:  # nobody listens, or the broker is away
        print(f"{what}: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

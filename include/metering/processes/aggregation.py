"""Starting the aggregation DAG from outside of Airflow, and telling how far it has come."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec

from metering.processes import airflow
from metering.processes.airflow_api import AirflowApi
from metering.settings import Settings

DAG = "aggregate_usage"
USER = "operator"
"""The Airflow user that may start DAGs and no more."""


class AggregationRun(msgspec.Struct):
    """A run of the aggregation DAG."""

    run_id: str
    state: str
    """queued, running, success or failed."""
    joined: bool
    """Whether it was waiting to begin already: it takes up everything that has landed before it begins."""
    tasks: dict[str, str]
    """The state of each task that has begun or waits."""
    url: str
    """Where people see it."""


def is_configured(settings: Settings) -> bool:
    """Whether there is an Airflow that may be asked."""
    return settings.get(f"BILLING_AIRFLOW_{USER.upper()}_PASSWORD") is not None


def start(settings: Settings, time_from: datetime | None = None, time_until: datetime | None = None) -> AggregationRun:
    """Start a run over what has arrived, or, with both moments, over all usage of that half-open range again.

    A run over what has arrived that is queued already is returned instead of queueing another behind it. Raises
    `BillingError` where Airflow does not answer or refuses.
    """
    with AirflowApi(settings, USER) as api:
        conf: dict[str, Any] = {}
        if time_from is not None and time_until is not None:
            conf = {"from": time_from.isoformat(), "until": time_until.isoformat()}
        waiting = None if conf else api.begun_since(DAG, datetime.now(UTC))
        run_id = waiting or api.trigger(DAG, conf)
        return _tell(settings, api, run_id, joined=waiting is not None)


def find(settings: Settings, run_id: str) -> AggregationRun | None:
    """The run with this id, or None where there is none; raises `BillingError` as `start` does."""
    with AirflowApi(settings, USER) as api:
        if not api.has_run(DAG, run_id):
            return None
        return _tell(settings, api, run_id, joined=False)


def _tell(settings: Settings, api: AirflowApi, run_id: str, *, joined: bool) -> AggregationRun:
    return AggregationRun(
        run_id=run_id,
        state=str(api.run(DAG, run_id)["state"]),
        joined=joined,
        tasks=api.task_states(DAG, run_id),
        url=f"{airflow.airflow_url(settings)}/dags/{DAG}/runs/{quote(run_id, safe='')}",
    )

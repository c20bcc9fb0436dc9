"""`POST /api/usage/aggregate`: start the aggregation DAG through Airflow; `GET …/{run_id}`: how far it has come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from metering import settings as settings_module
from metering.errors import BillingError
from metering.ingestion.access import Access
from metering.ingestion.logs import log
from metering.ingestion.operations import Content, Operation, Parameter, Reply
from metering.ingestion.replies import Refusal, json_reply
from metering.ingestion.service import Service
from metering.processes import aggregation
from metering.processes.aggregation import AggregationRun
from metering.reading.parameters import Asked
from metering.reading.teams import NotFound, Unusable
from metering.settings import Settings

Result = TypeVar("Result")

_MOMENT = {"type": "string", "format": "date-time"}
RANGE = (
    Parameter("from", "Compute all usage again from this event time on …", "2026-10-01T00:00:00Z", _MOMENT),
    Parameter("until", "… and before this. Both left out: what has arrived.", "2026-11-01T00:00:00Z", _MOMENT),
)
RUN = (Parameter("run_id", "As the POST has told it.", "manual__2026-10-25T02:31:07+00:00", where="path"),)


async def start_aggregation(_: Service, request: Request, access: Access) -> Response:
    """Start a run, or join the one that is queued."""
    settings = _airflow(access)
    asked = Asked(request, RANGE)
    begin, end = asked.moment("from"), asked.moment("until")
    if (begin is None) != (end is None) or (begin and end and begin >= end):
        raise Unusable("empty_range", "Give both `from` and a later `until`, or neither.")
    run = await _ask(lambda: _start(settings, begin, end))
    return json_reply(run, 202, {"location": f"/api/usage/aggregate/{quote(run.run_id, safe=':+')}"})


async def aggregation_state(_: Service, request: Request, access: Access) -> Response:
    """Tell of a run."""
    settings = _airflow(access)
    run_id = Asked(request, RUN).required("run_id")
    run = await _ask(lambda: aggregation.find(settings, run_id))
    if run is None:
        raise NotFound("unknown_run", f"There is no run {run_id[:80]!r}.")
    return json_reply(run)


def _start(settings: Settings, begin: datetime | None, end: datetime | None) -> AggregationRun:
    return aggregation.start(settings, begin, end)


def _airflow(access: Access) -> Settings:
    """The settings by which Airflow is asked. A run works for all teams, so a key of one may not start it."""
    if access.team_id is not None:
        message = "Aggregation works for all teams; it takes a key that works for any team."
        raise Refusal(403, "needs_any_team", message)
    settings = settings_module.load()
    if not aggregation.is_configured(settings):
        raise NotFound("no_airflow", "This service was given no Airflow; see BILLING_AIRFLOW_OPERATOR_PASSWORD.")
    return settings


async def _ask(function: Callable[[], Result]) -> Result:
    try:
        return await asyncio.to_thread(function)
    except BillingError as error:
        log(30, "airflow_failed", error=error)
        message = "Airflow does not answer or has refused; see this service's log, and `./billing status`."
        raise Refusal(503, "airflow_unavailable", message, retry_after=10) from error


_RUN = {
    "run_id": "manual__2026-10-25T02:31:07.214503+00:00",
    "state": "running",
    "joined": False,
    "tasks": {"open_run": "success", "gate_arrivals": "running"},
    "url": "http://127.0.0.1:8080/dags/aggregate_usage/runs/manual__2026-10-25T02:31:07.214503+00:00",
}

OPERATIONS = (
    Operation(
        "POST",
        "/api/usage/aggregate",
        start_aggregation,
        "admin",
        summary="Meter and rate what has arrived, now",
        description=(
            "Starts the DAG `aggregate_usage`, which also runs every hour. A run that is queued already is returned "
            "instead. With a range, all of its usage is computed again, which changes nothing where nothing was wrong. "
            "Needs a key that works for any team."
        ),
        replies={
            202: Reply(
                "The run; ask for its state where `Location` says.",
                (Content(AggregationRun, {"begun": _RUN}),),
                {"Location": "Where its state is told."},
            ),
            404: Reply("This service was given no Airflow."),
        },
        parameters=RANGE,
        tag="operation",
    ),
    Operation(
        "GET",
        "/api/usage/aggregate/{run_id:path}",
        aggregation_state,
        "admin",
        summary="How far has the aggregation come?",
        description="The state of a run and of its tasks.",
        replies={
            200: Reply("The run.", (Content(AggregationRun, {"at work": _RUN}),)),
            404: Reply("There is no such run, or no Airflow."),
        },
        parameters=RUN,
        tag="operation",
    ),
)

"""Tasks that call the product: a function of a DAG file, given a fresh connection to the billing database."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from airflow.sdk import task


def metering_task(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Make a task of a function whose first argument is a connection to the billing database.

    The connection is opened for this try and closed after it. `options` are the task's. What the function returns goes
    to the log and to the tasks that take it; its docstring is the task's documentation. Import what it calls inside it:
    DAG files are parsed every half minute.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        @functools.wraps(function)
        def with_connection(*args: Any, **kwargs: Any) -> Any:
            from metering import database

            with database.connect(application=f"airflow-{function.__name__}") as connection:
                return function(connection, *args, **kwargs)

        # Airflow gives a function what its signature names; the connection is ours to give.
        signature = inspect.signature(function)
        _, *given_by_airflow = signature.parameters.values()
        with_connection.__signature__ = signature.replace(parameters=given_by_airflow)  # type: ignore[attr-defined]  # functions have it, their type does not say so
        return task(**options)(with_connection)

    return decorate


def window(dag_run: Any, params: Mapping[str, Any]) -> tuple[datetime | None, datetime | None]:
    """The range of event time that a run is asked to compute again: (None, None) where it takes what arrived.

    A backfill's is its data interval; a manual run's is what its form says (`from` and `until`, ISO 8601 with a zone).
    """
    if dag_run.run_type == "backfill":
        return dag_run.data_interval_start, dag_run.data_interval_end
    return _moment(params.get("from")), _moment(params.get("until"))


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None

"""Airflow's REST API, as far as the command line and the tests drive it."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx

from metering.errors import BillingError
from metering.processes import airflow
from metering.settings import Settings

FINISHED = ("success", "failed")
MISSING, CONFLICT = 404, 409
PAUSES = (1, 3, 9)
"""Seconds until a request that got no answer is sent again; after the last of them it is given up."""


def repeated(request: Callable[[], httpx.Response]) -> httpx.Response:
    """Send a request that may be sent twice until it is answered; the last failure is raised.

    A busy machine leaves one without an answer now and then. Where nobody listens at all, nothing is gained by waiting.
    """
    for pause in PAUSES:
        try:
            return request()
        except httpx.ConnectError:
            raise
        except httpx.TransportError:
            time.sleep(pause)
    return request()


def token(settings: Settings, user: str = "admin") -> str:
    """Log a user in with the generated password and return the bearer token."""
    reply = repeated(
        lambda: httpx.post(
            f"{airflow.internal_url(settings)}/auth/token",
            json={"username": user, "password": airflow.password(settings, user)},
            timeout=30,
            trust_env=False,
        )
    )
    if reply.status_code != 201:
        raise BillingError(
            f"Airflow does not let {user} in (status {reply.status_code}).",
            f"Compare {airflow.passwords_file(settings)} with settings.json, or run `./billing down` and `up`.",
        )
    return str(reply.json()["access_token"])


def _path_of(dag_id: str, run_id: str) -> str:
    return f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"


def last_sentence(log: str, limit: int = 400) -> str | None:
    """What a task's log, JSON lines, says of the exception that ended it; None where it says nothing of one."""
    for line in reversed(log.splitlines()):
        try:
            details = json.loads(line).get("error_detail")
        except (ValueError, AttributeError):
            continue
        if details:
            said = " ".join(str(details[0].get("exc_value") or details[0].get("exc_type")).split())
            return said if len(said) <= limit else f"{said[:limit]} ..."
    return None


class AirflowApi:
    """One user's session with the API."""

    def __init__(self, settings: Settings, user: str = "admin") -> None:
        url = airflow.internal_url(settings)
        try:
            headers = {"Authorization": f"Bearer {token(settings, user)}"}
        except httpx.HTTPError as error:
            raise BillingError(f"Airflow does not answer at {url}: {error}", "Start it with `./billing up`.") from error
        self.client = httpx.Client(base_url=f"{url}/api/v2", headers=headers, timeout=60, trust_env=False)

    def trigger(
        self,
        dag_id: str,
        conf: dict[str, Any] | None = None,
        logical_date: datetime | None = None,
        run_id: str | None = None,
    ) -> str:
        """Start a run of a DAG and return its run id.

        The id is chosen here, so that the request can be sent again and starts one run all the same.
        """
        chosen = run_id or f"manual__{datetime.now(UTC).isoformat()}_{secrets.token_hex(4)}"
        date = logical_date.isoformat() if logical_date else None
        body = {"conf": conf or {}, "logical_date": date, "dag_run_id": chosen}
        if self._send("POST", f"/dags/{dag_id}/dagRuns", json=body, allowed=() if run_id else (CONFLICT,)).is_error:
            self.run(dag_id, chosen)  # an earlier attempt had started it, though its answer was lost; else this raises
        return chosen

    def begun_since(self, dag_id: str, moment: datetime) -> str | None:
        """The id of a run of a DAG that began at or after a moment and has not ended, or that waits to begin."""
        runs = self._json("GET", f"/dags/{dag_id}/dagRuns", params={"order_by": "-run_after", "limit": 5})["dag_runs"]
        for run in runs:
            begun = run["start_date"]
            if run["state"] == "queued" or (
                run["state"] == "running" and begun and datetime.fromisoformat(begun) >= moment
            ):
                return str(run["dag_run_id"])
        return None

    def wait(
        self,
        dag_id: str,
        run_id: str,
        on_progress: Callable[[dict[str, str]], None] = lambda _: None,
        timeout: float = 600,
    ) -> str:
        """Wait for the end of a run and return its state; each change of its tasks' states is told to `on_progress`.

        Mapped tasks are told as `task_id[index]`. Raises `BillingError` where it does not end in time.
        """
        until = time.monotonic() + timeout
        told: dict[str, str] = {}
        while True:
            state = str(self.run(dag_id, run_id)["state"])
            tasks = self.task_states(dag_id, run_id)
            if tasks != told:
                on_progress(tasks)
                told = tasks
            if state in FINISHED:
                return state
            if time.monotonic() > until:
                raise BillingError(
                    f"The run {run_id} of {dag_id} has not ended after {timeout:.0f} seconds; it is {state}.",
                    "Look at it in the Airflow UI: it goes on.",
                )
            time.sleep(1)

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """A run of a DAG."""
        return self._json("GET", _path_of(dag_id, run_id))

    def has_run(self, dag_id: str, run_id: str) -> bool:
        """Whether a DAG has a run of this id, whoever made that up."""
        return self._send("GET", _path_of(dag_id, run_id), allowed=(MISSING,)).status_code != 404

    def task_states(self, dag_id: str, run_id: str) -> dict[str, str]:
        """The state of each task of a run; those that nobody has looked at yet are `waiting`."""
        states: dict[str, str] = {}
        while True:
            page = self._json(
                "GET",
                f"{_path_of(dag_id, run_id)}/taskInstances",
                params={"limit": 100, "offset": len(states), "order_by": "id"},
            )
            for task in page["task_instances"]:
                index = "" if task["map_index"] < 0 else f"[{task['map_index']}]"
                states[f"{task['task_id']}{index}"] = task["state"] or "waiting"
            if len(states) >= page["total_entries"] or not page["task_instances"]:
                return states

    def task_log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1) -> str:
        """The log of one attempt at a task, as text."""
        reply = self._send(
            "GET",
            f"{_path_of(dag_id, run_id)}/taskInstances/{task_id}/logs/{try_number}",
            headers={"Accept": "application/x-ndjson"},
        )
        return reply.text

    def reason(self, dag_id: str, run_id: str, task: str) -> str | None:
        """Why a task failed, in the words of its last attempt's log; None where that can't be read or doesn't say.

        `task` is named as `task_states` names it, in which a mapped task carries its index.
        """
        task_id, _, index = task.rstrip("]").partition("[")
        path = f"{_path_of(dag_id, run_id)}/taskInstances/{task_id}"
        try:
            instance = self._json("GET", f"{path}/{index}" if index else path)
            log = self._send(
                "GET",
                f"{path}/logs/{instance['try_number']}",
                params={"map_index": index or -1},
                headers={"Accept": "application/x-ndjson"},
            ).text
        except BillingError:  # what failed is told without it
            return None
        return last_sentence(log)

    def unpause(self, dag_id: str) -> None:
        """Let a DAG run."""
        self._json("PATCH", f"/dags/{dag_id}", json={"is_paused": False})

    def wait_parsed(self, *dag_ids: str, timeout: float = 60) -> None:
        """Wait until Airflow has read these DAGs from their files."""
        until = time.monotonic() + timeout
        missing = list(dag_ids)
        while missing:
            missing = [dag for dag in missing if self._send("GET", f"/dags/{dag}", allowed=(MISSING,)).is_error]
            if missing and time.monotonic() > until:
                errors = self._json("GET", "/importErrors")["import_errors"]
                raise BillingError(
                    f"Airflow has not read the DAG {missing[0]}.",
                    f"Its files with errors: {', '.join(error['filename'] for error in errors) or 'none'}.",
                )
            if missing:
                time.sleep(0.5)

    def _json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        return dict(self._send(method, path, **request).json())

    def _send(self, method: str, path: str, allowed: tuple[int, ...] = (), **request: Any) -> httpx.Response:
        """Send a request, again where it gets no answer: all that are made here may be. `allowed` are no refusals."""
        try:
            reply = repeated(lambda: self.client.request(method, path, **request))
        except httpx.HTTPError as error:
            raise BillingError(f"Airflow does not answer: {error}", "Look at `./billing status`.") from error
        if reply.is_error and reply.status_code not in allowed:
            raise BillingError(
                f"Airflow refused {method} {path} (status {reply.status_code}): {reply.text[:300]}",
                "Look at the DAG in the Airflow UI.",
            )
        return reply

    def close(self) -> None:
        """End the session."""
        self.client.close()

    def __enter__(self) -> AirflowApi:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

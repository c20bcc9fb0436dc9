"""The client of Airflow's API against a server that leaves requests without an answer, and what a task's log says."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from metering.errors import BillingError
from metering.processes import airflow_api
from metering.settings import Settings

FAILED = (
    '{"timestamp":"t","level":"info","event":"begins"}\n'
    '{"timestamp":"t","level":"error","event":"Task failed with exception","error_detail":'
    '[{"exc_type":"BillingError","exc_value":"Metering run 4 is not closed.\\nLet it succeed."}]}\n'
    '{"timestamp":"t","level":"error","event":"leaked semaphores","logger":"task.stderr"}\n'
    "not JSON\n"
)


class Airflow(BaseHTTPRequestHandler):
    """As much of Airflow as these tests ask; `silent` requests are taken, done, and left without an answer."""

    silent = 0
    runs: list[str]

    def do_GET(self) -> None:
        if "/logs/2" in self.path:
            self._reply(200, FAILED)
        elif "/taskInstances/" in self.path:
            self._reply(200, json.dumps({"try_number": 2}))
        else:
            run = self.path.rpartition("/")[2]
            self._reply(200 if run in self.quoted() else 404, json.dumps({"state": "success"}))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/auth/token":
            self._reply(201, json.dumps({"access_token": "secret"}))
        elif body["dag_run_id"] in self.runs:
            self._reply(409, "{}")
        else:
            self.runs.append(body["dag_run_id"])
            self._reply(200, json.dumps(body))

    def quoted(self) -> list[str]:
        return [airflow_api.quote(run, safe="") for run in self.runs]

    def _reply(self, status: int, body: str) -> None:
        if type(self).silent:
            type(self).silent -= 1
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Airflow]]:
    monkeypatch.setattr(airflow_api, "PAUSES", (0.01, 0.01, 0.01))
    handler = type("Handler", (Airflow,), {"runs": [], "silent": 0})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        handler.port = serving.server_port  # type: ignore[attr-defined]  # for the next fixture
        yield handler
        serving.shutdown()


@pytest.fixture
def api(server: Any, tmp_path: Any) -> Iterator[airflow_api.AirflowApi]:
    values = {"BILLING_AIRFLOW_PORT": str(server.port)}
    values |= {f"BILLING_AIRFLOW_{user}_PASSWORD": "p" for user in ("ADMIN", "OPERATOR", "VIEWER")}
    server.silent = 1  # logging in is asked again too
    with airflow_api.AirflowApi(Settings(home=tmp_path, values=values)) as opened:
        yield opened


def test_what_got_no_answer_is_asked_again(server: Any, api: airflow_api.AirflowApi) -> None:
    server.runs.append("r")
    server.silent = 3
    assert api.run("d", "r")["state"] == "success"


def test_asking_again_has_an_end(server: Any, api: airflow_api.AirflowApi) -> None:
    server.silent = 4
    with pytest.raises(BillingError, match="Airflow does not answer"):
        api.run("d", "r")
    assert server.silent == 0, "each of the four attempts was made"


def test_a_trigger_whose_answer_was_lost_starts_one_run(server: Any, api: airflow_api.AirflowApi) -> None:
    server.silent = 1
    assert server.runs == [api.trigger("d")]


def test_a_run_id_that_was_given_and_is_taken_is_refused(server: Any, api: airflow_api.AirflowApi) -> None:
    server.runs.append("mine")
    with pytest.raises(BillingError, match="status 409"):
        api.trigger("d", run_id="mine")


def test_a_failed_task_is_told_in_the_words_of_its_log(api: airflow_api.AirflowApi) -> None:
    assert api.reason("d", "r", "task[3]") == "Metering run 4 is not closed. Let it succeed."
    assert airflow_api.last_sentence('{"event":"fine"}\n') is None
    assert airflow_api.last_sentence(FAILED, limit=12) == "Metering run ..."

"""Starts Airflow's programs by forking one process that has imported Airflow already.

Each of Airflow's programs spends five seconds of processor time on the same imports before it does anything. Importing
once and forking brings all of them up in a quarter of the time, and they share that memory from then on. Airflow forks
its own workers in the same way, and resets its connections in each child.

Run as a program, never imported. It reads one JSON object a line and answers each with one; it ends with its input.

- {"arguments": [...], "log": path} starts a program and is answered with its {"pid": n}.
- {"wait": pid} waits for one to end and is answered with its {"status": n}.
- {"preload": "tasks"} imports what tasks need, for the scheduler that is forked later: its workers are forks of it, so
  dbt and Great Expectations are imported once, and not for three seconds and five by every task that needs them.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys

PRELOAD = (
    "airflow",
    "airflow.__main__",
    "airflow.api_fastapi.execution_api.app",
    "airflow.api_fastapi.execution_api.routes",
    "airflow.cli.commands.api_server_command",
    "airflow.cli.commands.dag_processor_command",
    "airflow.cli.commands.scheduler_command",
    "airflow.cli.commands.triggerer_command",
    "airflow.executors.local_executor",
    "airflow.models.serialized_dag",
    "airflow.providers.standard.operators.python",
)

PRELOAD_FOR_TASKS = (
    "dbt.cli.main",
    "dbt.adapters.postgres",
    "dbt.task.build",
    "great_expectations",
    "great_expectations.expectations",
    "metering.quality",
    "metering.submission",
    "metering.transform",
)


def preload(modules: tuple[str, ...]) -> None:
    """Import modules for good: no collection of garbage looks at them again, and forks share their memory."""
    for module in modules:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()


def serve() -> list[str] | None:
    """Answer requests; return in each child the arguments of the program it is to become, in the parent None."""
    for line in sys.stdin:
        request = json.loads(line)
        if request.get("preload"):
            preload(PRELOAD_FOR_TASKS)
            _answer(pid=os.getpid())
            continue
        if request.get("wait"):
            _answer(status=os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1]))
            continue
        pid = os.fork()
        if pid == 0:
            _detach(request["log"])
            return list(request["arguments"])
        _answer(pid=pid)
    return None


def _answer(**answer: int) -> None:
    print(json.dumps(answer), file=_answers, flush=True)


def _detach(log: str) -> None:
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    for descriptor, target in ((os.open(os.devnull, os.O_RDONLY), 0), (output, 1), (output, 2)):
        os.dup2(descriptor, target)
    _answers.close()
    signal.signal(signal.SIGINT, signal.default_int_handler)


if __name__ == "__main__":
    # Answers have a channel of their own, so that nothing Airflow prints on import can be taken for one.
    _answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started us decides when we end
    # Imports make millions of objects that stay; looking for garbage among them costs a fifth of the time.
    gc.set_threshold(100_000, 20, 100)
    preload(PRELOAD)
    arguments = serve()
    if arguments is not None:
        sys.argv = ["airflow", *arguments]
        importlib.import_module("airflow.__main__").main()

"""Processes end, are ended, and fork: what they tracked is delivered all the same, and once."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from metering.processes.ports import free_port

Server = Any
Start = Callable[..., Any]
Until = Callable[..., None]

CLIENT = """
import os, signal, sys, time
import usage_client
from usage_client import UsageClient
usage = UsageClient(sys.argv[1], "bk_secret", flush_seconds=60)
"""


def test_what_is_pending_is_flushed_when_the_interpreter_ends(server: Server, start: Start) -> None:
    process = start(CLIENT + "usage.track('e', idempotency_key='a')", server.url)
    assert process.wait(60) == 0
    assert set(server.kept) == {"a"}


def test_a_client_that_nobody_holds_any_more_is_flushed_too(server: Server, start: Start) -> None:
    program = """
def work():
    UsageClient(sys.argv[1], "bk_secret", flush_seconds=60).track('e', idempotency_key='a')
work()
"""
    assert start(CLIENT + program, server.url).wait(60) == 0
    assert set(server.kept) == {"a"}


def test_an_end_by_an_exception_flushes_too(server: Server, start: Start) -> None:
    process = start(CLIENT + "usage.track('e', idempotency_key='a'); sys.exit(3)", server.url)
    assert process.wait(60) == 3
    assert set(server.kept) == {"a"}


def test_sigterm_flushes_and_still_ends_the_process(server: Server, start: Start) -> None:
    program = """
assert usage_client.flush_on_sigterm()
for number in range(500):
    usage.track('e', number, idempotency_key=str(number))
print("tracked", flush=True)
while True: pass
"""
    process = start(CLIENT + program, server.url)
    assert process.stdout.readline() == "tracked\n"
    process.terminate()
    assert process.wait(60) == -signal.SIGTERM
    assert len(server.kept) == 500


def test_sigterm_with_the_service_away_ends_soon_and_leaves_events_on_disk(start: Start, tmp_path: Path) -> None:
    program = """
import logging
usage = UsageClient(sys.argv[1], "bk_secret", flush_seconds=60, spool=sys.argv[2])
usage_client.flush_on_sigterm()
usage.track('e', idempotency_key='a')
print("tracked", flush=True)
time.sleep(60)
"""
    process = start(CLIENT + program, f"http://127.0.0.1:{free_port()}", tmp_path / "spool")
    assert process.stdout.readline() == "tracked\n"
    began = time.monotonic()
    process.terminate()
    assert process.wait(60) == -signal.SIGTERM
    assert time.monotonic() - began < 30
    (file,) = (path for path in (tmp_path / "spool").rglob("*") if path.is_file())
    assert b'"idempotency_key":"a"' in file.read_bytes()


def test_sigterm_flushes_while_the_main_thread_runs_no_python(server: Server, start: Start) -> None:
    program = """
import hashlib
assert usage_client.flush_on_sigterm()
usage.track('e', idempotency_key='a')
print("tracked", flush=True)
hashlib.pbkdf2_hmac("sha256", b"long", b"work", 2_000_000_000)
"""
    process = start(CLIENT + program, server.url)
    assert process.stdout.readline() == "tracked\n"
    time.sleep(0.2)
    began = time.monotonic()
    process.terminate()
    assert process.wait(60) == 128 + signal.SIGTERM
    assert time.monotonic() - began < 30
    assert set(server.kept) == {"a"}


def test_a_forked_child_that_gets_sigterm_leaves_its_parent_alone(server: Server, start: Start) -> None:
    program = """
assert usage_client.flush_on_sigterm()
heard, said = os.pipe()
child = os.fork()
if child == 0:
    usage.track('e', idempotency_key='child')
    os.write(said, b"tracked")
    while True: time.sleep(0.1)
usage.track('e', idempotency_key='parent')
assert os.read(heard, 7) == b"tracked"
os.kill(child, signal.SIGTERM)
_, status = os.waitpid(child, 0)
assert os.WTERMSIG(status) == signal.SIGTERM, status
time.sleep(0.5)
sys.exit(4)
"""
    assert start(CLIENT + program, server.url).wait(60) == 4
    assert set(server.kept) == {"child", "parent"}


def test_a_handler_that_is_there_already_is_left_alone(server: Server, start: Start) -> None:
    program = """
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
assert not usage_client.flush_on_sigterm()
usage.track('e', idempotency_key='a')
print("tracked", flush=True)
time.sleep(60)
"""
    process = start(CLIENT + program, server.url)
    assert process.stdout.readline() == "tracked\n"
    process.terminate()
    assert process.wait(60) == 7
    assert set(server.kept) == {"a"}


def test_a_service_that_hangs_does_not_keep_a_process_from_ending(server: Server, start: Start, tmp_path: Path) -> None:
    server.script = ["hang for long"] * 10
    program = """
usage = UsageClient(sys.argv[1], "bk_secret", flush_seconds=0.05, spool=sys.argv[2])
usage.track('e', idempotency_key='a')
time.sleep(0.5)
print("on its way", flush=True)
"""
    process = start(CLIENT + program, server.url, tmp_path / "spool")
    assert process.stdout.readline() == "on its way\n"
    began = time.monotonic()
    assert process.wait(60) == 0
    assert time.monotonic() - began < 18  # the service hangs for 20
    (file,) = (path for path in (tmp_path / "spool").rglob("*") if path.is_file())
    assert b'"idempotency_key":"a"' in file.read_bytes()


def test_a_forked_process_sends_its_own_events_and_not_its_parents(server: Server, start: Start) -> None:
    program = """
usage.track('e', idempotency_key='first')   # threads run, a connection is open
usage.flush()
usage.track('e', idempotency_key='of the parent')
children = []
for number in range(4):
    child = os.fork()
    if child == 0:
        usage.track('e', idempotency_key=f'of child {number}')
        usage.close()
        os._exit(usage.tally.sent if usage.tally.tracked == 1 else 99)
    children.append(child)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
assert codes == [1, 1, 1, 1], codes
assert usage.pending == 1
usage.close()
assert usage.tally.sent == 2
"""
    process = start(CLIENT + program, server.url)
    assert process.wait(60) == 0
    assert set(server.kept) == {"first", "of the parent", *(f"of child {number}" for number in range(4))}
    assert sum(map(len, server.batches)) == 6  # nothing was sent twice


def test_a_fork_in_the_middle_of_everything_hangs_nobody(server: Server, start: Start) -> None:
    """Locks are held by other threads at the moment of many of these forks."""
    program = """
import threading
usage = UsageClient(sys.argv[1], "bk_secret", flush_seconds=0.01, batch_size=500)
stop = threading.Event()
def work(name):
    number = 0
    while not stop.is_set():
        usage.track('e', number, idempotency_key=f'{name}-{number}')
        number += 1
        if number % 5 == 0: time.sleep(0.002)
threads = [threading.Thread(target=work, args=(name,), daemon=True) for name in "ab"]
for thread in threads: thread.start()
for number in range(12):
    child = os.fork()
    if child == 0:
        assert usage.track('e', idempotency_key=f'child-{number}')
        assert usage.flush(20)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
for thread in threads: thread.join()
assert usage.flush(20)
assert usage.tally.duplicate == 0
"""
    process = start(CLIENT + program, server.url)
    assert process.wait(60) == 0
    assert {f"child-{number}" for number in range(12)} <= set(server.kept)


def test_a_forked_process_does_not_hold_the_files_of_a_parent_that_was_killed(
    server: Server, start: Start, tmp_path: Path
) -> None:
    program = """
usage = UsageClient(sys.argv[1], "bk_secret", flush_seconds=60, spool=sys.argv[2], durable=True)
usage.track('e', idempotency_key='of the parent')
child = os.fork()
if child == 0:
    time.sleep(60)
print(child, flush=True)
time.sleep(60)
"""
    process = start(CLIENT + program, server.url, tmp_path)
    child = int(process.stdout.readline())
    try:
        process.kill()
        process.wait()
        again = start(CLIENT + program.partition("child =")[0] + "assert usage.flush()", server.url, tmp_path)
        assert again.wait(60) == 0
        assert set(server.kept) == {"of the parent"}
        assert sum(map(len, server.batches)) == 2  # what was left, and the same again: a duplicate
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_multiprocessing_flush_at_their_end(
    server: Server, start: Start, tmp_path: Path, method: str
) -> None:
    """They skip atexit."""
    (tmp_path / "work.py").write_text(
        """
import multiprocessing, sys
from usage_client import UsageClient
usage = UsageClient(sys.argv[1], "bk_secret", flush_seconds=60)
def work(number):
    usage.track("e", number, idempotency_key=f"of worker {number}")
if __name__ == "__main__":
    usage.track("e", idempotency_key="of the parent")
    context = multiprocessing.get_context(sys.argv[2])
    workers = [context.Process(target=work, args=(number,)) for number in range(3)]
    for worker in workers: worker.start()
    for worker in workers: worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
"""
    )
    process = start([str(tmp_path / "work.py")], server.url, method)
    assert process.wait(60) == 0
    assert set(server.kept) == {"of the parent", *(f"of worker {number}" for number in range(3))}


def test_gunicorn_with_preload_meters_in_every_worker(
    server: Server, start: Start, tmp_path: Path, until: Until, http: httpx.Client
) -> None:
    (tmp_path / "shop.py").write_text(
        """
import os
from flask import Flask
from usage_client import UsageClient
from usage_client.wsgi import UsageMiddleware
usage = UsageClient(os.environ["USAGE_URL"], "bk_secret", flush_seconds=60)
usage.track("started", idempotency_key="preloaded")   # its threads run in the master, before the fork
app = Flask(__name__)
@app.get("/items/<int:number>")
def item(number):
    return {"number": number, "process": os.getpid()}
app.wsgi_app = UsageMiddleware(app.wsgi_app, usage)
"""
    )
    port = free_port()
    arguments = ["-m", "gunicorn", "shop:app", "--preload", "--workers", "3", "--bind", f"127.0.0.1:{port}"]
    process = start(arguments, "--log-level", "error", USAGE_URL=server.url)

    def answers() -> bool:
        try:
            return http.get(f"http://127.0.0.1:{port}/items/0").is_success
        except httpx.TransportError:
            return False

    until(answers)
    workers: Counter[int] = Counter()

    def call(number: int) -> None:
        workers[http.get(f"http://127.0.0.1:{port}/items/{number}").json()["process"]] += 1

    def several_answer() -> bool:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(call, range(20)))
        return len(workers) > 1

    until(several_answer)
    process.terminate()
    assert process.wait(60) == 0
    calls = [event for event in server.kept.values() if event["event"] == "api_request"]
    assert len(calls) > workers.total()  # each worker has flushed, though the minute was not over
    assert {call["properties"]["endpoint"] for call in calls} == {"/items/<int:number>"}
    assert "preloaded" in server.kept

"""A small supervisor: starts programs that outlive the command line, remembers them, and stops exactly those.

Each running component has a record, `<home>/run/<name>.json`: its process number together with when that process began,
so that a number given to somebody else meanwhile is never mistaken for it; and a log, `<home>/logs/<name>.log`.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

import psutil

from metering.errors import BillingError
from metering.settings import Settings

LOG_LIMIT = 10_000_000
END_TIMEOUT = 40
"""Seconds that a component may take to end, or to begin to serve: longer than any is given for it."""
STILL = 1.0
"""Seconds for which one that was asked to end may go on serving."""


@dataclass(frozen=True)
class Component:
    """A program to run: how to call it, where it listens, and how one knows that it is ready."""

    name: str
    title: str
    """Its name as people say it amid a sentence."""
    command: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict, repr=False)
    port: int | None = None
    port_setting: str | None = None
    """The setting that moves it to another port."""
    ready: Callable[[], bool] | None = None
    """Whether it answers; without one it is ready once it listens, or once it runs where it has no port."""
    alive: Callable[[], bool] | None = None
    """Whether it serves, even if what it needs is away; without one it does while it listens."""
    patience: float = 10
    """Seconds from asking it to stop until it is killed."""

    @property
    def heading(self) -> str:
        """Its title at the beginning of a sentence."""
        return self.title[0].upper() + self.title[1:]


@dataclass(frozen=True)
class Record:
    """What is remembered of a started component."""

    name: str
    pid: int
    create_time: float
    port: int | None
    log: str

    def process(self) -> psutil.Process | None:
        """The running process, or None where it has ended."""
        try:
            process = psutil.Process(self.pid)
            # Within a second: the clock that process times are counted from may have been set meanwhile.
            same = abs(process.create_time() - self.create_time) < 1
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None


def log_file(settings: Settings, name: str) -> Path:
    """The log of a component, put aside first when it has grown big; for its owner's eyes alone."""
    settings.logs.mkdir(parents=True, exist_ok=True)
    path = settings.logs / f"{name}.log"
    if path.exists() and path.stat().st_size > LOG_LIMIT:
        path.replace(path.with_suffix(".log.1"))
    path.touch(mode=0o600)
    return path


def running(settings: Settings, name: str) -> Record | None:
    """The record of a component that runs, or None."""
    try:
        record = Record(**json.loads(_record_file(settings, name).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return record if record.process() else None


def died(settings: Settings, name: str) -> bool:
    """Whether a component ended without having been stopped, and has not been started since."""
    return _record_file(settings, name).exists() and running(settings, name) is None


def stays(settings: Settings, component: Component, given_up: threading.Event | None = None) -> bool:
    """Whether a component runs and goes on to: one that serves no more is ending, and its end is waited for.

    Raises `BillingError` where one neither serves nor ends.
    """
    until = time.monotonic() + END_TIMEOUT
    while record := running(settings, component.name):
        if component.port is None or (_serves(component) and _serves(component, after=STILL)):
            return True
        if time.monotonic() > until:
            raise BillingError(
                f"{component.heading} (process {record.pid}) runs and does not answer on port {component.port}.",
                f"{_read_log(record)} `./billing down` stops it.",
            )
        if given_up and given_up.is_set():
            raise no_longer_waited_for(component)
        time.sleep(0.1)
    return False


def _serves(component: Component, after: float = 0) -> bool:
    time.sleep(after)
    return component.alive() if component.alive else component.port is not None and listens(component.port)


def start(settings: Settings, component: Component) -> Record:
    """Start a component detached from this process and its terminal, and record it."""
    log = log_file(settings, component.name)
    with log.open("ab") as output:
        process = _begin(settings, component, output, start_new_session=True)
    return remember(settings, component.name, process.pid, component.port, log)


def run_to_end(settings: Settings, component: Component, given_up: threading.Event | None = None) -> None:
    """Run a program that ends by itself; raise `BillingError` with its log's last lines where it fails.

    Once `given_up` is set, it is ended and `BillingError` raised.
    """
    log = log_file(settings, component.name)
    with log.open("ab") as output:
        process = _begin(settings, component, output)
    while (status := _status(process, within=0.2)) is None:
        if given_up and given_up.is_set():
            process.terminate()
            if _status(process, within=5) is None:
                process.kill()
                process.wait()
            raise no_longer_waited_for(component)
    if status != 0:
        raise BillingError(f"{component.heading} failed.{tail(log)}", f"Its whole log is {log}.")


def no_longer_waited_for(component: Component) -> BillingError:
    """What ends the wait for a component when the start that it belongs to is given up."""
    return BillingError(f"{component.heading} is no longer waited for.", "Call again to start it.")


def _status(process: subprocess.Popen[bytes], within: float) -> int | None:
    try:
        return process.wait(timeout=within)
    except subprocess.TimeoutExpired:
        return None


def _begin(
    settings: Settings, component: Component, output: IO[bytes], start_new_session: bool = False
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        list(component.command),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=component.environment or None,
        cwd=settings.home,
        start_new_session=start_new_session,
        umask=0o077,  # what it writes is for nobody else
    )


def remember(settings: Settings, name: str, pid: int, port: int | None, log: Path) -> Record:
    """Record a process that was started otherwise."""
    try:
        create_time = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:  # it ended at once; whoever waits for it will say so
        create_time = 0.0
    record = Record(name, pid, create_time, port, str(log))
    settings.run.mkdir(parents=True, exist_ok=True)
    path = _record_file(settings, name)
    path.with_suffix(".new").write_text(json.dumps(asdict(record)), encoding="utf-8")
    path.with_suffix(".new").replace(path)
    return record


def wait_ready(component: Component, record: Record, seconds: float, given_up: threading.Event | None = None) -> None:
    """Wait until a component is ready; raise `BillingError` with its log's last lines where it ends or is too slow."""
    until = time.monotonic() + seconds
    while True:
        if not record.process():
            raise BillingError(
                f"{component.heading} stopped right after its start.{tail(record.log)}", _read_log(record)
            )
        if _is_ready(component):
            return
        if given_up and given_up.is_set():
            raise no_longer_waited_for(component)
        if time.monotonic() > until:
            raise BillingError(
                f"{component.heading} did not become ready within {seconds:.0f} seconds.{tail(record.log)}",
                _read_log(record),
            )
        time.sleep(0.1)


def stop(settings: Settings, name: str, patience: float) -> bool:
    """Stop a component and what it started: ask it, wait, then kill what is left. Return whether it was running."""
    record = running(settings, name)
    process = record.process() if record else None
    if process:
        try:
            family = [process, *process.children(recursive=True)]
            process.terminate()
            psutil.wait_procs([process], timeout=patience)
        except psutil.NoSuchProcess:
            family = []
        left = [member for member in family if member.is_running()]
        for member in left:
            try:
                member.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(left, timeout=5)
    _record_file(settings, name).unlink(missing_ok=True)
    return process is not None


def tail(log: str | Path, lines: int = 15) -> str:
    """The last lines of a log, set off from the sentence before them; nothing where there is none."""
    try:
        with Path(log).open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 20_000))
            said = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return "".join(f"\n    {line}" for line in said[-lines:])


def listens(port: int) -> bool:
    """Whether something accepts connections on a port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _is_ready(component: Component) -> bool:
    if component.ready:
        return component.ready()
    return component.port is None or listens(component.port)


def _record_file(settings: Settings, name: str) -> Path:
    return settings.run / f"{name}.json"


def _read_log(record: Record) -> str:
    return f"Its whole log is {record.log}."

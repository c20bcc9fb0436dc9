"""A lock between processes: a file that one of them holds, until it lets go or dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from metering.errors import BillingError


@contextlib.contextmanager
def held(path: Path, busy: Callable[[str], None], given_up: threading.Event | None = None) -> Iterator[None]:
    """Hold the lock of a file; its directory must be there.

    Where somebody else holds it, `busy` is told who, once, as in "process 4711". It may raise, which refuses; else the
    lock is waited for, until it is free or `given_up` is set, which raises `BillingError`.
    """
    with path.open("a+") as file:
        if not _taken(file):
            busy(_holder(file))
            while not _taken(file):
                if given_up and given_up.is_set():
                    raise BillingError("What is at work was no longer waited for.", "Call again once it has ended.")
                time.sleep(0.2)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _taken(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False


def _holder(file: IO[str]) -> str:
    file.seek(0)
    return f"process {file.read() or 'unknown'}"

"""What ends or doubles a process: its exit, SIGTERM, a fork. Clients learn of it here."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import threading
import time
import weakref
from types import FrameType
from typing import Protocol

log = logging.getLogger("usage_client")

EXIT_SECONDS = 5.0
"""How long all clients together may keep a process that ends."""


class Living(Protocol):
    """A client, as far as its life is concerned."""

    def end(self, timeout: float) -> None:
        """Deliver or put by what is pending, within `timeout` seconds."""

    def be_forked(self) -> None:
        """Start anew in a forked process: threads, connections and what is pending are the parent's."""


_living: weakref.WeakSet[Living] = weakref.WeakSet()
_at_work: set[Living] = set()
"""Those that have been given events: even if nobody holds them any more, what is pending has to arrive."""
_guarded_process = 0


def register(client: Living) -> None:
    """Have a client told of the end and of forks; nobody is kept alive by it."""
    _living.add(client)


def begin(client: Living) -> None:
    """Hold a client until it has ended: it has work to do."""
    _at_work.add(client)


def unregister(client: Living) -> None:
    """Tell a client no more."""
    _living.discard(client)
    _at_work.discard(client)


def guard_worker() -> None:
    """Have `end_all` run at the end of a process that multiprocessing started: such a process skips atexit."""
    global _guarded_process
    if "multiprocessing" not in sys.modules or _guarded_process == os.getpid():
        return
    import multiprocessing
    from multiprocessing.util import Finalize

    if multiprocessing.parent_process() is not None:
        _guarded_process = os.getpid()
        Finalize(None, end_all, exitpriority=0)


def end_all(timeout: float = EXIT_SECONDS) -> None:
    """Have every client deliver or put by what is pending, within `timeout` seconds in all."""
    until = time.monotonic() + timeout
    for client in list(_living):
        try:
            client.end(max(0.0, until - time.monotonic()))
        except Exception:
            log.exception("usage that was pending could not be put by")


def flush_on_sigterm(timeout: float = EXIT_SECONDS) -> bool:
    """Flush all clients before SIGTERM ends this process, for programs that don't handle that signal themselves.

    The process still ends by SIGTERM, as it would have, within `timeout` seconds. Call it in the main thread, before a
    server such as uvicorn installs its own handler. Returns False, and changes nothing, where there is a handler: that
    one ends the program in an orderly way, or should call `close`.
    """
    if threading.current_thread() is not threading.main_thread():
        return False
    if signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        return False

    begun = False

    def handle(number: int, _: FrameType | None) -> None:
        nonlocal begun
        if begun:  # we are done, or somebody lost patience
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        begun = True
        # The main thread may be anywhere, and hold any lock: another one does the work.
        threading.Thread(target=finish, args=(number,), name="usage-client-sigterm", daemon=True).start()

    def finish(number: int) -> None:
        end_all(timeout)
        os.kill(os.getpid(), number)
        time.sleep(1)  # the main thread does not come to handle it: it is deep in something that is no Python
        os._exit(128 + number)

    signal.signal(signal.SIGTERM, handle)
    return True


def _forked() -> None:
    for client in list(_living):
        client.be_forked()


atexit.register(end_all)
os.register_at_fork(after_in_child=_forked)

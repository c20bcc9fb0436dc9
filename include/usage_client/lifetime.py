"""What ends or doubles a process: its exit, SIGTERM, a fork. Clients learn of it here."""

from __future__ import annotations

import atexit
import itertools
import logging
import os
import signal
import socket
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

    _SigtermEnd(timeout).begin()
    return True


class _SigtermEnd:
    """Flushes at SIGTERM, then lets it end the process; a second one ends it at once.

    The main thread runs a signal's handler only when it comes to run Python: a signal that came just before a long
    system call, or amid an extension's work, would wait for the end of that. So a thread hears of it, too.
    """

    SAME_SIGNAL = 0.5
    """Seconds within which the thread and the handler hear of one and the same signal."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._heard = itertools.count()
        self._since: float | None = None
        self._over = False

    def begin(self) -> None:
        """Handle the signal from now on."""
        signal.signal(signal.SIGTERM, self._handle)
        ear, mouth = socket.socketpair()
        mouth.setblocking(False)
        taken = signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
        if taken != -1:
            signal.set_wakeup_fd(taken)  # somebody else hears of signals this way: the handler has to do
            return
        os.register_at_fork(after_in_child=lambda: self._leave(mouth))
        threading.Thread(target=self._listen, args=(ear,), name="usage-client-signals", daemon=True).start()

    def _listen(self, ear: socket.socket) -> None:
        while numbers := ear.recv(64):
            if signal.SIGTERM in numbers and signal.getsignal(signal.SIGTERM) == self._handle:
                self._hear(signal.SIGTERM)

    def _leave(self, mouth: socket.socket) -> None:
        """In a forked process: what it hears is none of the parent's business."""
        if (taken := signal.set_wakeup_fd(-1)) not in (-1, mouth.fileno()):
            signal.set_wakeup_fd(taken)
        mouth.close()

    def _handle(self, number: int, _: FrameType | None) -> None:
        lost_patience = self._since is not None and time.monotonic() - self._since > self.SAME_SIGNAL
        if self._over or lost_patience:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        else:
            self._hear(number)

    def _hear(self, number: int) -> None:
        if next(self._heard) == 0:
            self._since = time.monotonic()
            # The main thread may be anywhere, and hold any lock: another one does the work.
            threading.Thread(target=self._finish, args=(number,), name="usage-client-sigterm", daemon=True).start()

    def _finish(self, number: int) -> None:
        end_all(self._timeout)
        self._over = True
        os.kill(os.getpid(), number)
        time.sleep(1)  # the main thread does not come to handle it: it is deep in something that is no Python
        os._exit(128 + number)


def _forked() -> None:
    for client in list(_living):
        client.be_forked()


atexit.register(end_all)
os.register_at_fork(after_in_child=_forked)

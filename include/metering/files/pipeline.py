"""Two processes for one file: while one lands a piece, the other makes events of the next.

Pieces land one after the other, in the order of the file, so that of two rows with one key the first counts. What goes
between the processes are undecoded pieces and counts; each process has a connection of its own.
"""

from __future__ import annotations

import gc
import multiprocessing
import signal
import threading
from collections import deque
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psycopg

from metering.errors import BillingError
from metering.files.lander import Lander
from metering.files.pieces import Piece
from metering.files.reader import Decoder
from metering.files.tally import Tally
from metering.ingestion.landing import Landing

PROCESSES = 2
WORTH_IT = 8 * 1024 * 1024
"""Bytes. A smaller file has landed before the processes have started."""
_GO = b"go"


class Pipeline:
    """The processes. Use it as a context manager."""

    def __init__(self, url: str, path: Path, decoder: Decoder) -> None:
        """To land what `decoder` makes of the pieces of `path` in the database at `url`."""
        # Starting anew takes a second, most of it imports. Going on from here does not, but where another thread runs,
        # it would leave that thread's locks closed for ever.
        context: Any = multiprocessing.get_context("fork" if threading.active_count() == 1 else "spawn")
        self._pipes: list[Connection] = []
        self._processes: list[Any] = []
        for _ in range(PROCESSES):
            ours, theirs = context.Pipe()
            # What it may inherit of this process it does not touch, but for the pipes: their ends are what tells the
            # processes that this one is gone.
            inherited = [*self._pipes, ours] if context.get_start_method() == "fork" else []
            arguments = (theirs, inherited, url, path, decoder)
            process = context.Process(target=_work, args=arguments, daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def __enter__(self) -> Pipeline:
        """Use it."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes; what one of them has begun to land, it lands."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join()

    def land(self, pieces: Iterator[Piece]) -> Iterator[tuple[Piece, Tally]]:
        """Land pieces; each comes back once it is committed, with what became of its events.

        Raises what went wrong in a process, and `psycopg.OperationalError` where one has died.
        """
        idle = deque(self._pipes)
        busy: deque[tuple[Connection, Piece]] = deque()
        damage: BillingError | None = None
        while True:
            try:
                piece = next(pieces, None)
            except BillingError as error:  # what came before the damage lands first
                piece, damage = None, error
            if piece is None:
                break
            if not idle:
                yield self._finish(idle, busy)
            pipe = idle.popleft()
            _send(pipe, piece)
            busy.append((pipe, piece))
            if len(busy) == 1:
                _send(pipe, _GO)
        while busy:
            yield self._finish(idle, busy)
        if damage is not None:
            raise damage

    def _finish(self, idle: deque[Connection], busy: deque[tuple[Connection, Piece]]) -> tuple[Piece, Tally]:
        """Wait for the oldest piece, and let the next one land at once."""
        pipe, piece = busy.popleft()
        try:
            found = pipe.recv()
        except EOFError:
            raise psycopg.OperationalError("a process of the import has died") from None
        if isinstance(found, Exception):
            raise found
        if busy:
            _send(busy[0][0], _GO)
        idle.append(pipe)
        return piece, found


def _send(pipe: Connection, message: object) -> None:
    try:
        pipe.send(message)
    except OSError as error:
        raise psycopg.OperationalError("a process of the import has died") from error


def _work(pipe: Connection, inherited: list[Connection], url: str, path: Path, decoder: Decoder) -> None:
    """One process, until the other end of its pipe is closed."""
    # Ctrl-C goes to all processes of a terminal; the first one decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for other in inherited:
        other.close()
    # Events hold no cycles; looking for some after every few hundred would take a third of the time.
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)
    try:
        landing = Landing.connect(url, application="billing-ingest")
        lander = Lander(landing, path, decoder)
        while True:
            prepared = lander.prepare(pipe.recv())
            pipe.recv()
            pipe.send(lander.land(prepared))
    except (EOFError, BrokenPipeError):
        return
    except Exception as error:
        # As it would be raised without a process between; an error of PostgreSQL holds what can't be sent.
        kind = psycopg.OperationalError if isinstance(error, psycopg.OperationalError) else type(error)
        pipe.send(error if not isinstance(error, psycopg.Error) else kind(str(error)))

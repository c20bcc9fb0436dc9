"""Two processes for one file, each of which makes events of a piece and lands it, beside the other.

Events are written side by side. Keys are claimed one piece after the other, in the order of the file (`Order`), so that
of two rows with one key the first counts. What goes between the processes are undecoded pieces and counts; each process
has a connection of its own.
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
from typing import Any, NamedTuple

import psycopg

from metering.errors import BillingError
from metering.files.lander import Lander
from metering.files.order import Order, land
from metering.files.pieces import Piece
from metering.files.reader import Decoder
from metering.files.tally import Tally
from metering.ingestion.landing import Landing

PROCESSES = 2
WORTH_IT = 8 * 1024 * 1024
"""Bytes. A smaller file has landed before the processes have started."""


class Pipeline:
    """The processes. Use it as a context manager."""

    def __init__(self, url: str, path: Path, decoder: Decoder, *, plain: bool = False) -> None:
        """To land what `decoder` makes of the pieces of `path` in the database at `url`.

        `plain`: positions are those of bytes in the file, from which the processes read their pieces themselves.
        """
        self._plain = plain
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
        order = Order()
        source = _Pieces(pieces)
        while True:
            while idle and source.next is not None:
                order.begin(idle.popleft(), source.next, self._message(source.next))
                source.advance()
            if not order.under_way:
                break
            landed = order.wait()
            idle.append(landed.pipe)
            if source.next is not None:  # at once: what is to be done about the last piece need not be waited for
                order.begin(idle.popleft(), source.next, self._message(source.next))
                source.next = None
            yield landed.piece, landed.tally
            if source.next is None:
                source.advance()
        if source.damage is not None:
            raise source.damage

    def _message(self, piece: Piece) -> Piece | _Reference:
        if not self._plain or piece.too_long:
            return piece
        return _Reference(piece._replace(content=b""), len(piece.content))


class _Reference(NamedTuple):
    """A piece, and how many bytes its content is, which end at its position."""

    piece: Piece
    size: int

    def read(self, path: Path) -> Piece:
        """The piece with its content; raises `BillingError` where the file no longer holds it."""
        with path.open("rb") as file:
            file.seek(self.piece.position - self.size)
            content = file.read(self.size)
        if len(content) < self.size:
            raise BillingError(f"The file {path} was cut off while it was read.", "Get it again and import it again.")
        return self.piece._replace(content=content)


class _Pieces:
    """The next piece, cut while others land; damage comes after all that was before it."""

    def __init__(self, pieces: Iterator[Piece]) -> None:
        self._pieces = pieces
        self.next: Piece | None = None
        self.damage: BillingError | None = None
        self.advance()

    def advance(self) -> None:
        self.next = None
        if self.damage is None:
            try:
                self.next = next(self._pieces, None)
            except BillingError as error:
                self.damage = error


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
        lander = Lander(Landing.connect(url, application="billing-ingest"), path, decoder)
        while True:
            given: Piece | _Reference = pipe.recv()
            prepared = lander.prepare(given.read(path) if isinstance(given, _Reference) else given)
            pipe.send(land(pipe, lander, prepared))
    except (EOFError, BrokenPipeError):
        return
    except Exception as error:
        # As it would be raised without a process between; an error of PostgreSQL holds what can't be sent.
        kind = psycopg.OperationalError if isinstance(error, psycopg.OperationalError) else type(error)
        pipe.send(error if not isinstance(error, psycopg.Error) else kind(str(error)))

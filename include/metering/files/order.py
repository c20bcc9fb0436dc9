"""The order in which pieces land that several processes write at once.

A piece's transaction opens after that of the piece before it has opened, and claims its keys after that one is
committed. So whatever a transaction waits for, it never waits for one that opened later and waits for it. A piece of
which some keys may have counted, or with which anything is the matter, lands alone: those that have opened after it
back out, and open again when it has landed.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from multiprocessing.connection import Connection, wait
from typing import Literal

import psycopg

from metering.files.lander import Lander
from metering.files.pieces import Piece
from metering.files.tally import Tally
from metering.ingestion.events import Sorted

Command = Literal["open", "claim", "back out", "land alone"]
Answer = Literal["open", "out", "alone"] | Tally | Exception


class Hand:
    """A process that has a piece, and how far it is."""

    def __init__(self, pipe: Connection, piece: Piece) -> None:
        """Of the process at the other end of `pipe`."""
        self.pipe, self.piece = pipe, piece
        self.told: Command | None = None
        self.is_open = False
        self.wants_alone = False
        self.found: Tally | None = None

    def tell(self, command: Command) -> None:
        """Give it a command, once; it may be given again after it has backed out."""
        if self.told != command:
            self.told = command
            send(self.pipe, command)

    def hear(self) -> None:
        """Take its answer; raises what went wrong there."""
        try:
            answer: Answer = self.pipe.recv()
        except (EOFError, OSError):
            raise psycopg.OperationalError("a process of the import has died") from None
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Tally):
            self.found = answer
        elif answer == "open":
            self.is_open = True
        elif answer == "alone":
            self.wants_alone, self.is_open = True, False
        else:
            self.told, self.is_open = None, False

    @property
    def tally(self) -> Tally:
        """What became of its events."""
        assert self.found is not None
        return self.found


class Order:
    """Directs the processes."""

    def __init__(self) -> None:
        """Begin without any."""
        self.under_way: deque[Hand] = deque()
        """Those that have a piece, in the order of the file."""

    def begin(self, pipe: Connection, piece: Piece, message: object) -> None:
        """Give a process that is idle the next piece, as `message` says it."""
        send(pipe, message)
        self.under_way.append(Hand(pipe, piece))
        self._direct()

    def wait(self) -> Hand:
        """Direct the processes until the first piece has landed, and return whose it was."""
        first = self.under_way[0]
        while first.found is None:
            hands = {hand.pipe: hand for hand in self.under_way}
            for pipe in wait([*hands]):
                hands[pipe].hear()  # type: ignore[index] # there are none but these
            self._direct()
        self.under_way.popleft()
        self._direct()
        return first

    def _direct(self) -> None:
        if not self.under_way:
            return
        first, *others = self.under_way
        if first.found is not None:
            return
        if first.wants_alone:
            beside = [hand for hand in others if hand.told]
            for hand in beside:
                hand.tell("back out")
            if not beside:
                first.tell("land alone")
            return
        if first.told is None:
            first.tell("open")
        if first.is_open:
            first.tell("claim")
        for before, hand in pairwise(self.under_way):
            if before.is_open and not before.wants_alone and hand.told is None and not hand.wants_alone:
                hand.tell("open")


def land(pipe: Connection, lander: Lander, prepared: Sorted) -> Tally:
    """Land what was prepared, in a process that is directed through `pipe`."""
    alone = False
    while True:
        command: Command = pipe.recv()
        if command == "land alone":
            return lander.land(prepared)
        if command == "back out":
            pipe.send("out")
            continue
        if alone or command != "open":
            continue
        steps = lander.steps(prepared)
        if steps is not None:
            try:
                next(steps)
                pipe.send("open")
                next(steps)
                if pipe.recv() == "claim":
                    tally = next(steps)
                    assert tally is not None
                    return tally
                steps.close()
                pipe.send("out")
                continue
            except psycopg.Error:
                if lander.broken:
                    raise
        alone = True
        pipe.send("alone")


def send(pipe: Connection, message: object) -> None:
    """Send a message; raises `psycopg.OperationalError` where nobody is there any more."""
    try:
        pipe.send(message)
    except OSError as error:
        raise psycopg.OperationalError("a process of the import has died") from error

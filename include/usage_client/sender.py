"""The threads behind a client: they send what waits, keep it on disk while the service is away, and report losses."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Sequence

from usage_client.buffer import MAX_BATCH_BYTES, Batch, Buffer
from usage_client.delivery import Answered, Delivery, Impossible, Later, Pause, TooLarge
from usage_client.retry import RetryPolicy
from usage_client.spool import Claim, Spool, SpoolFull
from usage_client.suspects import STRIKES, Apart, Suspects, take_apart
from usage_client.tally import Books, Seldom

log = logging.getLogger("usage_client")

LOOK_SECONDS = 5.0
"""How often to look for what other processes have left on disk."""

BRIEF_SECONDS = 1.0
"""How long a pause may still take for a closing client to wait for its end."""


class Sender:
    """Some threads that empty the buffer, and one that empties the spool and reports.

    Without a spool, a batch is tried again until its time is up, and those behind it wait in memory. With one, a batch
    that can't be delivered goes to disk at once, all others go there too until the service answers again, and memory
    stays free.
    """

    def __init__(
        self,
        buffer: Buffer,
        books: Books,
        delivery: Delivery,
        spool: Spool | None,
        *,
        policy: RetryPolicy,
        connections: int,
        batch_size: int,
    ) -> None:
        self._buffer = buffer
        self._books = books
        self._delivery = delivery
        self._spool = spool
        self._policy = policy
        self._connections = connections
        self._pause = Pause(policy)
        self._threads: list[threading.Thread] = []
        self._starting = threading.RLock()
        self._in_flight: set[Batch] = set()
        self._booking = threading.Lock()
        self._wake = threading.Event()
        self._dry = threading.Event()
        self._stirred = 0
        self._hurry = threading.Event()
        self._closing = threading.Event()
        self._stopping = threading.Event()
        self._at_most = batch_size
        self._suspects = Suspects()
        self._failures, self._spool_troubles = Seldom(), Seldom()

    @property
    def started(self) -> bool:
        """Whether its threads run, or have run."""
        return bool(self._threads)

    def start(self) -> None:
        """Start the threads, once."""
        with self._starting:
            if self._threads:
                return
            work = [(f"usage-client-{number}", self._send_all) for number in range(1, self._connections + 1)]
            for name, run in [*work, ("usage-client-keeper", self._keep)]:
                thread = threading.Thread(target=run, name=name, daemon=True)
                thread.start()
                self._threads.append(thread)

    def wake(self) -> None:
        """Have the keeper look whether there is something to do."""
        self._wake.set()

    def flush(self, timeout: float | None, *, patient: bool = True) -> bool:
        """Send what is in memory and on disk; whether nothing is left of either.

        Who is not `patient` waits for what is on disk only as long as the service answers.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        failures = self._pause.total
        self._pause.hurry()
        self._hurry.set()
        self._stir()
        if not self._buffer.flush(timeout):
            return False
        if self._spool is None or not self._threads:
            return True
        self._stir()
        while not self._dry.wait(0.02):
            in_vain = self._pause.total > failures or self._pause.left > BRIEF_SECONDS
            if self._stopping.is_set() or (in_vain and not patient):
                return False
            if deadline is not None and time.monotonic() > deadline:
                return False
        return True

    def close(self, timeout: float | None) -> bool:
        """Flush, stop, and keep what is left; whether nothing is."""
        self._buffer.close()
        self._closing.set()
        done = self.flush(timeout, patient=False)
        self._stopping.set()
        self._hurry.set()
        self._wake.set()
        for batch in self._buffer.drain():
            self._put_by(batch, "the client was closed before it could be sent")
        with self._booking:
            stuck = list(self._in_flight)
        for batch in stuck:
            if self._is_first(batch):
                self._put_by(batch, "the client was closed while it was on its way")
                self._buffer.settle(batch)
        until = time.monotonic() + 1
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        self._books.report(now=True)
        return done

    # From memory ----------------------------------------------------------------------------------------------------

    def _send_all(self) -> None:
        while (batch := self._buffer.take()) is not None:
            with self._booking:
                self._in_flight.add(batch)
            try:
                self._deliver(batch)
            except Exception as error:
                if self._is_first(batch):
                    self._fail(batch, f"unexpected: {error!r}")
            finally:
                with self._booking:
                    self._in_flight.discard(batch)
                self._buffer.settle(batch)

    def _deliver(self, batch: Batch) -> None:
        """Send a batch until it is answered, on disk, given up, or proved impossible."""
        began = time.monotonic()
        attempts = 0
        while True:
            if self._pause.away and self._spool is not None and self._shelve_first(batch):
                return
            if self._nap():
                break
            attempts += 1
            outcome = self._delivery.attempt(batch.lines)
            if isinstance(outcome, Later):
                self._books.count(retries=1)
                wait = self._pause.failed(outcome.retry_after)
                if self._spool is not None and self._shelve_first(batch):
                    log.info("usage goes to disk until the service is there again (%s)", outcome.reason)
                    return
                if outcome.by_fault and attempts == STRIKES and self._taken_apart(batch):
                    return
                if time.monotonic() - began + wait > self._policy.give_up_after:
                    outcome = Impossible(f"given up after {attempts} attempts; the last said {outcome.reason}")
                else:
                    log.info("usage not delivered (%s); trying again in %.1f s", outcome.reason, wait)
                    continue
            else:
                self._pause.answered()
            if isinstance(outcome, TooLarge):
                for half in _halves(batch.lines):
                    self._deliver(Batch(half, sum(map(len, half))))
                if self._is_first(batch) and batch.file is not None:
                    batch.file.remove()
            elif self._is_first(batch):
                if isinstance(outcome, Answered):
                    self._books.answered(batch.lines, outcome.reply)
                    if batch.file is not None:
                        batch.file.remove()
                else:
                    self._fail(batch, outcome.reason)
            return
        if self._is_first(batch):
            self._put_by(batch, "the client was closed while it tried again")

    def _taken_apart(self, batch: Batch) -> bool:
        """Find the events at which the service fails, if it answers for the others; whether it did."""
        apart = take_apart(batch.lines, self._delivery.attempt)
        if apart is None:
            return False
        self._pause.answered()
        if self._is_first(batch):
            for lines, reply in apart.answered:
                self._books.answered(lines, reply)
            for line, reason in apart.hopeless:
                self._fail(Batch([line], len(line)), reason)
            if apart.left:
                self._deliver(Batch(apart.left, sum(map(len, apart.left))))
        return True

    def _nap(self) -> bool:
        """Wait until the pause is over, or shortened by somebody who waits; whether there is to be no other attempt."""
        while (left := self._pause.left) > 0 and not self._stopping.is_set():
            if self._pause.asked or self._closing.is_set():
                self._stopping.wait(left)
            else:
                self._hurry.wait(left)
                self._hurry.clear()
        return self._stopping.is_set()

    def _shelve_first(self, batch: Batch) -> bool:
        """Put a batch on disk, unless somebody else has just done so; whether it needs no more care."""
        if batch.done:
            return True
        if not self._shelve(batch):
            return False
        self._is_first(batch)
        return True

    def _shelve(self, batch: Batch) -> bool:
        """Leave a batch to the spool; False where that is full or its disk fails, and the batch stays in memory."""
        if self._spool is None:
            return False
        try:
            if batch.file is not None and batch.file.whole:
                self._spool.seal(batch.file, len(batch))
                batch.file.release()
            else:
                self._spool.write(batch.lines)
                if batch.file is not None:
                    batch.file.remove()
        except (SpoolFull, OSError) as error:
            self._spool_troubles.warn("usage can't be kept on disk and waits in memory: %s", error)
            return False
        self._books.count(spooled=len(batch))
        self._stir()
        return True

    def _put_by(self, batch: Batch, reason: str) -> None:
        """Keep a batch that can't be sent any more: on disk, or else in memory."""
        if not self._shelve(batch):
            self._keep_failed(batch.lines, reason)

    def _fail(self, batch: Batch, reason: str) -> None:
        """Set a batch apart that the service would not have."""
        if self._spool is not None:
            try:
                self._spool.write(batch.lines, reason, kind="failed")
            except (SpoolFull, OSError) as error:
                self._spool_troubles.warn("usage can't be kept on disk and waits in memory: %s", error)
            else:
                self._books.park(len(batch))
                self._failures.warn("%d usage events were not delivered and are kept on disk: %s", len(batch), reason)
                if batch.file is not None:
                    batch.file.remove()
                return
        self._keep_failed(batch.lines, reason)

    def _keep_failed(self, lines: Sequence[bytes], reason: str) -> None:
        self._failures.warn("%d usage events could not be delivered and are kept: %s", len(lines), reason)
        self._books.keep(lines, reason)

    def _is_first(self, batch: Batch) -> bool:
        """Whether nobody has booked this batch yet: a client that closes does not wait for ever for its threads."""
        with self._booking:
            first, batch.done = not batch.done, True
            return first

    # From disk ------------------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        if self._spool is not None:
            with contextlib.suppress(OSError):
                self._spool.revive()  # what was refused may have been mended by whoever started us
        wait: float | None = 0.0
        while not self._stopping.is_set():
            self._wake.wait(wait)
            self._wake.clear()
            try:
                wait = self._tend()
            except Exception as error:
                wait = LOOK_SECONDS
                self._spool_troubles.warn("usage on disk can't be sent: %r", error)

    def _stir(self) -> None:
        """Have the keeper look for files; it does not find that there are none by a look it began before."""
        with self._booking:
            self._stirred += 1
            self._dry.clear()
        self._wake.set()

    def _tend(self) -> float | None:
        """Report what is due, send one request from disk; return in how many seconds to come back (None: if woken)."""
        due = self._books.report()
        if self._spool is None:
            return due
        self._spool.look()
        wait = self._pause.left
        if wait == 0:
            stirred = self._stirred
            claim = self._spool.claim(self._at_most, MAX_BATCH_BYTES)
            if claim is not None:
                self._send(claim, self._spool)
                return 0.0
            with self._booking:
                if stirred == self._stirred:
                    self._dry.set()
            wait = LOOK_SECONDS
        return wait if due is None else min(wait, due)

    def _send(self, claim: Claim, spool: Spool) -> None:
        """Send what was claimed, once. What is removed from disk has been answered for, or stands elsewhere on it."""
        try:
            outcome = self._delivery.attempt(claim.lines)
            if isinstance(outcome, Later):
                self._books.count(retries=1)
                wait = self._pause.failed(outcome.retry_after)
                log.info("usage on disk not delivered (%s); trying again in %.1f s", outcome.reason, wait)
                if outcome.by_fault:
                    self._suspect(claim, spool, outcome.reason)
                return
            self._pause.answered()
            self._suspects.answered(claim.names)
            count = len(claim.lines)
            if isinstance(outcome, TooLarge):
                self._at_most = max(1, min(self._at_most, count) // 2)
                if len(claim.files) > 1:
                    return  # fewer files at a time
                for half in _halves(claim.lines):
                    spool.write(half, force=True)
            elif isinstance(outcome, Answered):
                self._books.count(recovered=count)
                self._books.answered(claim.lines, outcome.reply)
            else:
                spool.write(claim.lines, outcome.reason, kind="failed", force=True)
                self._books.count(recovered=count)
                self._books.park(count)
                self._failures.warn("%d usage events were not delivered and stay on disk: %s", count, outcome.reason)
            self._done_with(claim, spool)
        finally:
            claim.release()

    def _suspect(self, claim: Claim, spool: Spool, reason: str) -> None:
        """The service has failed at a claim: let others go first, and find out what it fails at, if it is not all."""
        apart = None
        if self._suspects.strike(claim.names):
            apart = take_apart(claim.lines, self._delivery.attempt)
            if apart is None and len(claim.lines) == 1 and self._suspects.answers_others(claim.names):
                apart = Apart(hopeless=[(claim.lines[0], reason)])
        if apart is None:
            for file in claim.files:
                before = file.path.name
                spool.postpone(file)
                self._suspects.rename(before, file.path.name)
            return
        self._pause.answered()
        self._suspects.answered(claim.names)
        for lines, reply in apart.answered:
            self._books.count(recovered=len(lines))
            self._books.answered(lines, reply)
        for line, said in apart.hopeless:
            spool.write([line], said, kind="failed", force=True)
            self._books.count(recovered=1)
            self._books.park(1)
            self._failures.warn("a usage event at which the service fails is kept on disk: %s", said)
        if apart.left:
            spool.write(apart.left, force=True)
        self._done_with(claim, spool)

    def _done_with(self, claim: Claim, spool: Spool) -> None:
        """Remove what has been answered for or stands elsewhere."""
        if claim.damaged:
            self._books.count(recovered=claim.damaged)
            self._books.lose(claim.damaged, f"the disk has damaged them (see *.damaged in {spool.folder})")
        claim.remove()


def _halves(lines: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
    middle = len(lines) // 2
    return list(lines[:middle]), list(lines[middle:])

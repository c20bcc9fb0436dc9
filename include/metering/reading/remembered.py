"""Answers that are remembered for seconds: many who ask the same at once cost one computation."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass

MAX_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, and since when (monotonic seconds) it is known to hold everything."""

    content: bytes
    known_since: float

    @property
    def age(self) -> float:
        """Seconds since its computation began: it says how things were then, or later."""
        return time.monotonic() - self.known_since


class Remembered:
    """Answers by question, the least recently asked forgotten first."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        """Remember answers of up to `max_bytes` together."""
        self._max_bytes = max_bytes
        self._bytes = 0
        self._answers: OrderedDict[Hashable, Answer] = OrderedDict()
        self._making: dict[Hashable, asyncio.Task[Answer]] = {}

    async def answer(self, question: Hashable, max_age: float, make: Callable[[], Awaitable[bytes]]) -> Answer:
        """Return an answer that is at most `max_age` seconds older than this call, from memory or made now.

        An answer that is being made for somebody else is waited for where it will be young enough. What goes wrong is
        raised to all who wait, and not remembered.
        """
        oldest = time.monotonic() - max_age
        known = self._answers.get(question)
        if known is not None and known.known_since >= oldest:
            self._answers.move_to_end(question)
            return known
        task = self._making.get(question)
        if task is not None:
            answer = await asyncio.shield(task)
            if answer.known_since >= oldest:
                return answer
            task = self._making.get(question)  # whoever waited beside us may have begun anew
        if task is None or task.done():
            task = asyncio.create_task(self._make(question, make))
            self._making[question] = task
        # The task goes on when one of those who wait for it goes away.
        return await asyncio.shield(task)

    async def _make(self, question: Hashable, make: Callable[[], Awaitable[bytes]]) -> Answer:
        began = time.monotonic()
        try:
            answer = Answer(await make(), began)
        finally:
            if self._making.get(question) is asyncio.current_task():
                del self._making[question]
        self._forget(question)
        self._answers[question] = answer
        self._bytes += len(answer.content)
        while self._bytes > self._max_bytes:
            self._forget(next(iter(self._answers)))
        return answer

    def _forget(self, question: Hashable) -> None:
        answer = self._answers.pop(question, None)
        if answer is not None:
            self._bytes -= len(answer.content)

"""Usage that the service fails at (500) while it is there: found out, so that it blocks no other usage for ever.

An outage and events that break the service look alike at first. What tells them apart is whether the service answers
for other events: then those that it fails at are looked for by halving, and set apart; else all wait, as in any outage.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from usage_client.delivery import Answered, Impossible, Later, Outcome

STRIKES = 3
"""Failures at the same events until they are suspected."""
IN_VAIN = 24
"""Requests without any answer after which it is not about these events."""
AT_MOST = 240
"""Requests of one search: what is left then waits for the next."""

Lines = Sequence[bytes]


@dataclass
class Apart:
    """What came of sending events in parts."""

    answered: list[tuple[Lines, Mapping[str, Any]]] = field(default_factory=list)
    """With what the service said of them."""
    hopeless: list[tuple[bytes, str]] = field(default_factory=list)
    """Events that it fails at, each alone, or would not have; and what it said."""
    left: list[bytes] = field(default_factory=list)
    """Not known yet."""


def take_apart(lines: Lines, attempt: Callable[[Lines], Outcome]) -> Apart | None:
    """Send events in ever smaller parts; None where the service answered for none of them, or went away."""
    found, waiting = Apart(), deque(_halves(lines))
    alone: list[tuple[bytes, str]] = []
    for request in range(AT_MOST):
        if not waiting:
            break
        if request == IN_VAIN and not found.answered:
            return None
        part = waiting.popleft()
        outcome = attempt(part)
        if isinstance(outcome, Answered):
            found.answered.append((part, outcome.reply))
        elif isinstance(outcome, Later) and not outcome.by_fault:
            waiting.append(part)
            break
        elif len(part) > 1 and not isinstance(outcome, Impossible):
            waiting += _halves(part)
        else:
            alone += [(line, outcome.reason) for line in part]
    if not found.answered:
        return None
    found.hopeless = alone
    found.left = [line for part in waiting for line in part]
    return found


def _halves(lines: Lines) -> Iterable[Lines]:
    middle = len(lines) // 2
    return [half for half in (lines[:middle], lines[middle:]) if half]


class Suspects:
    """Which files the service has failed at, how often, and whether it has answered for others since."""

    def __init__(self) -> None:
        """Suspect nothing."""
        self._answers = 0
        self._struck: dict[str, tuple[int, int]] = {}

    def answered(self, names: Iterable[str]) -> None:
        """The service has answered for these files."""
        self._answers += 1
        for name in names:
            self._struck.pop(name, None)

    def strike(self, names: Sequence[str]) -> bool:
        """It has failed at these together; whether that was so often that they are to be looked at."""
        for name in names:
            strikes, since = self._struck.get(name, (0, self._answers))
            self._struck[name] = (strikes + 1, since)
        # And again from time to time, in case it was an outage then.
        return max(self._struck[name][0] for name in names) % (2 * STRIKES) == STRIKES

    def answers_others(self, names: Sequence[str]) -> bool:
        """Whether it has answered for others since it first failed at these."""
        return all(self._struck[name][1] < self._answers for name in names)

    def rename(self, old: str, new: str) -> None:
        """A file has another name now."""
        if old in self._struck:
            self._struck[new] = self._struck.pop(old)

"""What became of a file's events."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from metering.ingestion.events import Reject
from metering.ingestion.facts import Facts

EXAMPLES = 10


@dataclass
class Tally:
    """Counts of events, by what became of them."""

    read: int = 0
    accepted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    """How many are in quarantine for which reason."""
    examples: list[tuple[int | None, str, str]] = field(default_factory=list)
    """The first of them: line, reason, message."""
    resumed_at: int | None = None
    """The line, or row, after which an interrupted import went on; what is counted here came after it."""
    finished_before: bool = False
    """The file had been imported as a whole, and was not read again; the counts are those of then."""

    @classmethod
    def of(cls, read: int, facts: Facts, kept: list[Reject]) -> Tally:
        """Count one transaction: its facts with their verdicts, and what it put into quarantine."""
        verdicts = facts.tally()
        first = sorted((reject.origin.line(reject.index) or 0, reject.reason, reject.message) for reject in kept)
        return cls(
            read,
            verdicts["accepted"],
            verdicts["duplicate"],
            len(kept),
            Counter(reject.reason for reject in kept),
            [*first[:EXAMPLES]],
        )

    def add(self, other: Tally) -> None:
        """Add what came after."""
        self.read += other.read
        self.accepted += other.accepted
        self.duplicate += other.duplicate
        self.quarantined += other.quarantined
        self.reasons += other.reasons
        self.examples += other.examples[: EXAMPLES - len(self.examples)]

"""What became of a case."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

from metering.conformance.cases import Case
from metering.conformance.trial import Difference


class Status(StrEnum):
    """Whether a case passed."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"


@dataclass
class Outcome:
    """What became of one case, and why."""

    case: Case
    status: Status
    reason: str = ""
    """Why it is not applicable, or what went wrong before anything could be compared."""
    differences: list[Difference] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)
    """The lines that it came to."""
    not_compared: list[str] = field(default_factory=list)
    """Figures of the case that the product has no place for."""

    def as_json(self) -> dict[str, Any]:
        """The outcome as a report has it; numbers are texts."""
        return {
            "id": self.case.id,
            "kind": self.case.kind,
            "source": self.case.said.get("source"),
            "title": self.case.said.get("title"),
            "model": self.case.model,
            "status": self.status.value,
            "reason": self.reason or None,
            "differences": [
                {"what": found.what, "expected": plain(found.expected), "got": plain(found.got)}
                for found in self.differences
            ],
            "lines": [{name: plain(value) for name, value in line.items()} for line in self.lines],
            "not_compared": self.not_compared,
        }


def plain(value: object) -> Any:
    """A value as JSON has it: decimals as texts without trailing zeros."""
    if isinstance(value, Decimal):
        text = format(value, "f")
        return (text.rstrip("0").rstrip(".") or "0") if "." in text else text
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value if isinstance(value, str | int | bool | None) else str(value)

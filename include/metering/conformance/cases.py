"""Case files: which there are, and what a case says, taken piece by piece so that nothing in it is passed over."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from metering.errors import BillingError

KINDS = {
    "pricing_cases.json": "pricing",
    "aggregation_cases.json": "aggregation",
    "correction_cases.json": "correction",
}


class NotApplicable(Exception):
    """A case asks for what the product says that it doesn't offer; the text is the reason, without a full stop."""


@dataclass(frozen=True)
class Case:
    """One case as its file has it."""

    kind: str
    """pricing, aggregation or correction: which file it is from."""
    said: dict[str, Any]

    @property
    def id(self) -> str:
        """What the file calls it. Nothing depends on it."""
        return str(self.said.get("id", "?"))

    @property
    def model(self) -> str:
        """Its price model or aggregation."""
        return str(self.said.get("model") or self.said.get("aggregation") or "?")

    @property
    def source(self) -> str:
        """Where it is from, shortened to the project or site. Nothing depends on it."""
        source = str(self.said.get("source", "?"))
        if source.startswith(("http://", "https://")):
            return source.split("/")[2]
        return source.split(":")[0]


@dataclass
class Said:
    """An object of a case of which each field is taken once; what nobody took is what the product doesn't know."""

    fields: dict[str, Any]
    about: str = ""
    taken: set[str] = field(default_factory=set)

    def take(self, name: str) -> Any:
        """A field as it stands; None where it is absent."""
        self.taken.add(name)
        return self.fields.get(name)

    def has(self, *names: str) -> bool:
        """Whether any of these fields says something."""
        return any(self.fields.get(name) not in (None, [], {}) for name in names)

    def number(self, name: str) -> Decimal | None:
        """A decimal; None where it is absent or null."""
        value = self.take(name)
        return None if value is None else number(value)

    def flag(self, name: str) -> bool | None:
        """A yes or no; None where it is absent."""
        value = self.take(name)
        if isinstance(value, str):
            return {"true": True, "false": False}[value.lower()]
        return None if value is None else bool(value)

    def refuse_rest(self) -> None:
        """Raise `NotApplicable` where a field says something and nobody took it."""
        rest = sorted(
            name for name in self.fields if name not in self.taken and self.fields[name] not in (None, [], {})
        )
        if rest:
            raise NotApplicable(f"the product knows no {' or '.join(rest)}{self.about}")


def number(value: object) -> Decimal:
    """A decimal of a case; raises `NotApplicable` where it is none."""
    if isinstance(value, bool | float):
        value = str(value)
    try:
        return Decimal(value)  # type: ignore[arg-type]  # what else it is, Decimal refuses
    except (InvalidOperation, TypeError, ValueError):
        raise NotApplicable(f"{value!r} is no number") from None


def load(folder: Path) -> list[Case]:
    """All cases of a folder, in the order of its files, or of one such file.

    Raises `BillingError` where there is none or a file can't be read.

    The files are those named `pricing_cases.json`, `aggregation_cases.json` and `correction_cases.json`, with or
    without more before these names, each a list of cases.
    """
    found: list[Case] = []
    if not folder.exists():
        raise BillingError(f"There is no {folder}.", "Give a folder with files such as pricing_cases.json.")
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else [folder]:
        kind = next((kind for name, kind in KINDS.items() if path.name.endswith(name)), None)
        if kind is None:
            continue
        try:
            content = json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
        except (OSError, UnicodeDecodeError, ValueError) as error:
            raise BillingError(f"{path} can't be read: {error}.", "Mend the file; nothing was run.") from error
        cases = content.get("cases") if isinstance(content, dict) else content
        if not isinstance(cases, list) or not all(isinstance(case, dict) for case in cases):
            raise BillingError(f"{path} holds no list of cases.", "Each file is a list of objects; nothing was run.")
        found += [Case(kind, case) for case in cases]
    if not found:
        raise BillingError(f"There are no cases in {folder}.", f"Its files are called {', '.join(KINDS)}.")
    return found

"""What `./billing bench faults` runs: boundaries, seeds, and the control that shows that a trial can fail."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from metering.bench.emulator import Emulator
from metering.bench.house import House
from metering.bench.stripe_faults import Outcome, Rig, kill_everywhere, run_seeds


@dataclass(frozen=True)
class Part:
    """Trials of one kind."""

    name: str
    outcomes: list[Outcome]

    def total(self, name: str) -> int:
        """Of something that outcomes count."""
        return sum(outcome.tally[name] for outcome in self.outcomes)


@dataclass(frozen=True)
class Report:
    """What was tried, and whether it proves anything."""

    first_seed: int
    parts: list[Part]
    control: Part

    @property
    def wrong(self) -> list[str]:
        """The trials that went wrong, by part and seed or boundary."""
        return [f"{part.name} {each.seed}" for part in self.parts for each in part.outcomes if not each.is_right]

    @property
    def is_proved(self) -> bool:
        """Whether all is right, and the control is not."""
        return not self.wrong and (not self.control.outcomes or any(each.mismatched for each in self.control.outcomes))

    @property
    def sentence(self) -> str:
        """The verdict."""
        failed = sum(1 for each in self.control.outcomes if each.mismatched)
        tried = len(self.control.outcomes)
        control = f"Without identifiers {failed} of {tried} seeds went wrong." if tried else "There was no control."
        if self.wrong:
            return f"{len(self.wrong)} trials went wrong: {', '.join(self.wrong[:10])}. {control}"
        return f"Every window at Stripe equals its target, and nothing waits. {control}"

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        parts = [{"name": part.name, "outcomes": [asdict(each) for each in part.outcomes]} for part in self.parts]
        control = [asdict(each) for each in self.control.outcomes]
        return {"first_seed": self.first_seed, "is_proved": self.is_proved, "parts": parts, "control": control}


def prove(
    seeds: int, first: int | None, control: int, *, boundaries: bool, version: str, told: Callable[[str], None]
) -> Report:
    """Try so many seeds from `first` on (or from one that is drawn), and `control` of them without identifiers."""
    first = secrets.randbelow(1_000_000) if first is None else first
    told(f"Seeds {first} to {first + seeds - 1}, meter events of {version}.")
    parts: list[Part] = []

    def hear(outcome: Outcome) -> None:
        verdict = "right" if outcome.is_right else f"WRONG: {outcome.mismatched} windows, {outcome.waiting} waiting"
        told(f"seed {outcome.seed}: {verdict} ({outcome.seconds:.1f} s, {dict(outcome.tally)})")

    with (
        House(service=False, durable=False) as house,
        Emulator(house.home, house.environment) as emulator,
    ):
        house.connection.close()
        rig = Rig(house.url, house.home, emulator, version=version)
        if boundaries:
            parts.append(Part("boundary", kill_everywhere(rig, told)))
        parts.append(Part("seed", run_seeds(rig, range(first, first + seeds), hear)))
        rig.identifiers = False
        told("The control: the same without identifiers.")
        without = Part("control", run_seeds(rig, range(first, first + min(control, seeds)), hear))
    return Report(first, parts, without)

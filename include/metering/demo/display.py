"""How the demo shows itself: stages with their seconds, the states of tasks, and tables at the end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from metering.cli.console import table
from metering.demo.outcome import Outcome
from metering.processes import system
from metering.settings import Settings


class Display:
    """Progress on standard error: a bar where somebody watches, lines everywhere."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self.stages: list[tuple[str, float]] = []

    def say(self, message: str) -> None:
        """Tell of something, in a line."""
        self._console.print(Text.assemble((time.strftime("%H:%M:%S "), "dim"), message))

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage, and say when it is done."""
        began = time.monotonic()
        running = self._progress.add_task(name, total=None)
        try:
            yield
        finally:
            self._progress.remove_task(running)
        seconds = time.monotonic() - began
        self.stages.append((name, seconds))
        self.say(f"{name} ({seconds:.1f} s)")

    def bar(self, name: str, total: int) -> TaskID:
        """Show a bar; move it with `advance`."""
        return self._progress.add_task(name, total=total)

    def advance(self, bar: TaskID, count: int) -> None:
        """Move a bar on."""
        self._progress.advance(bar, count)

    def tasks(self, dag: str, before: dict[str, str], states: dict[str, str]) -> None:
        """Tell which tasks of a DAG changed their state."""
        changed = [f"{task} {state}" for task, state in states.items() if before.get(task, "waiting") != state]
        if changed:
            self.say(f"  {dag}: {', '.join(changed)}")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


def report(outcome: Outcome, settings: Settings) -> None:
    """Print what came of it, and how to look and how to stop."""
    table(
        [
            (bill.team, bill.period, bill.currency, bill.expected, bill.actual, "equal" if bill.equal else "DIFFERENT")
            for bill in outcome.bills
        ],
        headers=("team", "period", "currency", "expected", "actual", ""),
        title="Bills",
    )
    print()
    table(
        outcome.reconciliation.items(),
        headers=("step", "difference"),
        title="Reconciliation, raw events to Stripe",
    )
    print()
    table(
        ((stage, f"{seconds:.1f}") for stage, seconds in outcome.stages),
        headers=("stage", "seconds"),
        title="Stages (some run side by side)",
    )
    print()
    events = outcome.events
    if events:
        print(
            f"{events.sent} events sent: {events.landed} landed, {events.duplicate} were duplicates, "
            f"{events.quarantined} are in quarantine."
        )
    submitted = outcome.submissions
    print(
        f"{submitted['sent']} submissions sent to Stripe now, {submitted['confirmed']} confirmed by Stripe's own "
        f"totals; since the first run {submitted['sent_in_all']} and {submitted['confirmed_in_all']}."
    )
    right = len(outcome.bills) - len(outcome.wrong_bills)
    print(f"{right} of {len(outcome.bills)} bills are exactly what was expected.")
    print("\nHow to look")
    table(system.directions(settings).items())
    table(
        (
            (
                "Bills",
                "./billing psql -c 'select team_key, period_label, currency, total, status from marts.fct_bills'",
            ),
            ("Their lines", "docs/finance.md has the questions, with their SQL"),
            ("Send usage", "./billing keys create acme, then docs/ingestion.md"),
            ("dbt", "./billing dbt ls"),
            ("Stop", "./billing down"),
        )
    )

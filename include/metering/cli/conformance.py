"""`./billing conformance`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from metering.conformance import Outcome

EXAMPLES = ["./billing conformance cases/", "./billing conformance cases/ --json outcome.json"]


def conformance(
    folder: Annotated[
        Path, typer.Argument(help="A folder with pricing_cases.json, aggregation_cases.json and the like.")
    ],
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write what became of each case to this file, too.", dir_okay=False)
    ] = None,
) -> None:
    """Run cases of exact usage and expected amounts through the real way, and say which come out as expected.

    Each case becomes a team of its own, in a database that is made for it and dropped afterwards: its events land, are
    metered and rated by the models that make real bills, and what the marts say is compared to the last digit. Nothing
    of the running system is touched. Exits with another status than 0 when a case failed.
    """
    import json

    from metering import conformance as cases
    from metering import settings
    from metering.cli.console import say

    found = cases.load(folder)
    say(f"{len(found)} cases in {folder}.")
    outcomes = cases.run_apart(found, settings.load(), say)
    _show(outcomes)
    if json_file is not None:
        counts = {status.value.replace(" ", "_"): _count(outcomes, status) for status in cases.Status}
        told = {**counts, "cases": [outcome.as_json() for outcome in outcomes]}
        json_file.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        say(f"Written to {json_file}.")
    raise typer.Exit(int(any(outcome.status is cases.Status.FAILED for outcome in outcomes)))


def _count(outcomes: Sequence[Outcome], status: object) -> int:
    return sum(outcome.status is status for outcome in outcomes)


def _show(outcomes: Sequence[Outcome]) -> None:
    """Print counts by model and by source, what failed with its lines, and what does not apply with its reason."""
    from metering.cli.console import table
    from metering.conformance import Status
    from metering.conformance.outcome import plain

    def counted(title: str, name: Callable[[Outcome], str]) -> None:
        groups: dict[str, list[Outcome]] = {}
        for outcome in outcomes:
            groups.setdefault(name(outcome), []).append(outcome)
        rows = [
            (group, *(_count(within, status) or "" for status in Status)) for group, within in sorted(groups.items())
        ]
        table([*rows, ("all", *(_count(outcomes, status) for status in Status))], headers=(title, *Status), title="")

    counted("by model", lambda outcome: f"{outcome.case.kind}: {outcome.case.model}")
    counted("by source", lambda outcome: outcome.case.source)
    failed = [outcome for outcome in outcomes if outcome.status is Status.FAILED]
    for outcome in failed:
        typer.echo(f"\nfailed: {outcome.case.id} ({outcome.case.model}) {outcome.case.said.get('title') or ''}")
        rows = [(found.what, plain(found.expected), plain(found.got)) for found in outcome.differences]
        table(rows or [("", "", outcome.reason)], headers=("", "expected", "got"))
        table(
            (
                (
                    line["kind"],
                    line["line_key"],
                    *(plain(line[name]) for name in ("quantity", "exact_amount", "amount")),
                )
                for line in outcome.lines
            ),
            headers=("line", "", "quantity", "exact amount", "amount"),
        )
    apart = [outcome for outcome in outcomes if outcome.status is Status.NOT_APPLICABLE]
    if apart:
        typer.echo("\nnot applicable:")
        table((outcome.case.id, outcome.case.model, outcome.reason) for outcome in apart)

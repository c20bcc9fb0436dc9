"""`./billing rates …`: exchange rates for reports in one currency."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = [
    "./billing rates load eurofxref-hist.csv",
    "./billing rates load eurofxref-hist.zip --dry-run",
    "./billing rates list",
    "./billing rates list --at 2026-10-31",
]

app = typer.Typer(
    name="rates",
    help="Exchange rates, for reports in one currency. Bills stay in their own.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="\b\nExamples:\n" + "\n".join(f"  {example}" for example in EXAMPLES),
)


@app.command(epilog="\b\nExamples:\n" + "\n".join(f"  {example}" for example in EXAMPLES[:2]))
def load(
    file: Annotated[Path, typer.Argument(help="A CSV as the European Central Bank publishes it, or its zip.")],
    source: Annotated[str, typer.Option(help="Who says so; it stands beside every figure that is converted.")] = "ECB",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be added, and add nothing.")] = False,
) -> None:
    """Load exchange rates: how many units of each currency one euro was worth, day by day.

    Rates are only added. Loading a file again adds nothing; a rate that differs from the known one is recorded beside
    it, and the later record counts.
    """
    from metering import database, rates
    from metering.cli.console import say

    quotes = rates.read(file)
    with database.connect(application="billing-rates") as connection:
        done = rates.load(connection, quotes, source, dry_run=dry_run)
    say(
        f"{done.read:,} rates read, {done.added:,} {'would be added' if dry_run else 'added'}"
        + (f", {done.corrected:,} of them instead of other numbers." if done.corrected else ".")
    )
    if done.passed_over:
        say(f"Passed over, since no bill can be in them: {', '.join(done.passed_over)}.")


@app.command("list", epilog="\b\nExamples:\n" + "\n".join(f"  {example}" for example in EXAMPLES[2:]))
def list_(
    at: Annotated[datetime | None, typer.Option(help="The latest at or before this moment (UTC).")] = None,
) -> None:
    """List the latest rate of each currency, when it was published, and by whom."""
    from datetime import UTC

    from metering import database
    from metering.cli.console import table
    from metering.rates.load import latest

    with database.connect(application="billing-rates") as connection:
        found = latest(connection, at.replace(tzinfo=UTC) if at else None)
    if not found:
        print("No rates are known: `./billing rates load eurofxref-hist.csv` loads the ECB's.")
        return
    table(
        ((row["currency"], row["per_euro"], f"{row['quoted_at']:%Y-%m-%d %H:%M}Z", row["source"]) for row in found),
        headers=("currency", "one euro is", "published", "by"),
    )

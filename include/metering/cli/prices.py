"""`./billing prices …`: what the catalog files say, beside what is in force."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = ["./billing prices plan catalog.yaml", "./billing prices apply catalog.yaml"]

app = typer.Typer(
    name="prices",
    help="Bring meters, plans, prices and subscriptions to what a catalog file says.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="\b\nExamples:\n" + "\n".join(f"  {example}" for example in EXAMPLES),
)

Catalog = Annotated[Path, typer.Argument(help="A catalog of meters, plans with prices, and teams with subscriptions.")]


@app.command(epilog=f"\b\nExamples:\n  {EXAMPLES[0]}")
def plan(file: Catalog) -> None:
    """Show what applying a catalog would change. Nothing is changed."""
    _apply(file, dry_run=True)


@app.command(epilog=f"\b\nExamples:\n  {EXAMPLES[1]}")
def apply(file: Catalog) -> None:
    """Apply a catalog: what is new is added, a changed price becomes another version, nothing is removed."""
    _apply(file, dry_run=False)


def _apply(file: Path, *, dry_run: bool) -> None:
    from metering import catalog, database
    from metering.cli.console import say, table

    found = catalog.Catalog.load(file)
    with database.connect(application="billing-prices") as connection:
        changes = catalog.apply(connection, found, dry_run=dry_run)
    if changes:
        table(((change.kind, change.key, change.what) for change in changes.changes), headers=("what", "which", ""))
    say(f"{len(changes)} changes {'would be made' if dry_run else 'made'}.")

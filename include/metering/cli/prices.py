"""`./billing prices`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = ["./billing prices catalog.yaml --plan", "./billing prices catalog.yaml"]


def prices(
    file: Annotated[Path, typer.Argument(help="A catalog of meters, plans with prices, and teams with subscriptions.")],
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would change.")] = False,
) -> None:
    """Apply a catalog: what is new is added, a changed price becomes another version, nothing is removed."""
    from metering import catalog, database
    from metering.cli.console import say, table

    found = catalog.Catalog.load(file)
    with database.connect(application="billing-prices") as connection:
        changes = catalog.apply(connection, found, dry_run=plan)
    if changes:
        table(((change.kind, change.key, change.what) for change in changes.changes), headers=("what", "which", ""))
    say(f"{len(changes)} changes {'would be made' if plan else 'made'}.")

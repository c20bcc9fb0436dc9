"""`./billing ingest`"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from metering.files import Mapping, Tally

EXAMPLES = [
    "./billing ingest usage.csv",
    "./billing ingest requests.jsonl.gz --map requests.map.yaml",
]


def ingest(
    file: Annotated[Path, typer.Argument(help="CSV with a header, or JSON lines; plain or gzip.")],
    map_file: Annotated[
        Path | None,
        typer.Option("--map", help="A YAML file that says which column is the time, the key, the team and so on."),
    ] = None,
) -> None:
    """Take usage events from a file. Rows that can't count are kept in quarantine, each with its line and reason.

    Without --map, columns are the fields of events: team, event, quantity, unit, idempotency_key, time, subject,
    properties.<name>. Importing a file again counts nothing twice. What a map can say is in docs/ingestion.md.
    """
    from metering import settings
    from metering.files import Mapping
    from metering.ingestion.landing import Landing

    mapping = Mapping.load(map_file) if map_file else None
    landing = Landing.connect(settings.load().database_url, application="billing-ingest")
    try:
        tally = _import(landing, file, mapping)
    finally:
        landing.close()
    _show(file, tally)
    if not tally.accepted and not tally.duplicate:
        raise typer.Exit(1)


def _import(landing: object, file: Path, mapping: Mapping | None) -> Tally:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    from metering.files import import_file
    from metering.ingestion.landing import Landing

    assert isinstance(landing, Landing)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[events]} events"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(file.name, total=None, events=0)

        def advance(done: int, size: int, tally: Tally) -> None:
            progress.update(task, total=size, completed=done, events=f"{tally.read:,}")

        return import_file(landing, file, mapping, progress=advance)


def _show(file: Path, tally: Tally) -> None:
    from metering.cli.console import table

    rows: list[tuple[str, str]] = [
        ("read", f"{tally.read:,}"),
        ("accepted", f"{tally.accepted:,}"),
        ("duplicate", f"{tally.duplicate:,}"),
        ("quarantined", f"{tally.quarantined:,}"),
    ]
    rows += [(f"  {reason}", f"{count:,}") for reason, count in tally.reasons.most_common()]
    table(rows, headers=(file.name, "events"))
    if tally.examples:
        lines = [(line, reason, message) for line, reason, message in tally.examples]
        table(lines, headers=("line", "reason", "what is wrong"), title="\nIn quarantine, the first of them:")


if __name__ == "__main__":
    from metering.cli.app import main

    main(["ingest", *sys.argv[1:]])

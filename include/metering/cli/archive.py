"""`./billing archive …`: closed months of events in Parquet, proved, and brought back when they are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from metering.archive import Month

EXAMPLES = ["./billing archive list", "./billing archive run --dry-run", "./billing archive restore 2025-01"]

app = typer.Typer(
    name="archive",
    help="Move closed months of events to Parquet, and bring them back. Keys stay: nothing can count twice.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="\b\nExamples:\n" + "\n".join(f"  {example}" for example in EXAMPLES),
)

Months = Annotated[list[str] | None, typer.Argument(help="Months, such as 2025-01. All that may be, if left out.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


def _epilog(*examples: str) -> str:
    return "\b\nExamples:\n" + "\n".join(f"  {example}" for example in examples)


@app.command("list", epilog=_epilog("./billing archive list", "./billing archive list --json"))
def list_(as_json: bool = typer.Option(False, "--json", help="Print JSON instead of a table.")) -> None:
    """Show every month of events: where it is, and why it may not be archived yet."""
    from metering import archive, settings
    from metering.cli.console import table
    from metering.database import connect

    chosen = settings.load()
    with connect(chosen.database_url, application="billing-archive") as connection:
        months = archive.listing(connection, chosen.archive_after_months)
    if as_json:
        _print_json(months)
        return
    headers = ("Month", "State", "Events", "Size", "Folder", "")
    table(((m.month, m.state, _events(m), _size(m.bytes), m.folder, _remark(m)) for m in months), headers=headers)


@app.command(
    epilog=_epilog("./billing archive run --dry-run", "./billing archive run", "./billing archive run 2025-01 --drop")
)
def run(
    months: Months = None,
    drop: Annotated[
        bool, typer.Option("--drop", help="Then drop archived months from the database, after proving them again.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Archive closed months: write them to Parquet, prove the files by reading them back, take them out of the table.

    Without months, those that ended as long ago as BILLING_ARCHIVE_AFTER_MONTHS says. A month whose bills are not all
    final, or of which something waits to be metered, is left alone. Running it again after it was killed is safe.
    """
    from metering import archive, settings
    from metering.archive.months import find
    from metering.cli.console import say
    from metering.database import connect

    chosen = settings.load()
    with connect(chosen.database_url, application="billing-archive") as connection:
        if months:
            named = [find(connection, name) for name in months]
            wanted = [month for month in named if not (drop and month.archived)]
        else:
            wanted = archive.candidates(connection, chosen.archive_after_months)
        names = {month.month for month in wanted} | set(months or ())
        if dry_run:
            for month in wanted:
                archive.check(connection, month)
                print(f"{month.month} would be archived below {chosen.archive}: about {month.rows:,} events.")
        else:
            for month in wanted:
                archive.archive(connection, month, chosen.archive, say)
        detached = [
            m for m in archive.listing(connection) if m.state == "detached" and (not months or m.month in names)
        ]
        for month in detached if drop else ():
            if not dry_run:
                archive.drop(connection, month)
            print(f"{month.month} {'would be' if dry_run else 'was'} dropped from the database.")
    if not wanted and not (drop and detached):
        print("No month is to be archived: `./billing archive list` says why.")
    elif not dry_run and wanted:
        print(f"Archived: {', '.join(month.month for month in wanted)}.")


@app.command(epilog=_epilog("./billing archive verify", "./billing archive verify 2025-01"))
def verify(months: Months = None) -> None:
    """Read the files of archived months back and compare counts, sums and checksums. Changes nothing."""
    from metering import archive
    from metering.archive.months import find
    from metering.cli.console import complain
    from metering.database import connect
    from metering.errors import BillingError

    failed = False
    with connect(application="billing-archive") as connection:
        wanted = [find(connection, name) for name in months or ()] or [
            month for month in archive.listing(connection) if month.archived
        ]
        for month in wanted:
            try:
                manifest = archive.verify(connection, month)
            except BillingError as error:
                failed = True
                complain(error.message, error.remedy)
            else:
                print(f"{month.month}: {manifest['rows']:,} events, the same as when they were archived.")
    if not wanted:
        print("No month is archived.")
    if failed:
        raise typer.Exit(1)


@app.command(epilog=_epilog("./billing archive restore 2025-01 --dry-run", "./billing archive restore 2025-01"))
def restore(
    months: Annotated[list[str], typer.Argument(help="Months, such as 2025-01.")], dry_run: DryRun = False
) -> None:
    """Bring archived months back, row for row, so that their usage can be computed again.

    They stay for at least 14 days before they are archived again by themselves.
    """
    from metering import archive
    from metering.archive.months import find
    from metering.cli.console import say
    from metering.database import connect

    with connect(application="billing-archive") as connection:
        for month in [find(connection, name) for name in months]:
            if month.archived and not dry_run:
                archive.restore(connection, month, say)
                print(f"{month.month}: {month.rows:,} events are back.")
            elif month.archived:
                print(f"{month.month}: {month.rows:,} events would come back from {month.folder}.")
            else:
                print(f"{month.month} is not archived.")


def _remark(month: Month) -> str:
    if month.archived:
        return f"Restore it for {', '.join(month.needed_by)}: newer meters count its events." if month.needed_by else ""
    return f"Not archived: {month.why_not}." if month.why_not else "May be archived."


def _events(month: Month) -> str:
    return f"{month.rows:,}" if month.archived else f"about {month.rows:,}"


def _size(size: int) -> str:
    return f"{size / 1_000_000:,.1f} MB"


def _print_json(months: list[Month]) -> None:
    import json
    from dataclasses import asdict

    print(json.dumps([{**asdict(month), "manifest": None} for month in months], indent=1, default=str))

"""`./billing prices …`: what the catalog files say, beside what is in force."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from metering.catalog import Changes, Effect

EXAMPLES = [
    "./billing prices plan",
    "./billing prices plan catalog.yaml",
    "./billing prices plan --correct",
    "./billing prices apply",
    './billing prices apply --correct "the price list of October had 0.001"',
    "./billing prices schema > catalog.schema.json",
]
SHOWN = 5
"""So many teams are named of those that a change is about."""

app = typer.Typer(
    name="prices",
    help="Bring meters, plans, prices and subscriptions to what the catalog files say.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="\b\nExamples:\n" + "\n".join(f"  {example}" for example in EXAMPLES),
)

Catalog = Annotated[
    Path | None,
    typer.Argument(
        help="A folder of catalog files, or one file; left out: BILLING_CATALOG, or include/catalog.",
        show_default=False,
    ),
]


def _epilog(*examples: str) -> str:
    return "\b\nExamples:\n" + "\n".join(f"  {example}" for example in examples)


@app.command(epilog=_epilog(*EXAMPLES[:3]))
def plan(
    path: Catalog = None,
    correct: Annotated[
        bool, typer.Option("--correct", help="Plan a correction of the past, and show what becomes of bills.")
    ] = False,
) -> None:
    """Show what applying the catalog would change, since when and for whom. Nothing is changed.

    What would change something for a time that has been billed, or is being billed, is refused, as `apply` does.
    """
    changes = _apply(path, dry_run=True, correction="planned" if correct else None)
    _show(changes, dry_run=True)
    if changes.refusal:
        raise changes.refusal


@app.command(epilog=_epilog(*EXAMPLES[3:5]))
def apply(
    path: Catalog = None,
    correct: Annotated[
        str | None,
        typer.Option(
            "--correct",
            metavar="REASON",
            help="Change the past, too, and say why: an adjustment on the next open bill.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
) -> None:
    """Apply the catalog: what is new is added, a changed price becomes another version, nothing is removed."""
    if correct is not None and not correct.strip():
        from metering.errors import BillingError

        raise BillingError("A correction needs its reason.", 'Say why: --correct "the price list had 0.001".')
    changes = _apply(path, dry_run=dry_run, correction=correct)
    _show(changes, dry_run=dry_run)
    if changes.refusal:
        raise changes.refusal


@app.command(epilog=_epilog(EXAMPLES[5]))
def schema() -> None:
    """Print the JSON Schema of a catalog file, by which an editor completes it and marks mistakes."""
    from metering.catalog import schema as schema_module

    typer.echo(schema_module.text(), nl=False)


def _apply(path: Path | None, *, dry_run: bool, correction: str | None) -> Changes:
    import getpass

    from metering import catalog, database, settings

    found = catalog.Catalog.load(path or settings.load().catalog)
    with database.connect(application="billing-prices") as connection:
        return catalog.apply(connection, found, dry_run=dry_run, correction=correction, made_by=getpass.getuser())


def _show(changes: Changes, *, dry_run: bool) -> None:
    from metering.cli.console import say, table

    if changes:
        table(
            ((change.kind, change.key, change.what, change.how) for change in changes.changes),
            headers=("what", "which", "", "how"),
        )
    if changes.effects:
        table(
            _for_whom(changes.effects),
            headers=("what", "which", "effective", "for whom", "final bills concerned"),
            title="\nFor whom",
        )
    if changes.differences:
        table(
            (
                (
                    difference.team_key,
                    difference.period_label,
                    difference.kind if difference.kind == "usage" else f"adjustment about {difference.about_label}",
                    difference.currency,
                    f"{difference.before.normalize():f}",
                    f"{difference.after.normalize():f}",
                    f"{(difference.after - difference.before).normalize():+f}",
                )
                for difference in changes.differences
            ),
            headers=("team", "bill", "", "currency", "before", "after", "difference"),
            title="\nWhat becomes of bills",
        )
    if changes.left_out:
        say("Stays in force, though the files name it no more: " + ", ".join(changes.left_out) + ".")
    counted = f"{len(changes)} {'change' if len(changes) == 1 else 'changes'}"
    say(f"{counted} {'would be made' if dry_run else 'made'}." if changes else "Nothing is to be changed.")


def _for_whom(effects: tuple[Effect, ...]) -> list[tuple[str, ...]]:
    """One row a change: its effective moment, its teams, and how many final bills it is about."""
    grouped: dict[tuple[str, str, str], list[Effect]] = {}
    for effect in effects:
        grouped.setdefault((effect.kind, effect.key, f"{effect.version_from:%Y-%m-%d %H:%M}Z"), []).append(effect)
    rows: list[tuple[str, ...]] = []
    for (kind, key, since), about in grouped.items():
        teams = sorted({effect.team_key for effect in about})
        more = f" and {len(teams) - SHOWN} more" if len(teams) > SHOWN else ""
        counted = f"{len(teams)} {'team' if len(teams) == 1 else 'teams'}: {', '.join(teams[:SHOWN])}{more}"
        final = sum(effect.final_periods for effect in about)
        rows.append((kind, key, since, counted, str(final) if final else ""))
    return rows

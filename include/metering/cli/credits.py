"""`./billing credits …`: prepaid credits of teams."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated

import typer

EXAMPLES = [
    "./billing credits grant acme welcome-2026 100 USD --reason 'promised in the contract'",
    "./billing credits grant acme pack-1 500 USD --expires 2027-01-01T00:00:00Z --reason 'bought'",
    "./billing credits show acme",
]

app = typer.Typer(
    name="credits",
    help="Grant prepaid credits, which bills draw down, and show what is left of them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="\b\nExamples:\n" + "\n".join(f"  {example}" for example in EXAMPLES),
)


@app.command(epilog=f"\b\nExamples:\n  {EXAMPLES[0]}\n  {EXAMPLES[1]}")
def grant(
    team: Annotated[str, typer.Argument(help="The team's key.")],
    key: Annotated[str, typer.Argument(help="What this grant is called; a key counts once.")],
    amount: Annotated[str, typer.Argument(help="How much, in the currency's major unit.")],
    currency: Annotated[str, typer.Argument(help="ISO 4217 code; bills in this currency draw it.")],
    reason: Annotated[str, typer.Option(help="Why; whoever explains the bill will read it.")],
    effective: Annotated[str, typer.Option(help="From when on, with a zone; left out: now.")] = "",
    expires: Annotated[str, typer.Option(help="Until when, with a zone; left out: for ever.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check it and change nothing.")] = False,
) -> None:
    """Grant a prepaid credit. The next run lets open bills draw it; the same grant again changes nothing."""
    from metering import credits, database, moments
    from metering.cli.console import say
    from metering.errors import BillingError

    try:
        said_amount = Decimal(amount)
    except InvalidOperation:
        raise BillingError(f"{amount!r} is no amount.", "Write it as in 100 or 99.50.") from None
    said = credits.Grant(
        team, key, currency.upper(), said_amount, reason,
        moments.given(effective) or datetime.now(UTC), moments.given(expires),
    )  # fmt: skip
    with database.connect(application="billing-credits") as connection, connection.transaction(force_rollback=dry_run):
        new = credits.grant(connection, said, getpass.getuser())
    would = "would be" if dry_run else "is"
    say(f"{said_amount} {said.currency} {would} granted to {team}." if new else "It was granted before.")


@app.command(epilog=f"\b\nExamples:\n  {EXAMPLES[2]}")
def show(team: Annotated[str, typer.Argument(help="The team's key.")]) -> None:
    """Show a team's credits in the order in which they are drawn, and what bills have drawn of them."""
    from metering import credits, database
    from metering.cli.console import table

    with database.connect(application="billing-credits") as connection:
        found = credits.left(connection, team)
    columns = (
        "grant_key",
        "amount",
        "currency",
        "drawn_by_final_bills",
        "drawn_by_open_bills",
        "is_left",
        "expires_at",
    )
    table(([row[name] for name in (*columns, "reason")] for row in found), headers=(*columns, "reason"))

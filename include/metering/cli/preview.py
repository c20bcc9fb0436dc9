"""`./billing preview [TEAM]`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from metering.cli.bill import Format

if TYPE_CHECKING:
    from metering.catalog import Difference

EXAMPLES = [
    "./billing preview acme",
    "./billing preview acme --price-file include/catalog",
    "./billing preview --price-file new-prices.yaml",
]


def preview(
    team: Annotated[str | None, typer.Argument(help="The team's key; left out, with --price-file: all.")] = None,
    price_file: Annotated[
        Path | None, typer.Option(help="A catalog file or folder: what bills would be under its prices.")
    ] = None,
    subscription: Annotated[str | None, typer.Option(help="Of a team with several: which.")] = None,
    format: Annotated[Format, typer.Option(help="As a table, JSON or CSV with a row a line.")] = Format.TABLE,
) -> None:
    """Show the bill of the period that runs, as if it ended now; or what other prices would make of bills.

    Under other prices, each bill that would be another is shown with what it is and would be, and the total effect.
    Prices that are effective in the past are taken as a correction: of final bills, the difference would stand on the
    next as an adjustment. Nothing is changed. It is as of the last hourly run.
    """
    from metering import bills, catalog, database
    from metering.cli.bill import show
    from metering.errors import BillingError

    with database.connect(application="billing-preview") as connection:
        if price_file is None:
            if team is None:
                raise BillingError(
                    "Whose bill?", "Name a team: ./billing preview TEAM; or other prices for all: --price-file FILE."
                )
            show(bills.bill(connection, team, subscription=subscription), format)
            return
        if team is not None:
            bills.known_team(connection, team)
        changes = catalog.apply(
            connection, catalog.Catalog.load(price_file), dry_run=True, correction="what if", made_by="preview"
        )
    _show_differences([found for found in changes.differences if team in (None, found.team_key)], format)


def _show_differences(differences: list[Difference], format: Format) -> None:
    import csv
    import sys
    from decimal import Decimal

    import msgspec

    from metering.catalog.currencies import EXPONENTS
    from metering.cli.console import table

    def money(amount: Decimal, currency: str, sign: str = "") -> str:
        return f"{amount.quantize(Decimal(1).scaleb(-EXPONENTS[currency])):{sign}f}"

    totals: dict[str, Decimal] = {}
    for found in differences:
        totals[found.currency] = totals.get(found.currency, Decimal(0)) + found.after - found.before
    headers = ("team", "bill", "kind", "about", "currency", "before", "after", "difference")
    rows = [
        (found.team_key, found.period_label, found.kind, found.about_label, found.currency,
         money(found.before, found.currency), money(found.after, found.currency),
         money(found.after - found.before, found.currency, "+"))
        for found in differences
    ]  # fmt: skip
    if format is Format.JSON:
        told = {
            "differences": [dict(zip(headers, row, strict=True)) for row in rows],
            "totals": {currency: money(total, currency) for currency, total in sorted(totals.items())},
        }
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n")
    elif format is Format.CSV:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerows([headers, *rows])
    else:
        table(rows, headers=headers)
        for currency, total in sorted(totals.items()):
            typer.echo(f"In all: {money(total, currency, '+')} {currency}")
        if not differences:
            typer.echo("No bill would be another.")

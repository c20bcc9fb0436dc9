"""`./billing bill TEAM PERIOD`"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from metering.bills import Bill

EXAMPLES = [
    "./billing bill acme 2026-10",
    "./billing bill acme 2026-10 --as-of 2026-11-02T09:00Z",
    "./billing bill acme 2026-10 --format json > bill.json",
    "./billing bill acme 2026-10 --format csv > bill.csv",
]


class Format(StrEnum):
    """How a bill is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def bill(
    team: Annotated[str, typer.Argument(help="The team's key.")],
    period: Annotated[str, typer.Argument(help="The billing period, as bills call it: 2026-10 or 2026-10-15.")],
    as_of: Annotated[
        str | None, typer.Option(help="What was known at this moment, with a zone; left out: what is known now.")
    ] = None,
    subscription: Annotated[str | None, typer.Option(help="Of a team with several: which.")] = None,
    format: Annotated[Format, typer.Option(help="As a table, JSON or CSV with a row a line.")] = Format.TABLE,
) -> None:
    """Show a bill, as it stands or exactly as it stood at any moment.

    It is made by the models that make all bills, of what had been acknowledged and recorded by then: usage,
    withdrawals, prices, subscriptions, credits, final bills. Asked again as of the moment that it says, it is the same.
    Amounts are in the bill's currency.
    """
    from metering import bills, database, moments

    with database.connect(application="billing-bill") as connection:
        found = bills.bill(connection, team, period, subscription=subscription, as_of=moments.given(as_of))
    show(found, format)


def show(found: Bill, format: Format) -> None:
    """Print a bill on standard output."""
    import csv
    import sys

    import msgspec

    from metering.cli.console import table

    if format is Format.JSON:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
        return
    if format is Format.CSV:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow((
            "team", "subscription", "period", "as_of", "line", "kind", "about_period", "price", "meter", "quantity",
            "unit", "charge_quantity", "charge_unit", "amount", "currency",
        ))  # fmt: skip
        for line in found.lines:
            writer.writerow((
                found.team, found.subscription, found.period, found.as_of.isoformat(), line.line, line.kind,
                line.about_period, line.price, line.meter, line.quantity, line.unit, line.charge_quantity,
                line.charge_unit, line.amount, found.currency,
            ))  # fmt: skip
        return
    table(
        (
            (
                line.line,
                line.price_name if line.kind == "usage" else f"{line.kind}: {line.price_name}",
                f"{line.charge_quantity:f}" if line.charge_unit else "",
                line.charge_unit or "",
                f"{line.amount:,}",
            )
            for line in found.lines
        ),
        headers=("line", "for", "quantity", "unit", f"amount ({found.currency})"),
        title=f"{found.team}, {found.period} ({found.start:%Y-%m-%d %H:%M}Z to {found.end:%Y-%m-%d %H:%M}Z), "
        f"{found.status}, as of {found.as_of.isoformat()}",
    )
    parts = f" ({found.usage:,} of this period, {found.adjustments:,} of earlier ones)" if found.adjustments else ""
    typer.echo(f"Total: {found.total:,} {found.currency}{parts}")

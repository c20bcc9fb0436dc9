"""`./billing explain LINE`"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

EXAMPLES = [
    "./billing explain acme/2026-10/api/search@2026-10-01T00:00Z",
    "./billing explain acme/2026-10/api/search@2026-10-01T00:00Z --tier 2 --limit 20",
    "./billing explain acme/2026-10/api/search@2026-10-01T00:00Z --format csv > events.csv",
]


class Format(StrEnum):
    """How the events are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def explain(
    line: Annotated[str, typer.Argument(help="TEAM/PERIOD/LINE, with the line as the bill calls it.")],
    tier: Annotated[int | None, typer.Option(help="Only what fills this tier.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Events on a page.")] = 50,
    after: Annotated[str | None, typer.Option(help="Where the page before ended, as it says.")] = None,
    as_of: Annotated[
        str | None, typer.Option(help="What was known at this moment, with a zone; left out: now.")
    ] = None,
    subscription: Annotated[str | None, typer.Option(help="Of a team with several: which.")] = None,
    format: Annotated[Format, typer.Option(help="A page as a table or JSON; CSV has all events.")] = Format.TABLE,
) -> None:
    """List the events under a line of a bill.

    What they count for adds up to the line's quantity. Where a meter does not add up (a maximum, values told apart, a
    level), what decided counts, and the others are shown to count nothing. Under an adjustment is what counts otherwise
    than when its period was last billed: less for what was withdrawn.
    """
    import csv
    import sys

    import msgspec

    from metering import database, moments
    from metering.bills import lineage
    from metering.cli.console import table

    with database.connect(application="billing-explain") as connection:
        if format is Format.CSV:
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(lineage.COLUMNS)
            pages = lineage.explain_all(
                connection, line, subscription=subscription, tier=tier, limit=10_000, after=after,
                as_of=moments.given(as_of),
            )  # fmt: skip
            for page in pages:
                writer.writerows(lineage.rows(page))
            return
        page = lineage.explain(
            connection, line, subscription=subscription, tier=tier, limit=limit, after=after, as_of=moments.given(as_of)
        )
    if format is Format.JSON:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(page), indent=2) + b"\n")
        return
    shown = page.line
    title = (
        f"{line}: {shown.price_name}, {shown.quantity:f} {shown.unit} by the meter {page.meter} ({page.aggregation}), "
        f"as of {page.as_of.isoformat()}"
    )
    if shown.tiers:
        table(
            (
                (held.tier, f"over {held.over:f}" + (f" to {held.up_to:f}" if held.up_to is not None else ""),
                 f"{held.quantity:f}", f"{held.unit_amount:f}", f"{held.usage_amount + held.fixed_amount:f}")
                for held in shown.tiers
            ),
            headers=("tier", shown.charge_unit or "", "quantity", "a unit", "amount, exact"),
            title=title,
        )  # fmt: skip
    table(
        (
            (f"{event.occurred_at:%Y-%m-%d %H:%M:%S.%f}Z", event.key, event.value if event.value is not None else "",
             f"{event.counts:f}", f"{event.running:f}")
            for event in page.events
        ),
        headers=("occurred at", "event", "value", "counts", "running"),
        title=None if shown.tiers else title,
    )  # fmt: skip
    if page.next:
        typer.echo(f"More: --after {page.next}")

"""`./billing diff TEAM PERIOD`"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

EXAMPLES = [
    "./billing diff acme 2026-10 --from 2026-11-01T06:00Z",
    "./billing diff acme 2026-10 --from 2026-11-01T06:00Z --to 2026-11-03T06:00Z",
    "./billing diff acme 2026-10 --from 2026-11-01T06:00Z --format json",
]


class Format(StrEnum):
    """How a difference is printed."""

    TABLE = "table"
    JSON = "json"


def diff(
    team: Annotated[str, typer.Argument(help="The team's key.")],
    period: Annotated[str, typer.Argument(help="The billing period, as bills call it: 2026-10 or 2026-10-15.")],
    since: Annotated[str, typer.Option("--from", help="The earlier moment, with a zone.")],
    until: Annotated[str | None, typer.Option("--to", help="The later moment, with a zone; left out: now.")] = None,
    subscription: Annotated[str | None, typer.Option(help="Of a team with several: which.")] = None,
    format: Annotated[Format, typer.Option(help="As a table, or JSON with each line and event.")] = Format.TABLE,
) -> None:
    """Say what changed a bill between two moments, cause by cause, to the cent.

    Causes are taken in the order in which they were recorded, and each is worth what the bill moved at it, so that they
    add up exactly to the difference of the totals.
    """
    import sys

    import msgspec

    from metering import database, moments
    from metering.bills.difference import difference
    from metering.cli.console import table

    with database.connect(application="billing-diff") as connection:
        found = difference(
            connection, team, period, moments.moment(since), moments.given(until), subscription=subscription
        )
    if format is Format.JSON:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
        return
    currency = found.after.currency
    rows: list[tuple[object, ...]] = [
        (f"{found.before.as_of:%Y-%m-%d %H:%M:%S}Z", "the bill was", f"{found.before.total:,}")
    ]
    for cause in found.causes:
        if not cause.lines and cause.kind != "usage":
            continue  # recorded, and of no effect on this bill; JSON has it
        what = " ".join(part for part in (cause.kind, cause.key) if part)
        if cause.effective_from:
            what += f", effective from {cause.effective_from:%Y-%m-%d %H:%M}Z"
        if cause.kind == "usage":
            what += f": {cause.events_came:,} events came, {cause.events_withdrawn:,} were withdrawn"
            if cause.event_keys:
                more = cause.events_came + cause.events_withdrawn - 3
                what += f" ({', '.join(cause.event_keys[:3])}{f' and {more:,} more' if more > 0 else ''})"
        if cause.detail:
            what += f" ({cause.detail})"
        rows.append((f"{cause.recorded_until:%Y-%m-%d %H:%M:%S}Z", what, f"{cause.amount:+,}"))
    rows.append((f"{found.after.as_of:%Y-%m-%d %H:%M:%S}Z", "the bill is", f"{found.after.total:,}"))
    rows.append(("", "difference", f"{found.difference:+,}"))
    table(rows, headers=("recorded until", "what", f"amount ({currency})"), title=f"{found.after.team}, {period}")

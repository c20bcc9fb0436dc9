"""`./billing diff TEAM PERIOD`"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from metering.bills.difference import Cause, Difference

EXAMPLES = [
    "./billing diff acme 2026-10 --from 2026-11-01T06:00Z",
    "./billing diff acme 2026-10 --from 2026-11-01T06:00Z --to 2026-11-03T06:00Z",
    "./billing diff acme 2026-10 --from 2026-11-01T06:00Z --currency EUR",
    "./billing diff acme 2026-10 --from 2026-11-01T06:00Z --format json",
]


class Format(StrEnum):
    """How a difference is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def diff(
    team: Annotated[str, typer.Argument(help="The team's key.")],
    period: Annotated[str, typer.Argument(help="The billing period, as bills call it: 2026-10 or 2026-10-15.")],
    since: Annotated[str, typer.Option("--from", help="The earlier moment, with a zone.")],
    until: Annotated[str | None, typer.Option("--to", help="The later moment, with a zone; left out: now.")] = None,
    subscription: Annotated[str | None, typer.Option(help="Of a team with several: which.")] = None,
    currency: Annotated[
        str | None,
        typer.Option(help="Show what it is worth in this currency of reports, too, and which rates moved that."),
    ] = None,
    format: Annotated[
        Format, typer.Option(help="As a table, CSV with a row a cause, or JSON with each line and event.")
    ] = Format.TABLE,
) -> None:
    """Say what changed a bill between two moments, cause by cause, to the cent.

    Causes are taken in the order in which they were recorded, and each is worth what the bill moved at it, so that they
    add up exactly to the difference of the totals. A bill stays in its own currency: exchange rates move only reports,
    which --currency shows as they convert it.
    """
    import sys

    import msgspec

    from metering import database, moments
    from metering.bills.difference import difference

    with database.connect(application="billing-diff") as connection:
        found = difference(
            connection, team, period, moments.moment(since), moments.given(until), subscription=subscription,
            currency=currency.upper() if currency else None,
        )  # fmt: skip
    if format is Format.JSON:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    elif format is Format.CSV:
        _write_csv(found)
    else:
        _show(found, period)


def _write_csv(found: Difference) -> None:
    import csv
    import sys

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow((
        "team", "period", "kind", "key", "recorded_after", "recorded_until", "effective_from", "detail", "events_came",
        "events_withdrawn", "amount", "currency", "converted_amount", "reporting_currency",
    ))  # fmt: skip
    for cause in found.causes:
        writer.writerow((
            found.after.team, found.after.period, cause.kind, cause.key, cause.recorded_after.isoformat(),
            cause.recorded_until.isoformat(), cause.effective_from.isoformat() if cause.effective_from else None,
            cause.detail, cause.events_came, cause.events_withdrawn, cause.amount, found.after.currency,
            cause.converted, found.worth.currency if found.worth else None,
        ))  # fmt: skip


def _show(found: Difference, period: str) -> None:
    from metering.cli.console import table

    worth = found.worth

    def row(at: object, what: str, amount: str, converted: str) -> tuple[object, ...]:
        return (at, what, amount, converted) if worth else (at, what, amount)

    rows = [
        row(f"{found.before.as_of:%Y-%m-%d %H:%M:%S}Z", "the bill was", f"{found.before.total:,}",
            f"{worth.before:,}" if worth else "")
    ]  # fmt: skip
    rows += [
        row(f"{cause.recorded_until:%Y-%m-%d %H:%M:%S}Z", _what(cause), f"{cause.amount:+,}" if cause.lines else "",
            f"{cause.converted:+,}" if cause.converted or (worth and cause.lines) else "")
        for cause in found.causes
        # Recorded, and of no effect on this bill: JSON and CSV have it.
        if cause.lines or cause.kind in ("usage", "exchange rate") or "final bill" in cause.kind
    ]  # fmt: skip
    rows += [
        row(f"{found.after.as_of:%Y-%m-%d %H:%M:%S}Z", "the bill is", f"{found.after.total:,}",
            f"{worth.after:,}" if worth else ""),
        row("", "difference", f"{found.difference:+,}", f"{worth.difference:+,}" if worth else ""),
    ]  # fmt: skip
    headers = ["recorded until", "what", f"amount ({found.after.currency})"]
    table(
        rows, headers=headers + ([f"worth ({worth.currency})"] if worth else []), title=f"{found.after.team}, {period}"
    )


def _what(cause: Cause) -> str:
    what = " ".join(part for part in (cause.kind, cause.key) if part)
    if cause.kind == "usage":
        counts = ((cause.events_came, "came"), (cause.events_withdrawn, "withdrawn"))
        told = [f"{count:,} event{'' if count == 1 else 's'} {how}" for count, how in counts if count]
        what += f": {', '.join(told) or 'what came before, otherwise'}"
        if cause.event_keys:
            more = cause.events_came + cause.events_withdrawn - 3
            what += f" ({', '.join(cause.event_keys[:3])}{f' and {more:,} more' if more > 0 else ''})"
    elif cause.effective_from and cause.kind != "exchange rate":
        what += f", effective from {cause.effective_from:%Y-%m-%d %H:%M}Z"
    return f"{what} ({cause.detail})" if cause.detail else what

"""`./billing audit TEAM PERIOD`"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from metering.submission.audit import Audit

EXAMPLES = [
    "./billing audit acme 2026-10",
    "./billing audit acme 2026-10 --format json > audit.json",
    "./billing audit acme 2026-10 --format csv > submissions.csv",
]


class Format(StrEnum):
    """How an audit is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def audit(
    team: Annotated[str, typer.Argument(help="The team's key.")],
    period: Annotated[str, typer.Argument(help="The billing period, as bills call it: 2026-10 or 2026-10-15.")],
    subscription: Annotated[str | None, typer.Option(help="Of a team with several: which.")] = None,
    format: Annotated[
        Format, typer.Option(help="As tables; JSON with all evidence; or CSV with a row a submission.")
    ] = Format.TABLE,
) -> None:
    """Prove a billing period: events = metered = rated = billed = sent = what Stripe says now, with the evidence.

    Each meter at every step, the lines of the bill, and Stripe's own total, which is asked for at this moment. JSON and
    CSV have every submission with its identifier and Stripe's request id. Nothing is changed. It fails where a
    difference is not explained.
    """
    import csv
    import sys

    import msgspec

    from metering import database
    from metering import settings as settings_module
    from metering.errors import BillingError
    from metering.submission import audit as auditing
    from metering.submission import client

    with database.connect(application="billing-audit") as connection:
        server = client.connect(settings_module.load())
        found = auditing.audit(connection, server, team, period, subscription=subscription)
    if format is Format.JSON:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    elif format is Format.CSV:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(("subscription", *auditing.Submission.__struct_fields__))
        for one in found:
            for sent in one.submissions:
                writer.writerow((one.chain.subscription, *(_cell(value) for value in msgspec.structs.astuple(sent))))
    else:
        for one in found:
            _show(one)
    unexplained = [one for one in found if one.verdict == "unexplained"]
    if unexplained:
        raise BillingError(
            f"{team} {period} has differences that nothing explains.",
            "docs/runbooks/reconcile_with_stripe.md says what each step means.",
        )


def _show(found: Audit) -> None:
    from metering.cli.console import table
    from metering.submission.audit import chain_of

    chain = found.chain
    until = f", metered until {found.metered_until:%Y-%m-%d %H:%M}Z" if found.metered_until else ""
    typer.echo(
        f"{found.team}, {chain.period} ({chain.start:%Y-%m-%d %H:%M}Z to {chain.end:%Y-%m-%d %H:%M}Z), "
        f"{'final' if chain.finalized else 'not final'}{until}"
    )
    sides = {side.meter: side for side in found.stripe}
    for meter in chain.meters:
        why = {difference.step.rpartition(" - ")[2]: difference for difference in meter.differences}
        rows: list[tuple[object, ...]] = []
        before = None
        for (step, quantity), name in zip(
            chain_of(meter), ("", "metered", "rated", "billed", "target", "submitted", "stripe"), strict=True
        ):
            known = why.get(name)
            because = " ".join(known.because) or known.verdict if known and known.difference else ""
            rows.append((step, f"{quantity:f}", _difference(quantity, before), because))
            before = quantity
        side = sides.get(meter.meter)
        if side is not None:
            now = f"{side.quantity:f}" if side.quantity is not None else ""
            accepted = meter.steps.submitted if side.quantity is not None else None
            difference = _difference(side.quantity, accepted) if side.quantity is not None else ""
            rows.append((f"Stripe's total at {side.read_at:%H:%M:%S}Z", now, difference, side.because or side.verdict))
        events = f"{meter.events_counted:,} events landed, {meter.events_calculated:,} metered"
        waiting = f", {meter.waiting.events:,} wait for the next run" if meter.waiting.events else ""
        sent = [one for one in found.submissions if one.meter == meter.meter]
        told = f"{len(sent):,} submissions to {side.customer or 'no customer yet'}" if side else "nothing for Stripe"
        typer.echo(f"\n{meter.meter}: {events}{waiting}; {told}")
        table(rows, headers=("step", "quantity", "difference", ""))
    typer.echo("\nBill lines about the period")
    table(
        (
            (line.line, line.kind, f"{line.quantity:f}" if line.quantity is not None else "", f"{line.amount:,}")
            for line in found.lines
        ),
        headers=("line", "kind", "quantity", f"amount ({chain.currency})"),
    )
    total = sum(line.amount for line in found.lines)
    typer.echo(f"Together {total:,} {chain.currency}. The period is {found.verdict}.")


def _difference(quantity: object, before: object) -> str:
    from decimal import Decimal

    if not isinstance(quantity, Decimal) or not isinstance(before, Decimal):
        return ""
    return f"{before - quantity:f}" if before != quantity else "0"


def _cell(value: object) -> object:
    from datetime import datetime

    if isinstance(value, datetime):
        return value.isoformat()
    return "" if value is None else value

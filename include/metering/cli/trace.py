"""`./billing trace KEY`"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

EXAMPLES = ["./billing trace req-7f3a", "./billing trace req-7f3a --team acme --json"]


def trace(
    key: Annotated[str, typer.Argument(help="The event's idempotency key.")],
    team: Annotated[str | None, typer.Option(help="Whose event it is, where several teams have such a key.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON with all that is known.")] = False,
) -> None:
    """Follow one event: landed, metered, priced, billed, submitted to Stripe, with the times; and where it waits."""
    import sys
    import uuid

    import msgspec

    from metering import database
    from metering.cli.console import table
    from metering.errors import BillingError
    from metering.ingestion.events import digest
    from metering.reading import teams
    from metering.reading import trace as tracing

    with database.connect(application="billing-trace") as connection:
        found = teams.with_key(connection, uuid.UUID(bytes=digest(key.encode())), team)
        if not found:
            raise BillingError(
                f"No event with the key {key[:80]!r} has counted{f' for the team {team!r}' if team else ''}.",
                "See what could not count: ./billing quarantine list",
            )
        if len(found) > 1:
            names = ", ".join(one.team_key for one in found)
            raise BillingError(f"{len(found)} teams have an event with this key: {names}.", "Say which with --team.")
        way = tracing.trace(connection, found[0], key)
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(way), indent=2) + b"\n")
        return
    event = way.event
    landed = f"{event.event}, quantity {event.quantity:f}, from {event.source}" if event.quantity is not None else ""
    rows: list[tuple[object, ...]] = [
        ("occurred", _at(event.time), ""),
        ("landed", _at(event.recorded_at), landed),
        *([("withdrawn", _at(event.withdrawn_at), event.withdrawn_because)] if event.withdrawn_at else []),
    ]
    for meter in way.meters:
        bucket = meter.bucket
        of = " ".join(f"{name}={value}" for name, value in bucket.dimensions.items())
        now = "not there yet" if bucket.quantity is None else f"of {bucket.quantity:f} {meter.unit}"
        value = f"{bucket.value:f} {now}" if bucket.value is not None else now
        rows.append((
            f"metered by {meter.meter}", _at(bucket.metered_at),
            f"quarter-hour {bucket.start:%Y-%m-%d %H:%M}Z {of}: {value}",
        ))  # fmt: skip
        for rating in meter.rated:
            if rating.line is None:
                rows.append(("rated", "", f"no price is for this, in the period {rating.period}"))
                continue
            for tier in rating.tiers:
                until = f" to {tier.up_to:f}" if tier.up_to is not None else ""
                what = f"{way.team}/{rating.period}/{rating.line}, tier {tier.tier}, over {tier.over:f}{until}"
                rows.append(("rated", _at(rating.rated_at), f"{what}: {tier.quantity:f} {rating.charge_unit}"))
            for line in rating.bill_lines:
                what = f"{line.amount} of {line.bill_total} {line.currency} on {line.on_bill} ({line.status})"
                rows.append(("billed", _at(line.final_at), what))
        for window in meter.stripe:
            span = f"{window.start:%Y-%m-%d %H:%M}Z to {window.end:%Y-%m-%d %H:%M}Z"
            what = f"{span}: target {window.target:f}, accepted {window.accepted:f}"
            if window.due != window.target:
                what += f"; {window.due - window.target:f} is planned by the next submission"
            rows.append(("ledger", _at(window.target_at), what))
            if window.held:
                rows.append(("held", "", window.held))
            for sent in window.submissions:
                when = _at(sent.confirmed_at or sent.accepted_at or sent.created_at)
                rows.append((f"Stripe: {sent.state}", when, f"{sent.quantity:f} as {sent.identifier}"))
        rows.append(("so it is", "", meter.reached))
    table(rows, headers=("step", "at", "what"), title=f"{way.team}: {way.idempotency_key}")
    if way.note:
        typer.echo(way.note)


def _at(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}Z" if moment else ""

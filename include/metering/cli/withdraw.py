"""`./billing withdraw`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = [
    './billing withdraw acme req-7f3a req-7f3b --reason "test traffic"',
    './billing withdraw acme --keys-from keys.txt --reason "billed twice by the old sender"',
    "./billing withdraw acme --event api_request --from 2026-11-03T00:00Z --until 2026-11-04T00:00Z --dry-run",
]


def withdraw(
    team: Annotated[str, typer.Argument(help="The team whose usage it is.")],
    keys: Annotated[list[str] | None, typer.Argument(help="The events' idempotency keys.")] = None,
    reason: Annotated[str, typer.Option(help="Why; it is kept beside them.")] = "",
    keys_from: Annotated[Path | None, typer.Option(help="A file with a key a line.")] = None,
    event: Annotated[str | None, typer.Option(help="Only events of this name.")] = None,
    occurred_from: Annotated[str | None, typer.Option("--from", help="Only what occurred from this moment on.")] = None,
    occurred_until: Annotated[str | None, typer.Option("--until", help="And before this one.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would no longer count.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Take back usage that was sent by mistake.

    It shows what would no longer count and asks. The events stay, for the record; the next metering run takes them off
    the open bills, and of final bills the difference stands on the next as an adjustment.
    """
    import sys

    from metering import moments, withdrawals
    from metering.cli.console import say, table
    from metering.database import connect
    from metering.errors import BillingError

    given = [*(keys or [])]
    if keys_from is not None:
        try:
            given += [line for line in keys_from.read_text(encoding="utf-8").splitlines() if line]
        except OSError as error:
            raise BillingError(
                f"{keys_from} can't be read: {error.strerror}.", "Give a file with a key a line."
            ) from error
    choice = withdrawals.Choice(team, given, event, moments.given(occurred_from), moments.given(occurred_until))
    if (choice.occurred_from is None) != (choice.occurred_until is None):
        raise BillingError("A range has two ends.", "Give --from and --until.")
    with connect(application="billing-withdraw") as connection:
        found = withdrawals.preview(connection, choice)
        table(
            ((row["event_name"], row["month"], row["events"], row["quantity"], row["already"]) for row in found),
            headers=("event", "month (UTC)", "events", "quantity", "withdrawn already"),
        )
        count = sum(row["events"] for row in found)
        if not count:
            say("Nothing to withdraw.")
            return
        if dry_run:
            say(f"{count} events would no longer count. Nothing was changed.")
            return
        if not reason.strip():
            raise BillingError("A withdrawal needs a reason.", 'Add --reason "...".')
        if not yes and not (sys.stdin.isatty() and typer.confirm(f"Withdraw {count} events of {team}?")):
            raise BillingError("Nothing was withdrawn.", "Answer y, or add --yes where nobody can answer.")
        say(
            f"{withdrawals.withdraw(connection, choice, reason)} events no longer count, from the next metering run on."
        )

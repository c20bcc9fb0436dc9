"""`./billing stripe …`: what Stripe should have, what it has, and the difference."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import typer

EXAMPLES = ["./billing stripe plan", "./billing stripe submit", "./billing stripe status"]

app = typer.Typer(
    name="stripe",
    help="Submit usage to Stripe, and see where submission stands.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="\b\nExamples:\n" + "\n".join(f"  {example}" for example in EXAMPLES),
)


def _epilog(*examples: str) -> str:
    return "\b\nExamples:\n" + "\n".join(f"  {example}" for example in examples)


@app.command(epilog=_epilog("./billing stripe plan", "./billing stripe plan --json"))
def plan(as_json: bool = typer.Option(False, "--json", help="Print JSON instead of tables.")) -> None:
    """Show what would be sent, by team and meter: how much, and what it is worth. Nothing is sent and nothing is kept.

    The worth is the share of the period's bill that the quantity makes up, at the prices in force: with tiers, the
    bill decides what the last unit costs, and not Stripe's events.
    """
    from metering import submission
    from metering.cli.console import table
    from metering.database import connect

    with connect(application="billing-stripe") as connection:
        counts, by_team = submission.preview(connection)
    if as_json:
        _print_json({"counts": counts, "to_send": by_team})
        return
    if by_team:
        headers = ("Team", "Meter", "Submissions", "Quantity", "From", "Until", "Worth")
        table((_shown({**row, "values": _money(row["values"])}) for row in by_team), headers=headers)
        print()
        totals: dict[str, Decimal] = {}
        for row in by_team:
            for currency, value in row["values"].items():
                totals[currency] = totals.get(currency, Decimal(0)) + value
        if totals:
            print(f"Worth in all: {_money(totals)}.")
    print(_sentence(counts))


@app.command(epilog=_epilog("./billing stripe submit"))
def submit(as_json: bool = typer.Option(False, "--json", help="Print JSON instead of a sentence.")) -> None:
    """Plan, send what is due, and read back what Stripe has. Running it again sends nothing twice."""
    from metering import submission
    from metering.cli.console import say
    from metering.database import connect

    with connect(application="billing-stripe") as connection:
        made = submission.prepare(connection)
        planned = submission.plan(connection)
        say(_sentence(planned))
        sent = submission.submit(connection)
        resolved = submission.resolve(connection)
    if as_json:
        _print_json({"prepared": made, "planned": planned, "sent": sent, "resolved": resolved})
        return
    print(
        f"{sent['accepted']} accepted, {sent['refused']} refused, {sent['retried']} attempts repeated, "
        f"{sent['later'] + sent['undecided']} without an outcome; "
        f"{resolved['periods'].get('equal', 0)} of {resolved['periods']['periods']} periods read back are equal."
    )


@app.command(epilog=_epilog("./billing stripe status", "./billing stripe status --json"))
def status(as_json: bool = typer.Option(False, "--json", help="Print JSON instead of tables.")) -> None:
    """Say what was sent, what Stripe said when last read, and what is held and why. Asks only the database."""
    from dataclasses import asdict

    from metering.cli.console import table
    from metering.database import connect
    from metering.submission.status import status as read

    with connect(application="billing-stripe") as connection:
        found = asdict(read(connection))
    if as_json:
        _print_json(found)
        return
    if found["ledger"]:
        since = found["ledger"][0]["behind_since"]
        print(
            f"This database is older than what Stripe has, which is known since {since:%Y-%m-%d %H:%M} UTC. Nothing is "
            "sent until `./billing stripe adopt`.\n"
        )
    titles = {
        "by_state": ("Submissions", ("State", "Number", "Quantity")),
        "latest_verdicts": ("Stripe's totals, when last read", ("Verdict", "Periods", "Difference", "Last read")),
        "held": ("Held windows", ("Team", "Meter", "Code", "Reason", "Windows", "Quantity")),
        "reports": (
            "Reported by Stripe after it had accepted, in 30 days",
            ("Meter", "Code", "Events", "Latest", "Message"),
        ),
        "teams_on_hold": ("Teams on hold", ("Team", "By", "Reason", "Since")),
        "last_failures": (
            "Without an outcome",
            ("Team", "Meter", "Window", "State", "Attempts", "Status", "Message", "Again at"),
        ),
    }
    for name, (title, headers) in titles.items():
        if found[name]:
            table((_shown(row) for row in found[name]), headers=headers, title=title)
            print()
    if not found["by_state"]:
        print("Nothing was submitted yet: ./billing stripe submit does it.")


@app.command(epilog=_epilog("./billing stripe release acme", "./billing stripe release acme --meter api_calls"))
def release(
    team: str = typer.Argument(help="The team's key."),
    meter: str | None = typer.Option(None, "--meter", help="Only this meter's windows."),
) -> None:
    """Let windows that Stripe refused be planned again, after the cause is mended."""
    from metering.database import connect
    from metering.submission.planner import release as let_go

    with connect(application="billing-stripe") as connection:
        released = let_go(connection, team, meter)
    print(f"{released} windows of {team} will be planned again.")


@app.command(epilog=_epilog("./billing stripe adopt", "./billing stripe adopt --yes"))
def adopt(
    yes: bool = typer.Option(False, "--yes", help="Do it; without this, only what would be done is shown."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON instead of tables."),
) -> None:
    """After a restore from an older backup: take what Stripe has into the ledger, so that nothing is sent twice.

    Bring usage up to date first: usage that this database lacks and Stripe has would be taken back by the next
    submission.
    """
    from dataclasses import asdict

    from metering import submission
    from metering.cli.console import say, table
    from metering.database import connect

    say("Reading Stripe's totals of all customers and meters.")
    with connect(application="billing-stripe") as connection:
        found = submission.adopt(connection, keep=yes)
    if as_json:
        _print_json(asdict(found))
        return
    for rows, title, headers in (
        (found.adopted, "Adopted" if yes else "To adopt", ("Team", "Meter", "From", "Until", "Ledger", "Stripe")),
        (found.unexplained, "In no window that is known", ("Team", "Meter", "Day", "Quantity")),
    ):
        if rows:
            table((_shown(row) for row in rows), headers=headers, title=title)
            print()
    done = "were" if yes else "would be"
    print(
        f"{found.pairs} customers and meters read, from {found.begin:%Y-%m-%d} on: {len(found.adopted)} windows "
        f"{done} adopted, {found.cancelled} open submissions {done} cancelled."
    )
    print("Submission goes on." if yes else "Nothing was changed: --yes does it.")


@app.command("replace", epilog=_epilog("./billing stripe replace acme"))
def replace_customer(team: str = typer.Argument(help="The team's key.")) -> None:
    """Give a team a new customer in place of one that was deleted at Stripe, and send it its open periods anew."""
    from metering import submission
    from metering.database import connect

    with connect(application="billing-stripe") as connection:
        customer, anew = submission.replace_customer(connection, team)
    print(f"{team} is {customer} at Stripe now; {anew} submissions will be planned again for it.")


def _sentence(counts: dict[str, Any]) -> str:
    parts = [f"{counts['planned']} submissions planned"]
    for name, words in (
        ("waiting", "wait for an earlier outcome"),
        ("held", "held with a reason (./billing stripe status)"),
        ("not_yet", "not yet: their moment has not come"),
        ("stopped", "stopped: the team is on hold or the invoice is final"),
    ):
        if counts[name]:
            parts.append(f"{counts[name]} {words}")
    return ", ".join(parts) + "."


def _money(values: dict[str, Decimal]) -> str:
    return ", ".join(f"{value:,f} {currency}" for currency, value in sorted(values.items()))


def _shown(row: dict[str, Any]) -> list[str]:
    return [_cell(value) for value in row.values()]


def _cell(value: Any) -> str:
    from datetime import datetime

    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _print_json(found: Any) -> None:
    import json

    print(json.dumps(found, indent=1, default=str))

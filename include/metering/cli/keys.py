"""`./billing keys …`: the API keys with which usage is sent."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from metering.ingestion.keys import Limit

RATE_HELP = "Events a second that each service process takes; a request that brings none counts as one."
BURST_HELP = "Events that may come at once after a pause; ten seconds' worth if left out."
KEY_HELP = "The key, or its hint as `list` shows it."
EXAMPLES = [
    "./billing keys create acme",
    "./billing keys create acme --scope track --scope read --scope admin",
    "./billing keys create acme --rate 500 --burst 20000",
    "./billing keys list",
    "./billing keys limit bk_1a2b3c --rate 2000",
    "./billing keys limit bk_1a2b3c --unlimited",
    "./billing keys revoke bk_1a2b3c",
]

app = typer.Typer(
    name="keys",
    help="Make, list, limit and revoke API keys.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="\b\nExamples:\n" + "\n".join(f"  {example}" for example in EXAMPLES),
)


@app.command(epilog=f"\b\nExamples:\n  {EXAMPLES[0]}\n  {EXAMPLES[1]}\n  {EXAMPLES[2]}")
def create(
    team: Annotated[str | None, typer.Argument(help="The team that the key works for.")] = None,
    any_team: Annotated[bool, typer.Option("--any-team", help="Work for every team; events then name theirs.")] = False,
    scope: Annotated[list[str] | None, typer.Option(help="track (the default), read, admin; may be repeated.")] = None,
    rate: Annotated[str | None, typer.Option(help=RATE_HELP)] = None,
    burst: Annotated[int | None, typer.Option(help=BURST_HELP)] = None,
) -> None:
    """Make a key and print it. It is stored by its hash only, so it can't be shown again."""
    from metering.database import connect
    from metering.errors import BillingError
    from metering.ingestion.keys import create_api_key

    if (team is None) != any_team:
        raise BillingError("A key works for one team or for all.", "Name a team, or give --any-team.")
    limit = _limit(rate, burst)
    with connect(application="billing-keys") as connection:
        print(create_api_key(connection, team, scope or ["track"], limit))


@app.command("list", epilog=f"\b\nExamples:\n  {EXAMPLES[3]}")
def list_keys() -> None:
    """List the keys by their hints: whose they are, what and how much they may do, since when, whether revoked."""
    from metering.cli.console import table
    from metering.database import connect
    from metering.ingestion.keys import list_api_keys

    with connect(application="billing-keys") as connection:
        rows = [
            (
                key["key_hint"],
                key["team_key"] or "any team",
                ", ".join(key["scopes"]),
                f"{key['rate_per_second'].normalize():f}/s, {key['rate_burst']} at once"
                if key["rate_burst"]
                else "any",
                f"{key['created_at']:%Y-%m-%d %H:%M}",
                f"revoked {key['revoked_at']:%Y-%m-%d %H:%M}" if key["revoked_at"] else "in force",
            )
            for key in list_api_keys(connection)
        ]
    table(rows, headers=("key", "team", "scopes", "rate", "made", ""))


@app.command(epilog=f"\b\nExamples:\n  {EXAMPLES[4]}\n  {EXAMPLES[5]}")
def limit(
    key: Annotated[str, typer.Argument(help=KEY_HELP)],
    rate: Annotated[str | None, typer.Option(help=RATE_HELP)] = None,
    burst: Annotated[int | None, typer.Option(help=BURST_HELP)] = None,
    unlimited: Annotated[bool, typer.Option("--unlimited", help="Lift the limit.")] = False,
) -> None:
    """Change how much a key may send. Services follow within seconds."""
    from metering.cli.console import say
    from metering.database import connect
    from metering.errors import BillingError
    from metering.ingestion.keys import limit_api_key

    if (rate is None) != unlimited:
        raise BillingError("A key has one rate, or none.", "Give --rate, or --unlimited.")
    wanted = _limit(rate, burst)
    with connect(application="billing-keys") as connection:
        hint = limit_api_key(connection, key, wanted)
    say(f"{hint} is not limited." if wanted is None else f"{hint}: {wanted.per_second}/s, {wanted.burst} at once.")


@app.command(epilog=f"\b\nExamples:\n  {EXAMPLES[6]}")
def revoke(key: Annotated[str, typer.Argument(help=KEY_HELP)]) -> None:
    """Revoke a key. Services refuse it within seconds."""
    from metering.cli.console import say
    from metering.database import connect
    from metering.ingestion.keys import revoke_api_key

    with connect(application="billing-keys") as connection:
        say(f"Revoked {revoke_api_key(connection, key)}.")


def _limit(rate: str | None, burst: int | None) -> Limit | None:
    from metering.errors import BillingError
    from metering.ingestion.keys import Limit

    if rate is None:
        if burst is not None:
            raise BillingError("A burst alone is no limit.", "Give --rate too.")
        return None
    try:
        return Limit.of(Decimal(rate), burst)
    except InvalidOperation:
        raise BillingError(f"{rate!r} is not a number of events a second.", "Give one, such as --rate 500.") from None

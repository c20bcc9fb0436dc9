"""`./billing keys …`: the API keys with which usage is sent."""

from __future__ import annotations

from typing import Annotated

import typer

EXAMPLES = [
    "./billing keys create acme",
    "./billing keys create --any-team --scope track --scope read",
    "./billing keys list",
    "./billing keys revoke bk_1a2b3c",
]

app = typer.Typer(
    name="keys",
    help="Make, list and revoke API keys.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="\b\nExamples:\n" + "\n".join(f"  {example}" for example in EXAMPLES),
)


@app.command(epilog=f"\b\nExamples:\n  {EXAMPLES[0]}\n  {EXAMPLES[1]}")
def create(
    team: Annotated[str | None, typer.Argument(help="The team that the key works for.")] = None,
    any_team: Annotated[bool, typer.Option("--any-team", help="Work for every team; events then name theirs.")] = False,
    scope: Annotated[list[str] | None, typer.Option(help="track, read or admin; may be repeated.")] = None,
) -> None:
    """Make a key and print it. It is stored by its hash only, so it can't be shown again."""
    from metering.database import connect
    from metering.errors import BillingError
    from metering.ingestion.keys import create_api_key

    if (team is None) != any_team:
        raise BillingError("A key works for one team or for all.", "Name a team, or give --any-team.")
    with connect(application="billing-keys") as connection:
        print(create_api_key(connection, team, scope or ["track"]))


@app.command("list", epilog=f"\b\nExamples:\n  {EXAMPLES[2]}")
def list_keys() -> None:
    """List the keys by their hints: whose they are, what they may do, since when, and whether they are revoked."""
    from metering.cli.console import table
    from metering.database import connect
    from metering.ingestion.keys import list_api_keys

    with connect(application="billing-keys") as connection:
        rows = [
            (
                key["key_hint"],
                key["team_key"] or "any team",
                ", ".join(key["scopes"]),
                f"{key['created_at']:%Y-%m-%d %H:%M}",
                f"revoked {key['revoked_at']:%Y-%m-%d %H:%M}" if key["revoked_at"] else "in force",
            )
            for key in list_api_keys(connection)
        ]
    table(rows, headers=("key", "team", "scopes", "made", ""))


@app.command(epilog=f"\b\nExamples:\n  {EXAMPLES[3]}")
def revoke(key: Annotated[str, typer.Argument(help="The key, or its hint as `list` shows it.")]) -> None:
    """Revoke a key. Services refuse it within seconds."""
    from metering.cli.console import say
    from metering.database import connect
    from metering.ingestion.keys import revoke_api_key

    with connect(application="billing-keys") as connection:
        say(f"Revoked {revoke_api_key(connection, key)}.")

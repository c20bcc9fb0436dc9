"""`./billing quarantine …`: events that could not be counted, looked at, mended, sent again, discarded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from metering.quarantine.entries import Actor, Choice, Connection

EXAMPLES = [
    "./billing quarantine list --reason unknown_event",
    "./billing quarantine list --counts",
    "./billing quarantine show 7-0b3f1c7a52d84a5e9d54a1b2c3d4e5f6",
    "./billing quarantine mend 7-0b3f1c7a52d84a5e9d54a1b2c3d4e5f6 --set event=api_request --unset unit --resend",
    "./billing quarantine resend --reason unknown_event --dry-run",
    "./billing quarantine resend --team acme --all",
    "./billing quarantine discard --source file:test.csv --note 'a test of ours'",
    "./billing quarantine restore --source file:test.csv",
]


def _epilog(*numbers: int) -> str:
    return "\b\nExamples:\n" + "\n".join(f"  {EXAMPLES[number]}" for number in numbers)


app = typer.Typer(
    name="quarantine",
    help="Look at events that could not be counted; mend them, send them again, or discard them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog=_epilog(*range(len(EXAMPLES))),
)

Team = Annotated[str | None, typer.Option(help="Only this team's.")]
Reason = Annotated[str | None, typer.Option(help="Only those that can't be counted for this reason.")]
Source = Annotated[str | None, typer.Option(help="Only those from here: http, or file:<name>.")]
Ids = Annotated[list[str] | None, typer.Argument(help="Entries, by the ids that `list` shows.")]
All = Annotated[bool, typer.Option("--all", help="Everything, where no filter is given.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen; change nothing.")]
_TEXTS = ("event", "team", "unit", "idempotency_key", "time", "subject")


@app.command("list", epilog=_epilog(0, 1))
def list_entries(
    team: Team = None,
    reason: Reason = None,
    source: Source = None,
    status: Annotated[str, typer.Option(help="held, resent, discarded or all.")] = "held",
    counts: Annotated[bool, typer.Option("--counts", help="How many, by team, status and reason.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many to list, the last seen first.")] = 50,
) -> None:
    """List events that could not be counted."""
    from metering.cli.console import say, table
    from metering.errors import BillingError
    from metering.quarantine import entries

    if status not in ("held", "resent", "discarded", "all"):
        raise BillingError(f"There is no status {status!r}.", "Use held, resent, discarded or all.")
    with _connect() as connection:
        choice = _choice(connection, team, reason, source, None if status == "all" else status)
        found = entries.count(connection, _actor(), choice)
        if counts:
            table(
                (
                    (row.team or "unknown", row.status, row.reason, f"{row.entries:,}", f"{row.times_seen:,}")
                    for row in found
                ),
                headers=("team", "status", "reason", "entries", "times seen"),
            )
            return
        page = entries.find(connection, _actor(), choice, size=limit)
    table(
        (
            (one.id, one.team or "unknown", one.status, one.reason, f"{one.last_recorded_at:%Y-%m-%d %H:%M}",
             one.source if one.line is None else f"{one.source}:{one.line}", one.message)
            for one in page.entries
        ),
        headers=("id", "team", "status", "reason", "last seen (UTC)", "source", "what is wrong"),
    )  # fmt: skip
    say(f"{len(page.entries):,} of {sum(row.entries for row in found):,}.")


@app.command(epilog=_epilog(2))
def show(entry: Annotated[str, typer.Argument(help="The entry, by the id that `list` shows.")]) -> None:
    """Show one entry: what was sent, what is wrong with it, and what was done about it, by whom."""
    from metering.cli.console import table
    from metering.quarantine import entries

    with _connect() as connection:
        found = entries.show(connection, _actor(), entry)
    _print(found)
    if found.history:
        lines = [
            (f"{action.at:%Y-%m-%d %H:%M:%S}", action.action, action.by, action.outcome or "",
             action.reason or "", action.payload or action.message or "")
            for action in found.history
        ]  # fmt: skip
        table(lines, headers=("at (UTC)", "what", "by", "outcome", "reason", ""), title="\nWhat was done:")


@app.command(epilog=_epilog(3))
def mend(
    entry: Annotated[str, typer.Argument(help="The entry, by the id that `list` shows.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="field=value, properties.<name>=value; may be repeated.")
    ] = None,
    unset: Annotated[list[str] | None, typer.Option(help="A field to remove; may be repeated.")] = None,
    resend_now: Annotated[bool, typer.Option("--resend", help="Send it again at once.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Change fields of an event. All others stay, the idempotency key included, and so does what was sent."""
    from metering.cli.console import say
    from metering.errors import BillingError
    from metering.ingestion.landing import Landing
    from metering.quarantine import entries, mending, resending

    patch = _patch(set_ or [], unset or [])
    if not patch:
        raise BillingError("Nothing is to be changed.", "Give --set field=value or --unset field.")
    with _connect() as connection:
        # A dry run does all of it and takes it back.
        with connection.transaction(force_rollback=dry_run):
            found = mending.mend(connection, _actor(), entry, patch)
            _print(found)
            if resend_now and dry_run:
                chosen = entries.Choice(ids=entries.ids([entry], _actor()))
                _tell(resending.resend(Landing(connection), _actor(), chosen, dry_run=True))
        if resend_now and not dry_run:
            chosen = entries.Choice(ids=entries.ids([entry], _actor()))
            told = resending.resend(Landing(connection), _actor(), chosen)
            _tell(told)
            if told.quarantined:
                raise typer.Exit(1)
    say("Nothing was changed." if dry_run else "Mended.")


def _over_chosen(action: Callable[[Connection, Choice, bool], None]) -> Callable[..., None]:
    """A command over the entries that its options choose; `action` takes connection, choice and whether to try only."""

    def command(
        ids: Ids = None,
        team: Team = None,
        reason: Reason = None,
        source: Source = None,
        everything: All = False,
        dry_run: DryRun = False,
    ) -> None:
        with _connect() as connection:
            action(connection, _bulk(connection, ids, team, reason, source, everything), dry_run)

    command.__name__, command.__doc__ = action.__name__, action.__doc__
    return command


@app.command(epilog=_epilog(4, 5))
@_over_chosen
def resend(connection: Connection, choice: Choice, dry_run: bool) -> None:
    """Send held events again, such as after a meter was added that was missing. Nothing counts twice.

    They go through the validation and landing that every event goes through. Fails where some are still in quarantine.
    """
    from metering.ingestion.landing import Landing
    from metering.quarantine import resending

    told = resending.resend(Landing(connection), _actor(), choice, dry_run=dry_run, progress=_say_how_many)
    _tell(told)
    if told.quarantined and not dry_run:
        raise typer.Exit(1)


@app.command(epilog=_epilog(6))
def discard(
    ids: Ids = None,
    team: Team = None,
    reason: Reason = None,
    source: Source = None,
    everything: All = False,
    note: Annotated[str, typer.Option(help="Why, for the history.")] = "",
    dry_run: DryRun = False,
) -> None:
    """Decide that held events are not to count. They stay, and `restore` takes it back."""
    from metering.cli.console import say
    from metering.quarantine import entries

    with _connect() as connection:
        choice = _bulk(connection, ids, team, reason, source, everything)
        changed = entries.discard(connection, _actor(), choice, note=note, dry_run=dry_run)
    say(f"{changed:,} {'would be' if dry_run else 'were'} discarded.")


@app.command(epilog=_epilog(7))
@_over_chosen
def restore(connection: Connection, choice: Choice, dry_run: bool) -> None:
    """Hold discarded events again."""
    from metering.cli.console import say
    from metering.quarantine import entries

    changed = entries.restore(connection, _actor(), choice, dry_run=dry_run)
    say(f"{changed:,} {'would be' if dry_run else 'are'} held again.")


def _connect() -> Connection:
    from metering.database import connect

    return connect(application="billing-quarantine")


def _actor() -> Actor:
    import getpass

    from metering.quarantine.entries import Actor

    return Actor(f"command line, {getpass.getuser()}", None)


def _choice(
    connection: Connection, team: str | None, reason: str | None, source: str | None, status: Any = "held"
) -> Choice:
    from metering.errors import BillingError
    from metering.ingestion.catalog import Catalog
    from metering.quarantine.entries import Choice

    team_id = None if team is None else Catalog.load(connection).teams.get(team)
    if team is not None and team_id is None:
        raise BillingError(f"There is no team {team!r}.", "Check its key; entries of unknown teams belong to none.")
    return Choice(team_id, status, reason, source)


def _bulk(
    connection: Connection,
    ids: list[str] | None,
    team: str | None,
    reason: str | None,
    source: str | None,
    everything: bool,
) -> Choice:
    from dataclasses import replace

    from metering.errors import BillingError
    from metering.quarantine import entries

    if not ids and not reason and not source and not everything:
        raise BillingError("Which entries are meant is not said.", "Give ids, --reason, --source, or --all.")
    choice = _choice(connection, team, reason, source)
    return replace(choice, ids=entries.ids(ids, _actor()) if ids else None)


def _patch(changes: list[str], removals: list[str]) -> dict[str, Any]:
    from metering.errors import BillingError
    from metering.ingestion.body import decode_object
    from metering.ingestion.events import Malformed

    patch: dict[str, Any] = {}
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or not name:
            raise BillingError(f"--set {change} names no field or no value.", "Write --set field=value.")
        value: Any = text
        if name not in _TEXTS:
            decoded = decode_object(f'{{"value": {text}}}'.encode())
            value = text if isinstance(decoded, Malformed) else decoded["value"]
        _put(patch, name, value)
    for name in removals:
        _put(patch, name, None)
    return patch


def _put(patch: dict[str, Any], name: str, value: Any) -> None:
    above, dot, below = name.partition(".")
    if dot and above == "properties":
        patch.setdefault("properties", {})[below] = value
    else:
        patch[name] = value


def _print(found: Any) -> None:
    from metering.cli.console import table

    place = found.source if found.line is None else f"{found.source}:{found.line}"
    rows = [
        ("id", found.id),
        ("team", found.team or "unknown"),
        ("status", found.status),
        (
            "reason",
            found.reason if found.reason == found.first_reason else f"{found.reason}, first {found.first_reason}",
        ),
        ("what is wrong", found.message),
        ("seen", f"{found.times_seen:,} times, last {found.last_recorded_at:%Y-%m-%d %H:%M:%S} UTC, from {place}"),
        ("sent", found.payload),
    ]
    if found.mended_payload is not None:
        rows.append(("mended", found.mended_payload))
    table(rows)


def _say_how_many(done: int) -> None:
    from metering.cli.console import say

    if done % 10_000 == 0:
        say(f"{done:,} done …")


def _tell(told: Any) -> None:
    from metering.cli.console import say, table

    rows = [("accepted", f"{told.accepted:,}"), ("duplicate", f"{told.duplicate:,}")]
    rows += [("still in quarantine", f"{told.quarantined:,}")]
    rows += [(f"  {reason}", f"{count:,}") for reason, count in told.reasons.items()]
    table(rows, headers=("would be" if told.dry_run else "sent again", "events"))
    if told.dry_run:
        say("Nothing was changed.")

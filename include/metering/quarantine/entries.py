"""Events in quarantine: found, shown with what was done about each, discarded and held again."""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec
import psycopg
from psycopg.rows import DictRow

from metering import database, statements
from metering.errors import BillingError

SQL = statements.beside(__file__, "entries")

Connection = psycopg.Connection[DictRow]
Status = Literal["held", "resent", "discarded"]

MAX_PAGE = 1_000
PIECE = 1_000
"""Entries that a bulk action takes up in one transaction."""

_ID = re.compile(r"(\d{1,9})-([0-9a-f]{32})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CURSOR = b"\x02"


class NoEntry(BillingError):
    """There is no such entry, or it belongs to another team: the two are not told apart."""

    def __init__(self, entry_id: str) -> None:
        super().__init__(
            f"There is no entry {entry_id[:80]!r} in the quarantine.", "Take the id from a list of the quarantine."
        )


class Unsuitable(BillingError):
    """What was asked about the quarantine can't be done."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who looks and acts, and for whom."""

    name: str
    """As the history names it."""
    team_id: int | None
    """All that may be seen and touched; None: everything."""
    team_key: str | None = None


@dataclass(frozen=True, slots=True, order=True)
class EntryId:
    """Tells an entry from all others: its team (0: not known), and the digest of what was sent and what is wrong."""

    team_id: int
    digest: uuid.UUID

    def __str__(self) -> str:
        return f"{self.team_id}-{self.digest.hex}"

    @classmethod
    def read(cls, text: str, actor: Actor) -> EntryId:
        """The id that a text means; raises `NoEntry`, also where it is none of the actor's."""
        match = _ID.fullmatch(text)
        if match is None or (actor.team_id is not None and int(match[1]) != actor.team_id):
            raise NoEntry(text)
        return cls(int(match[1]), uuid.UUID(match[2]))


class Entry(msgspec.Struct, omit_defaults=True):
    """An event that could not be counted."""

    id: str
    team: str | None
    """None: the team is not known."""
    status: Status
    reason: str
    """Why it could not be counted when it was last tried."""
    field: str | None
    message: str
    source: str
    """http, or file:<name>."""
    line: int | None
    times_seen: int
    first_recorded_at: datetime
    last_recorded_at: datetime
    mended: bool


class Action(msgspec.Struct, omit_defaults=True):
    """Something that was done about an entry."""

    at: datetime
    action: Literal["mended", "resent", "discarded", "restored"]
    by: str
    outcome: Literal["accepted", "duplicate", "quarantined"] | None = None
    reason: str | None = None
    message: str | None = None
    payload: str | None = None


class EntryDetail(Entry, omit_defaults=True, kw_only=True):
    """An entry as a whole."""

    payload: str
    """What was sent, as it was sent."""
    mended_payload: str | None = None
    """What would be sent in its place."""
    first_reason: str
    """Why it came here."""
    history: list[Action]


class EntryPage(msgspec.Struct):
    """Some entries, the last seen first."""

    entries: list[Entry]
    next_cursor: str | None


class Count(msgspec.Struct):
    """How many entries of a team have one status and reason."""

    team: str | None
    status: Status
    reason: str
    entries: int
    times_seen: int
    last_recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Choice:
    """Which entries are meant: all conditions that are given must hold."""

    team_id: int | None = None
    status: Status | None = "held"
    reason: str | None = None
    source: str | None = None
    ids: tuple[EntryId, ...] | None = None

    def of(self, actor: Actor) -> Choice:
        """The same within what the actor may see; raises `Unsuitable` where that is another team's."""
        if actor.team_id is None:
            return self
        if self.team_id not in (None, actor.team_id):
            raise Unsuitable("The entries of another team were asked for.", "Ask for your own.")
        return replace(self, team_id=actor.team_id)

    def values(self) -> dict[str, Any]:
        """As the statements take it."""
        ids = self.ids
        return {
            "team_id": self.team_id,
            "status": self.status,
            "reason": self.reason,
            "source": self.source,
            "teams": None if ids is None else [entry.team_id for entry in ids],
            "digests": None if ids is None else [entry.digest for entry in ids],
        }


def find(
    connection: Connection, actor: Actor, choice: Choice, *, cursor: str | None = None, size: int = 100
) -> EntryPage:
    """Return up to `size` entries, the last seen first. Raises `Unsuitable`."""
    after_time, after_digest, after_team = _read_cursor(cursor) if cursor is not None else (None, None, None)
    rows = database.rows(
        connection,
        SQL["list"],
        **choice.of(actor).values(),
        after_time=after_time,
        after_digest=after_digest,
        after_team=after_team,
        size=size + 1,
    )
    more = len(rows) > size
    del rows[size:]
    return EntryPage([Entry(**_fields(row)) for row in rows], _cursor(rows[-1]) if more else None)


def count(connection: Connection, actor: Actor, choice: Choice) -> list[Count]:
    """How many there are by team, status and reason, the most first. Raises `Unsuitable`."""
    rows = database.rows(connection, SQL["count"], **choice.of(actor).values())
    return [Count(team=row.pop("team_key"), **row) for row in rows]


def show(connection: Connection, actor: Actor, entry_id: str) -> EntryDetail:
    """One entry with what was sent and what was done about it. Raises `NoEntry`."""
    row, asking = row_of(connection, actor, entry_id)
    history = [
        Action(at=action.pop("acted_at"), by=action.pop("actor"), **action)
        for action in database.rows(connection, SQL["history"], **asking)
    ]
    return EntryDetail(
        **_fields(row),
        payload=row["payload"],
        mended_payload=row["mended_payload"],
        first_reason=row["first_reason"],
        history=history,
    )


def row_of(connection: Connection, actor: Actor, entry_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """An entry's row, and the values by which statements find it. Raises `NoEntry`."""
    found = EntryId.read(entry_id, actor)
    asking = {"entry_team": found.team_id, "digest": found.digest}
    rows = database.rows(connection, SQL["entry"], **asking)
    if not rows:
        raise NoEntry(entry_id)
    return rows[0], asking


def discard(connection: Connection, actor: Actor, choice: Choice, *, note: str = "", dry_run: bool = False) -> int:
    """Discard held entries: they are not to count. Return how many; `restore` undoes it. Raises `Unsuitable`."""
    chosen = replace(choice, status="held")
    return _change(connection, actor, chosen, "discarded", "discarded", note, dry_run)


def restore(connection: Connection, actor: Actor, choice: Choice, *, dry_run: bool = False) -> int:
    """Hold discarded entries again. Return how many. Raises `Unsuitable`."""
    return _change(connection, actor, replace(choice, status="discarded"), "held", "restored", "", dry_run)


def pieces(
    connection: Connection, actor: Actor, choice: Choice, most: int | None = None
) -> Iterator[list[dict[str, Any]]]:
    """The entries that are meant, piece by piece in the order of their keys, at most `most`. Raises `Unsuitable`.

    Rows of team_id, team_key, quarantine_digest, first_recorded_at and the payload that would be sent.
    """
    values = {**choice.of(actor).values(), "after_team": None, "after_digest": None}
    left = most
    while left is None or left > 0:
        size = PIECE if left is None else min(PIECE, left)
        rows = database.rows(connection, SQL["select_entries"], **values, size=size)
        if rows:
            yield rows
        if len(rows) < size:
            return
        values |= {"after_team": rows[-1]["team_id"], "after_digest": rows[-1]["quarantine_digest"]}
        left = None if left is None else left - len(rows)


def _change(
    connection: Connection, actor: Actor, choice: Choice, new_status: str, action: str, note: str, dry_run: bool
) -> int:
    changed = 0
    for rows in pieces(connection, actor, choice):
        if dry_run:
            changed += len(rows)
            continue
        changed += connection.execute(
            SQL["change_status"],
            {
                "teams": [row["team_id"] for row in rows],
                "digests": [row["quarantine_digest"] for row in rows],
                "status": choice.status,
                "new_status": new_status,
                "action": action,
                "actor": actor.name,
                "message": note or None,
            },
        ).rowcount
    return changed


def ids(texts: Sequence[str], actor: Actor) -> tuple[EntryId, ...]:
    """The entries that some ids mean; raises `NoEntry`."""
    return tuple(EntryId.read(text, actor) for text in texts)


def _fields(row: dict[str, Any]) -> dict[str, Any]:
    names = [name for name in Entry.__struct_fields__ if name not in ("id", "team")]
    entry = EntryId(row["team_id"], row["quarantine_digest"])
    return {"id": str(entry), "team": row["team_key"], **{name: row[name] for name in names}}


def _cursor(row: dict[str, Any]) -> str:
    micros = (row["last_recorded_at"] - _EPOCH) // timedelta(microseconds=1)
    packed = _CURSOR + micros.to_bytes(8, "big") + row["team_id"].to_bytes(4, "big") + row["quarantine_digest"].bytes
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[datetime, uuid.UUID, int]:
    try:
        packed = base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4))
        if len(packed) != 29 or packed[:1] != _CURSOR:
            raise ValueError
        team = int.from_bytes(packed[9:13], "big", signed=True)
        moment = _EPOCH + timedelta(microseconds=int.from_bytes(packed[1:9], "big"))
        return moment, uuid.UUID(bytes=packed[13:]), team
    except (ValueError, OverflowError, binascii.Error):
        raise Unsuitable("The cursor is none that a page has given.", "Take it from `next_cursor`.") from None

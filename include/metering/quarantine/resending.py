"""Sending again: held entries go through the validation and landing that every event goes through.

An event's idempotency key makes it count once, however often its entry is sent again and by whom. What became of each
entry is written in the transaction in which its event lands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import msgspec
import psycopg

from metering.ingestion import cloudevents
from metering.ingestion.body import decode_event, decode_object
from metering.ingestion.catalog import Catalog
from metering.ingestion.events import Event, Fact, Malformed, Reject, Rejected
from metering.ingestion.facts import Facts
from metering.ingestion.landing import Landing
from metering.ingestion.validation import Judge, microseconds
from metering.quarantine.entries import SQL, Actor, Choice, EntryId, pieces

SOURCE = "quarantine"
TOLD = 1_000
"""Entries of which a bulk action tells one by one what became of each."""

Outcome = Literal["accepted", "duplicate", "quarantined"]


class Resent(msgspec.Struct, omit_defaults=True):
    """What became of one entry that was sent again."""

    id: str
    outcome: Outcome
    idempotency_key: str | None = None
    reason: str | None = None
    field: str | None = None
    message: str | None = None


class Resending(msgspec.Struct):
    """What became of all that were sent again."""

    dry_run: bool
    accepted: int
    duplicate: int
    quarantined: int
    reasons: dict[str, int]
    """How many are still in quarantine for which reason."""
    entries: list[Resent]
    """What became of each, of the first thousand."""


@dataclass
class _Piece:
    """Some entries, as the origin of events."""

    rows: list[dict[str, Any]]
    actor: Actor
    outcomes: dict[int, Resent] = field(default_factory=dict)

    def payload(self, index: int) -> str:
        return str(self.rows[index]["payload"])

    def line(self, index: int) -> int | None:
        return None

    def settle(self, connection: psycopg.Connection[Any], facts: Sequence[Fact], kept: Sequence[Reject]) -> None:
        """Say what became of entries; called in the transaction in which their events land."""
        settled = [self._resent(fact.index, fact.verdict, fact.key) for fact in facts if fact.verdict != "quarantined"]
        settled += [self._resent(r.index, "quarantined", r.key, r.reason, r.field, r.message) for r in kept]
        indexes = [index for index, _ in settled]
        resent = [resent for _, resent in settled]
        connection.execute(
            SQL["settle"],
            {
                "teams": [self.rows[index]["team_id"] for index in indexes],
                "digests": [self.rows[index]["quarantine_digest"] for index in indexes],
                "outcomes": [one.outcome for one in resent],
                "reasons": [one.reason for one in resent],
                "fields": [one.field for one in resent],
                "messages": [_storable(one.message) for one in resent],
                "actor": self.actor.name,
            },
        )
        self.outcomes |= dict(settled)

    def _resent(self, index: int, outcome: Outcome, key: str | None, *why: str | None) -> tuple[int, Resent]:
        row = self.rows[index]
        return index, Resent(str(EntryId(row["team_id"], row["quarantine_digest"])), outcome, key, *why)


def resend(
    landing: Landing,
    actor: Actor,
    choice: Choice,
    *,
    dry_run: bool = False,
    most: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Resending:
    """Send held entries again, at most `most`, and return what became of them.

    With `dry_run` everything is done and taken back. An event without a time occurred when it first came here. An actor
    of one team can send for that team only. `progress` is told how many entries are done, after each thousand. Raises
    `entries.Unsuitable`.
    """
    told = Resending(dry_run, 0, 0, 0, {}, [])
    reasons: Counter[str] = Counter()
    for rows in pieces(landing.connection, actor, choice, most):
        piece = _Piece(rows, actor)
        _send(landing, piece, dry_run=dry_run)
        outcomes = [piece.outcomes[index] for index in sorted(piece.outcomes)]
        counted = Counter(one.outcome for one in outcomes)
        told.accepted += counted["accepted"]
        told.duplicate += counted["duplicate"]
        told.quarantined += counted["quarantined"]
        reasons.update(one.reason for one in outcomes if one.reason is not None)
        told.entries += outcomes[: TOLD - len(told.entries)]
        progress(told.accepted + told.duplicate + told.quarantined)
    told.reasons = dict(reasons.most_common())
    return told


def _send(landing: Landing, piece: _Piece, *, dry_run: bool) -> None:
    facts, rejects = _judge(Catalog.load(landing.connection), piece)
    if not dry_run:
        landing.land(SOURCE, facts, rejects, settle=piece.settle)
        return
    with landing.connection.transaction(force_rollback=True):
        landing.land(SOURCE, facts, rejects, settle=piece.settle)
    landing.forget_months()


def _judge(catalog: Catalog, piece: _Piece) -> tuple[Facts, list[Reject]]:
    judge = Judge(catalog, team_id=piece.actor.team_id, team_key=piece.actor.team_key)
    facts = Facts(piece)
    rejects: list[Reject] = []
    for index, row in enumerate(piece.rows):
        event = _decode(row["payload"].encode())
        try:
            if isinstance(event, Malformed):
                raise Rejected(event.reason, event.field, event.message)
            facts.add(_fact(judge, event, row, index, piece))
        except Rejected as found:
            key = event.idempotency_key if isinstance(event, Event) else None
            rejects.append(Reject(index, piece, row["team_id"], found.reason, found.field, found.message, key))
    return facts, rejects


def _decode(payload: bytes) -> Event | Malformed:
    """Decode what was sent: an event, or a CloudEvent, which says so of itself."""
    if b'"specversion"' in payload:
        sent = decode_object(payload, last=True)
        if isinstance(sent, dict) and "specversion" in sent:
            return cloudevents.decode(payload)
    return decode_event(payload)


def _fact(judge: Judge, event: Event, row: dict[str, Any], index: int, piece: _Piece) -> Fact:
    if event.team is None and row["team_key"] is not None:
        event.team = row["team_key"]  # that of the API key with which it was sent
    arrived: datetime = row["first_recorded_at"]
    judge.arrived = microseconds(arrived.replace(tzinfo=None))
    return judge.fact(event, index, piece)


def _storable(text: str | None) -> str | None:
    return text if text is None else text.replace("\0", "\\u0000").encode(errors="backslashreplace").decode()

"""Landing: the one way in which events come into `landing.usage_events`, for the service and for files alike.

One call is one transaction. In it the keys are claimed first, in an order that is the same for all writers; an event
lands only if its key was claimed here, so a key counts once, whatever is sent again, by whom, and at the same time.
Keys and events commit together: a key that is claimed has its event.
"""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.rows import DictRow

from metering import database, statements
from metering.ingestion.events import Fact, Reject, columns_of, digest

SQL = statements.beside(__file__, "landing")

Connection = psycopg.Connection[DictRow]
Settle = Callable[[Connection, Sequence[Fact], Sequence[Reject]], None]
"""Says what became of facts and rejects, in the transaction in which the facts land."""

POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
ATTEMPTS = 6
ARCHIVED_MONTH = "22A01"
"""What the empty partition of an archived month says to an event that is new."""
_UUID, _INTEGER, _TIMESTAMPTZ = 2950, 23, 1184


class Landing:
    """A connection on which events land. Not for use by two threads at once."""

    def __init__(self, connection: Connection) -> None:
        """Use `connection`, which must be in autocommit mode and in UTC; see `connect`."""
        self.connection = connection
        self._months: set[str] = set()
        connection.adapters.register_dumper(_Array, _ArrayDumper)
        # The number of keys decides how they are best compared; a plan made for any number would guess.
        connection.execute("SET plan_cache_mode = force_custom_plan")
        # Nobody who waits for an answer waits for ever.
        connection.execute("SET statement_timeout = '30s'")

    @classmethod
    def connect(cls, url: str | None = None, application: str = "billing-landing") -> Landing:
        """Open a connection of its own; raises `BillingError` where PostgreSQL can't be reached."""
        return cls(database.connect(url, application=application))

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def land(
        self, source: str, facts: Sequence[Fact], rejects: Sequence[Reject], *, settle: Settle | None = None
    ) -> list[Reject]:
        """Land facts and keep rejects in one transaction; return, once it is committed, all that is in quarantine now.

        Each fact's `verdict` says what became of it. `source` is `http`, `file:<name>` or `quarantine`. What comes from
        the quarantine is in it already: `settle` is called in place of keeping rejects there. Deadlocks and
        serialization failures are tried again. An event that PostgreSQL will not store although it was valid is looked
        for by halving and kept in quarantine by itself, so that it cannot stop the others. Raises
        `psycopg.OperationalError` where the outcome is not known: landing the same events again is always safe.
        """
        try:
            return self._land_repeatedly(source, facts, rejects, settle)
        except (psycopg.DataError, psycopg.errors.ProgramLimitExceeded) as error:
            if not facts:
                raise
            if len(facts) == 1:
                return self._land_repeatedly(source, (), [*rejects, _unstorable(facts[0], error)], settle)
            half = len(facts) // 2
            first = self.land(source, facts[:half], rejects, settle=settle)
            return [*first, *self.land(source, facts[half:], (), settle=settle)]

    def prove_commit(self) -> None:
        """Commit something, durably; raises `psycopg.Error` where that is not possible."""
        self.connection.execute(SQL["prove_commit"])

    def forget_months(self) -> None:
        """Look again which months there are: they may have been made in a transaction that was taken back."""
        self._months.clear()

    def _land_repeatedly(
        self, source: str, facts: Sequence[Fact], rejects: Sequence[Reject], settle: Settle | None
    ) -> list[Reject]:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._ensure_months(facts)
                return self._land_once(source, facts, rejects, settle)
            except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure):
                if attempt == ATTEMPTS:
                    raise
                time.sleep(random.uniform(0, 0.02 * attempt))  # noqa: S311 - spreads retries
            except psycopg.errors.CheckViolation:
                # A partition that we knew is gone: it has been archived since.
                if attempt == ATTEMPTS or not self._months:
                    raise
                self._months.clear()
        raise AssertionError("unreachable")

    def _ensure_months(self, facts: Sequence[Fact]) -> None:
        months = {fact.month for fact in facts} - self._months
        if months:
            moments = [datetime.fromisoformat(f"{month}-01T00:00:00+00:00") for month in sorted(months)]
            self.connection.execute(SQL["ensure_months"], {"moments": moments})
            self._months |= months

    def _land_once(
        self, source: str, facts: Sequence[Fact], rejects: Sequence[Reject], settle: Settle | None
    ) -> list[Reject]:
        connection = self.connection
        with connection.transaction():
            recorded_at = database.one(connection, SQL["record_now"])["recorded_at"]
            conflicts = self._claim(facts)
            accepted = [fact for fact in facts if fact.verdict == "accepted"]
            kept = [*rejects, *conflicts]
            batch_id = database.one(
                connection,
                SQL["record_batch"],
                recorded_at=recorded_at,
                source=source,
                accepted=len(accepted),
                duplicates=len(facts) - len(accepted) - len(conflicts),
                quarantined=len(kept),
                first=_datetime(min((fact.moment for fact in accepted), default=None)),
                last=_datetime(max((fact.moment for fact in accepted), default=None)),
            )["batch_id"]
            if accepted:
                end = f"\t{batch_id}\t{recorded_at.isoformat()}\n".encode()
                with connection.cursor().copy(SQL["copy_events"]) as copy:
                    copy.write(end.join([fact.line for fact in accepted]) + end)
            if settle is not None:
                settle(connection, facts, kept)
            elif kept:
                self._quarantine(source, kept, recorded_at)
        return kept

    def _claim(self, facts: Sequence[Fact]) -> list[Reject]:
        """Claim the keys of `facts`, set their verdicts and return the conflicts."""
        if not facts:
            return []
        firsts: dict[tuple[int, bytes], Fact] = {}
        repeats: list[Fact] = []
        for fact in facts:
            fact.verdict = "accepted"
            if firsts.setdefault((fact.team_id, fact.key_digest), fact) is not fact:
                repeats.append(fact)
        unique = list(firsts.values())
        teams, keys, contents, moments = columns_of(unique)
        given = {"teams": _integers(teams), "keys": _uuids(keys), "contents": _uuids(contents)}
        taken = self.connection.execute(SQL["claim_keys"], {**given, "moments": _moments(moments)}).fetchall()
        lost = [unique[row["place"] - 1] for row in taken]
        standing = self._standing_contents(lost) if lost else {}
        for fact in lost:
            same = standing[fact.team_id, fact.key_digest] == fact.content_digest
            fact.verdict = "duplicate" if same else "quarantined"
        # A repetition within this transaction is judged by what its key stands for now, whoever claimed it.
        for fact in repeats:
            identity = fact.team_id, fact.key_digest
            stands = standing.get(identity, firsts[identity].content_digest)
            fact.verdict = "duplicate" if stands == fact.content_digest else "quarantined"
        return [_conflict(fact) for fact in (*lost, *repeats) if fact.verdict == "quarantined"]

    def _standing_contents(self, facts: Sequence[Fact]) -> dict[tuple[int, bytes], bytes]:
        teams, keys, _, _ = columns_of(facts)
        found = database.rows(self.connection, SQL["standing_contents"], teams=_integers(teams), keys=_uuids(keys))
        return {(teams[row["place"] - 1], keys[row["place"] - 1]): row["content_digest"].bytes for row in found}

    def _quarantine(self, source: str, rejects: Sequence[Reject], recorded_at: datetime) -> None:
        held: dict[tuple[int, bytes], tuple[Reject, str, int | None]] = {}
        times: dict[tuple[int, bytes], int] = {}
        for reject in rejects:
            payload, line = reject.origin.payload(reject.index), reject.origin.line(reject.index)
            # A line of a file is a fact of its own; what comes over HTTP is known by what it says.
            place = f"{source}:{line}" if line is not None else ""
            identity = reject.team_id, digest("\0".join((reject.reason, place, payload)).encode())
            held.setdefault(identity, (reject, payload, line))
            times[identity] = times.get(identity, 0) + 1
        self.connection.execute(
            SQL["quarantine"],
            {
                "source": source,
                "recorded_at": recorded_at,
                "teams": _integers([team_id for team_id, _ in held]),
                "digests": _uuids([quarantine_digest for _, quarantine_digest in held]),
                "reasons": [reject.reason for reject, _, _ in held.values()],
                "fields": [reject.field for reject, _, _ in held.values()],
                "messages": [_storable(reject.message) for reject, _, _ in held.values()],
                "lines": [line for _, _, line in held.values()],
                "payloads": [_storable(payload) for _, payload, _ in held.values()],
                "times": list(times.values()),
            },
        )


def _conflict(fact: Fact) -> Reject:
    return Reject(
        index=fact.index,
        origin=fact.origin,
        team_id=fact.team_id,
        reason="conflict",
        field="idempotency_key",
        message=f"The key {fact.key!r} has already counted with other content, which stands.",
        key=fact.key,
        key_derived=fact.key_derived,
    )


def _unstorable(fact: Fact, error: psycopg.Error) -> Reject:
    said = error.diag.message_primary or type(error).__name__
    reason, field, message = "unstorable", None, f"PostgreSQL will not store it: {said}."
    if error.sqlstate == ARCHIVED_MONTH:
        reason, field, message = "archived_month", "time", f"{said}."
    fact.verdict = "quarantined"
    return Reject(fact.index, fact.origin, fact.team_id, reason, field, message, fact.key, fact.key_derived)


def _storable(text: str) -> str:
    """PostgreSQL stores any text that is UTF-8 and holds no character zero."""
    return text.replace("\0", "\\u0000").encode(errors="backslashreplace").decode()


def _datetime(moment: int | None) -> datetime | None:
    return None if moment is None else POSTGRES_EPOCH + timedelta(microseconds=moment)


class _Array:
    """A one-dimensional array in PostgreSQL's binary format; thousands of values cost no object each."""

    def __init__(self, element_type: int, count: int, elements: Iterable[bytes]) -> None:
        dimensions = struct.pack(">ii", count, 1) if count else b""
        self.data = struct.pack(">iiI", 1 if count else 0, 0, element_type) + dimensions + b"".join(elements)


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Any) -> bytes:
        data: bytes = obj.data
        return data


def _integers(values: Sequence[int]) -> _Array:
    pack = struct.Struct(">ii").pack
    return _Array(_INTEGER, len(values), [pack(4, value) for value in values])


def _moments(values: Sequence[int]) -> _Array:
    pack = struct.Struct(">iq").pack
    return _Array(_TIMESTAMPTZ, len(values), [pack(8, value) for value in values])


def _uuids(values: Sequence[bytes]) -> _Array:
    return _Array(_UUID, len(values), [b"\x00\x00\x00\x10" + value for value in values])

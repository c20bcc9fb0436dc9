"""Landing: the one way in which events come into `landing.usage_events`, for the service and for files alike.

One call is one transaction. In it the keys are claimed, in an order that is the same for all writers, by an insert into
a table whose primary key they are; the events are written beside them. So a key counts once, whatever is sent again, by
whom, and at the same time; keys and events commit together.

Claiming is quickest for keys that are new, so that is tried first. Where one has counted before, PostgreSQL refuses the
whole transaction; then, and for a while after, the keys are looked up before those that are new are claimed. Somebody
who claims one of them in between only makes us look again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import psycopg
from psycopg.rows import DictRow

from metering import database, statements
from metering.ingestion import binary
from metering.ingestion.events import Fact, Reject, digest
from metering.ingestion.facts import Facts
from metering.ingestion.group import Group, Places

SQL = statements.beside(__file__, "landing")

Connection = psycopg.Connection[DictRow]
Settle = Callable[[Connection, Sequence[Fact], Sequence[Reject]], None]
"""Says what became of facts and rejects, in the transaction in which the facts land."""

POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
ATTEMPTS = 6
ARCHIVED_MONTH = "22A01"
"""What the empty partition of an archived month says to an event that is new."""
ATTEMPTS_AT_KEYS = 100
"""Each failed attempt means that another writer has claimed keys and committed, so they come to an end."""
FEW = 250
"""Events that land by one statement; of more, COPY saves more than its exchanges cost."""
WARY = 20
"""Transactions that look their keys up first, after one in which keys had counted before."""
_STANDING = np.dtype([("place", ">i4"), ("content", "V16")])


class Landing:
    """A connection on which events land. Not for use by two threads at once."""

    def __init__(self, connection: Connection) -> None:
        """Use `connection`, which must be in autocommit mode and in UTC; see `connect`."""
        self.connection = connection
        self._months: set[str] = set()
        self._wary = 0
        connection.adapters.register_dumper(binary.Array, binary.ArrayDumper)
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
        self, source: str, facts: Facts, rejects: Sequence[Reject], *, settle: Settle | None = None
    ) -> list[Reject]:
        """Land facts and keep rejects in one transaction; return, once it is committed, all that is in quarantine now.

        The facts' `verdicts` say what became of each. `source` is `http`, `file:<name>` or `quarantine`. What comes
        from the quarantine is in it already: `settle` is called in place of keeping rejects there. Deadlocks and
        serialization failures are tried again. An event that PostgreSQL will not store although it was valid is looked
        for by halving and kept in quarantine by itself, so that it cannot stop the others. Raises
        `psycopg.OperationalError` where the outcome is not known: landing the same events again is always safe.
        """
        return self.land_group(source, [facts], rejects, settle=settle)

    def land_group(
        self, source: str, group: Sequence[Facts], rejects: Sequence[Reject], *, settle: Settle | None = None
    ) -> list[Reject]:
        """Land the facts of several origins in one transaction, as `land` does those of one."""
        try:
            return self._land_repeatedly(source, group, rejects, settle)
        except (psycopg.DataError, psycopg.errors.ProgramLimitExceeded) as error:
            if len(group) > 1:
                half = len(group) // 2
                kept = self.land_group(source, group[:half], rejects, settle=settle)
                return [*kept, *self.land_group(source, group[half:], (), settle=settle)]
            if not group or not len(group[0]):
                raise
            facts = group[0]
            if len(facts) == 1:
                facts.verdicts = ["quarantined"]
                return self._land_repeatedly(source, (), [*rejects, _unstorable(facts[0], error)], settle)
            first, second = facts[: len(facts) // 2], facts[len(facts) // 2 :]
            kept = self.land(source, first, rejects, settle=settle)
            kept += self.land(source, second, (), settle=settle)
            facts.verdicts = [fact.verdict for fact in (*first, *second)]
            return kept

    def land_in_steps(self, source: str, facts: Facts, rejects: Sequence[Reject]) -> Generator[None, None, None] | None:
        """Land facts and keep rejects in one transaction, as `land` does, in three steps: so that a writer may write
        its events beside those of another, and claim its keys after the other's.

        The first step opens the transaction: it takes all locks but those of keys, so from then on it waits for nobody
        who could wait for one that opens after it. The second writes the events, the third claims the keys and
        commits. Whoever closes the iterator before takes it all back. None where keys have to be looked up first, which
        is not to be done ahead of anyone. A step raises `psycopg.Error` where that turns out, or where anything else
        is the matter with an event: nothing has landed then, and `land` will do it.
        """
        group = Group([facts])
        if self._wary or group.count <= FEW or group.repeats_itself():
            return None
        return self._steps(source, group, rejects)

    def prove_commit(self) -> None:
        """Commit something, durably; raises `psycopg.Error` where that is not possible."""
        if database.one(self.connection, SQL["prove_commit"])["read_only"]:
            raise psycopg.errors.ReadOnlySqlTransaction("the database is read-only")

    def forget_months(self) -> None:
        """Look again which months there are: they may have been made in a transaction that was taken back."""
        self._months.clear()

    def _land_repeatedly(
        self, source: str, group: Sequence[Facts], rejects: Sequence[Reject], settle: Settle | None
    ) -> list[Reject]:
        together = Group(group)
        attempts = attempts_at_keys = 0
        while True:
            try:
                self._ensure_months(together)
                return self._land_once(source, together, rejects, settle)
            except psycopg.errors.UniqueViolation:
                self._wary = WARY
                attempts_at_keys += 1
                if attempts_at_keys == ATTEMPTS_AT_KEYS:
                    raise
            except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure):
                attempts += 1
                if attempts == ATTEMPTS:
                    raise
                time.sleep(random.uniform(0, 0.02 * attempts))  # noqa: S311 - spreads retries
            except psycopg.errors.CheckViolation:
                # A partition that we knew is gone: it has been archived since.
                attempts += 1
                if attempts == ATTEMPTS or not self._months:
                    raise
                self._months.clear()

    def _ensure_months(self, group: Group) -> None:
        months = group.months() - self._months
        if months:
            moments = [datetime.fromisoformat(f"{month}-01T00:00:00+00:00") for month in sorted(months)]
            self.connection.execute(SQL["ensure_months"], {"moments": moments})
            self._months |= months

    def _land_once(self, source: str, group: Group, rejects: Sequence[Reject], settle: Settle | None) -> list[Reject]:
        plain = not (rejects or settle or self._wary or group.repeats_itself())
        if plain and 0 < group.count <= FEW and not self.connection.info.transaction_status:
            self._land_few(source, group)
            return []
        with self.connection.transaction():
            if group.count and (self._wary or group.repeats_itself()):
                self._judge(group)
            else:
                group.accept_all()
            conflicts = [_conflict(fact) for fact in group.conflicting()]
            kept = [*rejects, *conflicts]
            chosen = group.accepted()
            batch = self._open_batch(source, group, chosen, len(kept), len(conflicts))
            if len(chosen):
                self._copy(SQL["copy_keys"], group.key_rows())
                self._copy(SQL["copy_events"], self._event_rows(group, chosen, batch))
            group.tell()
            if settle is not None:
                settle(self.connection, [fact for facts in group.parts for fact in facts], kept)
            elif kept:
                self._quarantine(source, kept, batch["recorded_at"])
        return kept

    def _steps(self, source: str, group: Group, rejects: Sequence[Reject]) -> Generator[None, None, None]:
        group.accept_all()
        chosen = group.accepted()
        keys = group.key_rows()
        self._ensure_months(group)
        try:
            with self.connection.transaction():
                self.connection.execute(SQL["hold_tables"])
                batch = self._open_batch(source, group, chosen, len(rejects))
                yield
                self._copy(SQL["copy_events"], self._event_rows(group, chosen, batch))
                yield
                self._copy(SQL["copy_keys"], keys)
                if rejects:
                    self._quarantine(source, rejects, batch["recorded_at"])
        except psycopg.errors.UniqueViolation:
            self._wary = WARY
            raise
        except psycopg.errors.CheckViolation:
            self._months.clear()
            raise
        group.tell()

    def _open_batch(self, source: str, group: Group, chosen: Places, quarantined: int, conflicts: int = 0) -> DictRow:
        moments = group.moments[chosen]
        return database.one(
            self.connection,
            SQL["open_batch"],
            source=source,
            accepted=len(chosen),
            duplicates=group.count - len(chosen) - conflicts,
            quarantined=quarantined,
            first=_datetime(int(moments.min())) if len(chosen) else None,
            last=_datetime(int(moments.max())) if len(chosen) else None,
        )

    @staticmethod
    def _event_rows(group: Group, chosen: Places, batch: DictRow) -> bytes | memoryview:
        recorded_at = (batch["recorded_at"] - POSTGRES_EPOCH) // timedelta(microseconds=1)
        return group.event_rows(chosen, batch["batch_id"], recorded_at)

    def _land_few(self, source: str, group: Group) -> None:
        """Land events that are all new, by one exchange with PostgreSQL; a key that has counted refuses them all."""
        first, last = _datetime(int(group.moments.min())), _datetime(int(group.moments.max()))
        given = {"source": source, "accepted": group.count, "first": first, "last": last, **group.parameters()}
        self.connection.execute(SQL["land_few"], given, prepare=True)
        group.accept_all()
        group.tell()

    def _copy(self, statement: str, rows: bytes | memoryview) -> None:
        with self.connection.cursor().copy(statement) as copy:
            copy.write(binary.BEGIN)
            copy.write(rows)
            copy.write(binary.END)

    def _judge(self, group: Group) -> None:
        """Look up which keys have counted before, and with what; tell what becomes of each event."""
        self._wary = max(self._wary - 1, 0)
        given = {"teams": binary.integer_array(group.team_ids), "keys": binary.uuid_array(group.key_digests)}
        row = self.connection.execute(SQL["standing_keys"], given, binary=True).fetchone()
        assert row is not None
        standing = np.frombuffer(row["standing"], _STANDING)
        if len(standing):
            self._wary = WARY
        group.judge(standing["place"].astype(np.int64), standing["content"])

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
                "teams": binary.integer_array(binary.numbers([team_id for team_id, _ in held])),
                "digests": binary.uuid_array(binary.digests([known for _, known in held])),
                "reasons": [reject.reason for reject, _, _ in held.values()],
                "fields": [reject.field and _storable(reject.field) for reject, _, _ in held.values()],
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
    return Reject(fact.index, fact.origin, fact.team_id, reason, field, message, fact.key, fact.key_derived)


def _storable(text: str) -> str:
    """PostgreSQL stores any text that is UTF-8 and holds no character zero."""
    return text.replace("\0", "\\u0000").encode(errors="backslashreplace").decode()


def _datetime(moment: int) -> datetime:
    return POSTGRES_EPOCH + timedelta(microseconds=moment)

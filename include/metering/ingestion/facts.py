"""Valid events of one origin, column by column: an object for each of a hundred thousand a second would be too dear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, overload

from numpy.typing import NDArray

from metering.ingestion.events import VERDICTS, Fact, Origin, Verdict


class Rows(Protocol):
    """The last columns of many rows for COPY, packed; see `Fact.row`."""

    def behind(self, heads: NDArray[Any], places: NDArray[Any]) -> memoryview:
        """The rows of these places, each behind its head."""

    def __getitem__(self, place: int) -> bytes: ...


COLUMNS = ("indexes", "team_ids", "keys", "derived", "key_digests", "content_digests", "moments", "rows")


class Facts(Sequence[Fact]):
    """Valid events, ready to land. As a sequence it makes each `Fact` when it is asked for."""

    __slots__ = ("origin", *COLUMNS, "verdicts")

    def __init__(self, origin: Origin) -> None:
        """Begin without events. All columns are of one length; their meanings are those of a `Fact`'s fields.

        A column is a list, to which may be added, or an array, where many were made at once: of numpy, or `keys` of
        Arrow and `rows` of `Rows`.
        """
        self.origin = origin
        self.indexes: Any = []
        self.team_ids: Any = []
        self.keys: Any = []
        self.derived: Any = []
        self.key_digests: Any = []
        self.content_digests: Any = []
        self.moments: Any = []
        self.rows: Any = []
        self.verdicts: list[Verdict] | None = None
        """What became of each, once committed; None: all were accepted."""

    def add(self, fact: Fact) -> None:
        """Add one more."""
        self.indexes.append(fact.index)
        self.team_ids.append(fact.team_id)
        self.keys.append(fact.key)
        self.derived.append(fact.key_derived)
        self.key_digests.append(fact.key_digest)
        self.content_digests.append(fact.content_digest)
        self.moments.append(fact.moment)
        self.rows.append(fact.row)

    def tally(self) -> dict[Verdict, int]:
        """How many there are of each verdict."""
        if self.verdicts is None:
            return {"accepted": len(self), "duplicate": 0, "quarantined": 0}
        return {verdict: self.verdicts.count(verdict) for verdict in VERDICTS}

    def __len__(self) -> int:
        return len(self.indexes)

    @overload
    def __getitem__(self, place: int) -> Fact: ...
    @overload
    def __getitem__(self, place: slice) -> Facts: ...
    def __getitem__(self, place: int | slice) -> Fact | Facts:
        if isinstance(place, slice):
            part = Facts(self.origin)
            for name in COLUMNS:
                setattr(part, name, getattr(self, name)[place])
            part.verdicts = None if self.verdicts is None else self.verdicts[place]
            return part
        return Fact(
            index=int(self.indexes[place]),
            origin=self.origin,
            team_id=int(self.team_ids[place]),
            key=str(self.keys[place]),
            key_derived=bool(self.derived[place]),
            key_digest=bytes(self.key_digests[place]),
            content_digest=bytes(self.content_digests[place]),
            moment=int(self.moments[place]),
            row=self.rows[place],
            verdict="accepted" if self.verdicts is None else self.verdicts[place],
        )

"""Valid events of one origin, column by column: an object for each of a hundred thousand a second would be too dear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from metering.ingestion.events import VERDICTS, Fact, Origin, Verdict


class Facts(Sequence[Fact]):
    """Valid events, ready to land. As a sequence it makes each `Fact` when it is asked for."""

    __slots__ = (
        *("origin", "indexes", "team_ids", "keys", "derived", "key_digests", "content_digests"),
        *("moments", "rows", "verdicts"),
    )

    def __init__(self, origin: Origin) -> None:
        """Begin without events. All columns are of one length; their meanings are those of a `Fact`'s fields."""
        self.origin = origin
        self.indexes: list[int] = []
        self.team_ids: list[int] = []
        self.keys: list[str] = []
        self.derived: list[bool] = []
        self.key_digests: list[bytes] = []
        self.content_digests: list[bytes] = []
        self.moments: list[int] = []
        self.rows: list[bytes] = []
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
            for name in self.__slots__[1:-1]:
                setattr(part, name, getattr(self, name)[place])
            part.verdicts = None if self.verdicts is None else self.verdicts[place]
            return part
        return Fact(
            index=self.indexes[place],
            origin=self.origin,
            team_id=self.team_ids[place],
            key=self.keys[place],
            key_derived=self.derived[place],
            key_digest=self.key_digests[place],
            content_digest=self.content_digests[place],
            moment=self.moments[place],
            row=self.rows[place],
            verdict="accepted" if self.verdicts is None else self.verdicts[place],
        )

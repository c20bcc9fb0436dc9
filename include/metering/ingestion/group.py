"""The facts of several origins that land in one transaction, column by column, and what is to become of each."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metering.ingestion import binary
from metering.ingestion.events import VERDICTS, Fact
from metering.ingestion.facts import Facts, Rows

_ACCEPTED, _DUPLICATE, _QUARANTINED = range(3)
_EPOCH = np.datetime64("2000-01-01T00:00:00", "us")
_TEAM_BITS = 24

# The columns of `Fact.row`.
_COLUMNS = {
    **{"keys": binary.TEXT, "names": binary.TEXT, "units": binary.TEXT, "quantities": binary.NUMERIC},
    **{"subjects": binary.TEXT, "properties": binary.JSONB},
}

Places = NDArray[np.intp]


class Group:
    """Facts that land together. A fact's place is its number among all of them, from 0."""

    def __init__(self, parts: Sequence[Facts]) -> None:
        """Gather the facts of `parts`, in their order."""
        self.parts = parts
        self._ends = list(accumulate(map(len, parts)))
        self.count = self._ends[-1] if parts else 0
        self.team_ids = binary.numbers(_joined(parts, "team_ids"))
        self.moments = binary.numbers(_joined(parts, "moments"))
        self.key_digests = binary.digests(_joined(parts, "key_digests"))
        self.content_digests = binary.digests(_joined(parts, "content_digests"))
        self._rows: list[bytes] | Rows = _joined(parts, "rows")
        self._high, self._low = binary.halves(self.key_digests)
        self._by_key = self._sorted_by_key()
        self._verdicts = np.zeros(self.count, np.int8)

    def months(self) -> set[str]:
        """The months (UTC) in which they occurred, such as 2026-10."""
        ends = np.array([self.moments.min(), self.moments.max()]) if self.count else self.moments
        months = self._months(ends)
        return months if len(months) < 2 else self._months(self.moments)

    def repeats_itself(self) -> bool:
        """Whether two of them have the same key."""
        return not bool(self._firsts().all())

    def accept_all(self) -> None:
        """No key has counted before."""
        self._verdicts[:] = _ACCEPTED

    def judge(self, places: Places, contents: binary.Digests) -> None:
        """The keys of these places have counted before, with these contents; the others are new.

        What comes again within the group is judged by what its key stands for: by what counted before, else by the
        first of them.
        """
        starts = self._firsts()
        first = np.empty(self.count, np.intp)
        first[self._by_key] = self._by_key[starts][np.cumsum(starts) - 1]
        high, low = (half[first] for half in binary.halves(self.content_digests))
        high[places], low[places] = binary.halves(contents)
        own_high, own_low = binary.halves(self.content_digests)
        self._verdicts = np.where((own_high == high) & (own_low == low), _DUPLICATE, _QUARANTINED).astype(np.int8)
        new = first == np.arange(self.count)
        new[places] = False
        self._verdicts[new] = _ACCEPTED

    def conflicting(self) -> list[Fact]:
        """Those whose key stands for something else."""
        return [self._fact(place) for place in np.flatnonzero(self._verdicts == _QUARANTINED).tolist()]

    def accepted(self) -> Places:
        """The places of those that count, in the order of the index on events: by team and time."""
        order: Places = np.lexsort((self.moments, self.team_ids))
        chosen: Places = order[self._verdicts[order] == _ACCEPTED]
        return chosen

    def key_rows(self) -> bytes:
        """The keys of those that count, for COPY, in the order of all writers."""
        chosen = self._by_key[self._verdicts[self._by_key] == _ACCEPTED]
        return binary.key_rows(
            self.team_ids[chosen], self.key_digests[chosen], self.content_digests[chosen], self.moments[chosen]
        )

    def event_rows(self, chosen: Places, batch_id: int, recorded_at: int) -> bytes | memoryview:
        """The events at these places, for COPY; `recorded_at` in microseconds since 2000-01-01 UTC."""
        heads = binary.event_heads(
            self.team_ids[chosen], self.moments[chosen], self.key_digests[chosen], batch_id, recorded_at
        )
        rows = self._rows
        if not isinstance(rows, list):
            return rows.behind(heads, chosen)
        return binary.event_rows(heads, [rows[place] for place in chosen.tolist()])

    def parameters(self) -> dict[str, binary.Array]:
        """All of them as parameters of one statement, in the order of all writers; for when all are accepted."""
        chosen = self._by_key
        fields = binary.columns_of([self._rows[place] for place in chosen.tolist()], len(_COLUMNS))
        columns = zip(_COLUMNS.items(), fields, strict=True)
        return {
            "teams": binary.integer_array(self.team_ids[chosen]),
            "digests": binary.uuid_array(self.key_digests[chosen]),
            "contents": binary.uuid_array(self.content_digests[chosen]),
            "moments": binary.moment_array(self.moments[chosen]),
            **{name: binary.field_array(kind, column) for (name, kind), column in columns},
        }

    def tell(self) -> None:
        """Write the verdicts to the parts. They hold once the transaction is committed."""
        if not self._verdicts.any():
            for part in self.parts:
                part.verdicts = None
            return
        verdicts = [VERDICTS[verdict] for verdict in self._verdicts.tolist()]
        for part, end in zip(self.parts, self._ends, strict=True):
            part.verdicts = verdicts[end - len(part) : end]

    def _sorted_by_key(self) -> Places:
        """By key, those of one key in the order in which they came: the order in which all writers claim."""
        # One number to sort by is several times as quick; those that it can't tell apart are rare, or of one key.
        if self.count and self.team_ids.min() >= 0 and self.team_ids.max() < 1 << _TEAM_BITS:
            rough = (self.team_ids.astype(np.uint64) << np.uint64(64 - _TEAM_BITS)) | (
                self._high >> np.uint64(_TEAM_BITS)
            )
            order: Places = np.argsort(rough)
            ordered = rough[order]
            if (ordered[1:] != ordered[:-1]).all():
                return order
        order = np.lexsort((self._low, self._high, self.team_ids))
        return order

    def _firsts(self) -> NDArray[np.bool_]:
        """For each place of the order by key, whether it is the first of its key."""
        firsts = np.ones(self.count, np.bool_)
        for column in (self.team_ids, self._high, self._low):
            ordered = column[self._by_key]
            changes = ordered[1:] != ordered[:-1]
            firsts[1:] = changes if column is self.team_ids else firsts[1:] | changes
        return firsts

    def _fact(self, place: int) -> Fact:
        part = bisect_right(self._ends, place)
        return self.parts[part][place - self._ends[part] + len(self.parts[part])]

    @staticmethod
    def _months(moments: binary.Numbers) -> set[str]:
        return {str(month) for month in np.unique((_EPOCH + moments.astype("timedelta64[us]")).astype("datetime64[M]"))}


def _joined(parts: Sequence[Facts], column: str) -> Any:
    """A column of all parts."""
    if len(parts) == 1:
        return getattr(parts[0], column)
    return [*chain.from_iterable(getattr(part, column) for part in parts)]

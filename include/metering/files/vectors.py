"""The quick way of files: written events as arrays, of which thousands are judged without an object for any.

What many rows say (a team, a quantity, properties) is judged once for all of them, by what judges the events of
requests (`metering.ingestion.quick`). As there, only what is surely good passes; all else is left to `Judge.fact`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from metering.files.arrays import contents, digests, fixed, joined, lengths, packed, with_lengths
from metering.files.coded import Coded, Mixed, rows_together, together
from metering.files.table import Column
from metering.ingestion import binary, times
from metering.ingestion.events import MAX_KEY, derived_key
from metering.ingestion.facts import Facts
from metering.ingestion.quick import (
    after_moment,
    amounts_depend,
    find_amounts,
    find_forms,
    find_properties,
    find_team_ids,
    may_not_count,
)
from metering.ingestion.written import Written

if TYPE_CHECKING:
    from metering.ingestion.validation import Judge

_HALF = re.compile("[\ud800-\udfff]")


class Packed:
    """The last columns of rows for COPY in one array; see `Rows`."""

    def __init__(self, rows: pa.BinaryArray) -> None:
        """Hold `rows`, none of which is null."""
        self.rows = rows

    def behind(self, heads: NDArray[Any], places: NDArray[Any]) -> memoryview:
        """The rows of these places, each behind its head."""
        return contents(joined(fixed(heads), self.rows.take(pa.array(places))))

    def __getitem__(self, place: int | slice) -> Any:
        """The bytes of a row, or a part of the rows."""
        return Packed(self.rows[place]) if isinstance(place, slice) else self.rows[place].as_py()


@dataclass(frozen=True, slots=True)
class Vectors:
    """The fields of many events; see `events.Event`."""

    namings: Coded
    """Event, meter and unit."""
    teams: Coded
    quantities: Coded
    subjects: Coded
    properties: Coded
    """JSON, not yet decoded; empty where left out."""
    keys: pa.StringArray | None
    """None where all are left out; null where one is."""
    moments: NDArray[np.int64] | None
    """In microseconds since 2000-01-01 UTC, `times.UNREAD` where in doubt; None where all are left out."""

    careful: NDArray[np.bool_] | None = None
    """Which events are to be looked at by themselves, whatever is said of them here."""

    def __len__(self) -> int:
        return len(self.namings.codes)

    @classmethod
    def of(cls, written: Written) -> Vectors | None:
        """The same events in arrays; None where their columns are of several kinds."""
        left_out = written.times.count(None)
        if left_out not in (0, len(written)) or any(written.observed):
            return None
        try:
            namings = [Coded.of(column) for column in (written.events, written.meters, written.units)]
            teams, quantities, subjects, properties = map(
                Coded.of, (written.teams, written.quantities, written.subjects, written.properties)
            )
            keys = pa.array(written.keys, pa.string())
            moments = None if left_out else Column(pa.array(written.times, pa.string())).moments(in_utc=False)
        except (Mixed, pa.ArrowException, UnicodeEncodeError):  # or half a character
            return None
        if moments is None and not left_out:
            moments = np.array(times.read(written.times), np.int64)
        return cls(
            rows_together(namings),
            teams,
            quantities,
            subjects,
            properties,
            keys=None if keys.null_count == len(keys) else keys,
            moments=moments,
        )

    def take(self, rows: NDArray[np.int64]) -> Vectors:
        """Only these rows."""
        return Vectors(
            self.namings.take(rows),
            self.teams.take(rows),
            self.quantities.take(rows),
            self.subjects.take(rows),
            self.properties.take(rows),
            keys=None if self.keys is None else self.keys.take(pa.array(rows)),
            moments=None if self.moments is None else self.moments[rows],
        )

    def sort(self, judge: Judge, careful: Callable[[int], None], facts: Facts) -> None:
        """Make `facts` of them; `careful`, called with the index of a doubtful one, adds it to `facts` or does not."""
        found = _Found(judge, self)
        if found.good.all():
            _fill(facts, found.columns(self, np.arange(len(self))))
            return
        for index in np.flatnonzero(~found.good).tolist():
            careful(index)
        rows = np.flatnonzero(found.good)
        if len(rows):
            _fill(facts, _merged(found.columns(self.take(rows), rows), facts))


class _Found:
    """What was found out about the values of events, and which events are surely good."""

    def __init__(self, judge: Judge, vectors: Vectors) -> None:
        self._arrived = judge.arrived
        self._team_ids = find_team_ids(judge, vectors.teams.values)
        self._forms = find_forms(judge, vectors.namings.values)
        self._amounts = find_amounts(judge, vectors.quantities.values)
        codes, (forms, said) = together((vectors.namings, vectors.properties))
        self._properties = find_properties(
            judge, [self._forms[form] for form in forms], [vectors.properties.values[each] for each in said]
        )
        self._property_codes = codes
        self.good = np.array([found is not None for found in self._properties], np.bool_)[codes]
        for column, values in (
            (vectors.teams, self._team_ids),
            (vectors.namings, self._forms),
            (vectors.quantities, self._amounts),
            (vectors.subjects, [_storable(subject) for subject in vectors.subjects.values]),
        ):
            if not all(values):
                self.good &= column.spread(map(bool, values), np.bool_)
        if vectors.careful is not None:
            self.good &= ~vectors.careful
        if amounts_depend(judge):
            pairs, (forms, amounts) = together((vectors.namings, vectors.quantities))
            both = zip(amounts.tolist(), forms.tolist(), strict=True)
            wrong = [may_not_count(self._amounts[amount], self._forms[form]) for amount, form in both]
            self.good &= ~np.array(wrong, np.bool_)[pairs]
        if vectors.moments is not None:
            self.good &= (vectors.moments >= judge.earliest) & (vectors.moments <= judge.latest)
        self._check_keys(vectors)

    def _check_keys(self, vectors: Vectors) -> None:
        """Doubt keys that are empty, may be too long, or hold a zero, and events with neither a key nor a time."""
        keys = vectors.keys
        if keys is None or keys.null_count:
            given = (
                np.zeros(len(vectors), np.bool_) if keys is None else pc.is_valid(keys).to_numpy(zero_copy_only=False)
            )
            if vectors.moments is None:
                self.good &= given
        if keys is None:
            return
        sizes = lengths(keys)
        if len(sizes) and (sizes.min() < 1 or sizes.max() > MAX_KEY):
            self.good &= (sizes <= MAX_KEY) & (sizes > 0 if not keys.null_count else (sizes > 0) | ~given)
        if b"\0" in contents(keys).tobytes():
            self.good &= np.array([key is None or "\0" not in key for key in keys.to_pylist()], np.bool_)

    def columns(self, vectors: Vectors, rows: NDArray[np.int64]) -> dict[str, Any]:
        """The columns of facts of these events, all of which are good and stand in these rows."""
        count = len(rows)
        forms, amounts = self._forms, self._amounts
        codes = self._property_codes if len(self._property_codes) == count else self._property_codes[rows]
        held = Coded(codes, self._properties)
        moments = np.full(count, self._arrived, np.int64) if vectors.moments is None else vectors.moments
        said = b"null" if vectors.moments is None else pc.cast(pa.array(moments), pa.string()).view(pa.binary())
        subjects = vectors.subjects.values
        texts = joined(
            vectors.namings.spread_bytes(form.before_quantity.encode() if form else b"" for form in forms),
            vectors.quantities.spread_bytes(amount.text.encode() if amount else b"" for amount in amounts),
            vectors.namings.spread_bytes(form.before_moment.encode() if form else b"" for form in forms),
            said if count else b"",
            vectors.subjects.spread_bytes(after_moment(each).encode() if _storable(each) else b"" for each in subjects),
            held.spread_bytes(each.text.encode() if each else b"" for each in self._properties),
            packed([b""] * count),
        )
        content_digests = digests(texts)
        keys, derived = vectors.keys, np.zeros(count, np.bool_)
        if keys is None or keys.null_count:
            given = [None] * count if keys is None else keys.to_pylist()
            derived = np.array([key is None for key in given], np.bool_)
            keys = pa.array(
                [
                    derived_key(bytes(content)) if key is None else key
                    for key, content in zip(given, content_digests, strict=True)
                ],
                pa.string(),
            )
        rows_of = joined(
            *with_lengths(keys),
            vectors.namings.spread_bytes(form.fields if form else b"" for form in forms),
            vectors.quantities.spread_bytes(amount.field if amount else b"" for amount in amounts),
            vectors.subjects.spread_bytes(binary.text_field(each) if _storable(each) else b"" for each in subjects),
            held.spread_bytes(each.field if each else b"" for each in self._properties),
        )
        return {
            "indexes": rows,
            "team_ids": vectors.teams.spread([each or 0 for each in self._team_ids], np.int64),
            "keys": keys,
            "derived": derived,
            "key_digests": digests(keys),
            "content_digests": content_digests,
            "moments": moments,
            "rows": Packed(rows_of),
        }


def _storable(subject: str | None) -> bool:
    return subject is None or (len(subject) <= MAX_KEY and "\0" not in subject and not _HALF.search(subject))


def _fill(facts: Facts, columns: dict[str, Any]) -> None:
    for name, column in columns.items():
        setattr(facts, name, column)


def _merged(columns: dict[str, Any], facts: Facts) -> dict[str, Any]:
    """These columns and those of `facts`, in the order of their indexes."""
    if not len(facts):
        return columns
    both = {name: [columns[name], getattr(facts, name)] for name in columns if name not in ("keys", "rows")}
    for name in ("key_digests", "content_digests"):
        both[name][1] = binary.digests(both[name][1])
    whole = {name: np.concatenate(parts) for name, parts in both.items()}
    order = np.argsort(whole["indexes"])
    places = pa.array(order)
    keys = pa.concat_arrays([columns["keys"], pa.array(facts.keys, pa.string())])
    rows = pa.concat_arrays([columns["rows"].rows, packed(facts.rows)])
    return {
        **{name: column[order] for name, column in whole.items()},
        "keys": keys.take(places),
        "rows": Packed(rows.take(places)),
    }

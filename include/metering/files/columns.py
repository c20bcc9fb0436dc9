"""The quick way from rows to events: column by column, for what a row by itself would cost too much.

It makes the columns that decoding the body of a request makes, too, and `metering.ingestion.quick` takes them on. Of
what it is not sure it makes nothing that could pass there; then the row is read by `Mapping.reader`, which alone says
what is wrong. A property test holds the one to the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import islice, repeat
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from metering.files.arrays import contents, digests, fixed, joined, lengths
from metering.files.coded import Coded, together
from metering.files.mapping import Hashed, Source, Wrong, escaped, property_of
from metering.files.mapping import Mapping as Map
from metering.files.table import Table
from metering.files.vectors import Vectors
from metering.ingestion import times
from metering.ingestion.catalog import as_text
from metering.ingestion.events import Malformed, to_json
from metering.ingestion.written import Written

REMEMBERED = 20_000
_WRONG = b"!"  # no JSON

Columns = Mapping[str, Sequence[Any]]
"""The values of each column that the map names: texts, or what JSON or Parquet have; None or "" where empty."""


class QuickMap:
    """A map, made ready for whole columns. Not for use by two threads at once."""

    def __init__(self, mapping: Map, textual: bool) -> None:
        """Of `mapping`; `textual`: all values are texts, so that those that are equal say the same."""
        self._map, self._textual = mapping, textual
        self._properties: dict[tuple[Any, ...], bytes] = {}
        self._teams: dict[tuple[Any, ...], str | None] = {}

    def written(self, columns: Columns, count: int, careful: Collection[int] = ()) -> Written:
        """The fields of `count` rows; nothing is made of those that are to be looked at carefully."""
        mapping = self._map
        events = [*islice(self._texts(mapping.event, columns), count)]
        meters = [*islice(self._texts(mapping.meter, columns), count)]
        for index in careful:
            events[index] = meters[index] = None
        rest: list[Iterable[Any]] = [
            self._team_keys(columns),
            self._quantities(columns),
            self._texts(mapping.unit, columns),
            self._keys(columns),
            self._times(columns),
            self._texts(mapping.subject, columns),
            self._raw_properties(columns),
            repeat(None),
        ]
        # What is the same for all rows is repeated without end.
        return Written(events, meters, *([*islice(column, count)] for column in rest))

    def vectors(self, table: Table, count: int, careful: NDArray[np.bool_] | None = None) -> Vectors | None:
        """The fields of `count` rows, which stand in columns of Arrow; None where Arrow can't take them.

        `careful`: which rows are to be looked at by themselves.
        """
        mapping = self._map

        def coded(sources: Iterable[Source | None], made: Callable[[Columns], Iterable[Any]]) -> Coded:
            return self._coded([source.column for source in sources if source and source.column], made, table, count)

        def naming(columns: Columns) -> Iterable[Any]:
            parts = (self._texts(source, columns) for source in (mapping.event, mapping.meter, mapping.unit))
            return zip(*parts)  # noqa: B905 - what is the same for all rows repeats without end

        teams = mapping.team.hash_of or ([mapping.team.column] if mapping.team.column else [])
        try:
            return Vectors(
                coded((mapping.event, mapping.meter, mapping.unit), naming),
                self._coded(teams, self._team_keys, table, count),
                coded((mapping.quantity,), self._quantities),
                coded((mapping.subject,), lambda columns: self._texts(mapping.subject, columns)),
                coded(mapping.properties.values(), self._raw_properties),
                self._key_texts(table, count),
                self._moments(table),
                careful,
            )
        except (pa.ArrowException, UnicodeEncodeError, _Odd):
            return None

    def _coded(self, names: Iterable[str], made: Callable[[Columns], Iterable[Any]], table: Table, count: int) -> Coded:
        """What is made of these columns, once for all rows in which they say the same."""
        names = [*dict.fromkeys(names)]
        if not names:
            return Coded.constant(next(iter(made({}))), count)
        columns = [table[name].coded for name in names]
        if any(isinstance(value, Malformed) for column in columns for value in column.values):
            raise _Odd
        codes, codes_of = (columns[0].codes, None) if len(columns) == 1 else together(columns)
        said = {
            name: column.values if codes_of is None else column.spread_values(codes_of[place])
            for place, (name, column) in enumerate(zip(names, columns, strict=True))
        }
        return Coded(codes, [*islice(made(said), len(said[names[0]]))])

    def _key_texts(self, table: Table, count: int) -> pa.StringArray | None:
        """The key of each row; None where the map gives none."""
        key, prefix = self._map.key, self._map.key_prefix
        if key is None:
            return None
        names = key.hash_of if isinstance(key, Hashed) else (key.column,) if isinstance(key, Source) else key
        if names == (None,):
            return pa.array([*islice(self._keys({}), count)], pa.string())
        columns = [table[str(name)] for name in names]
        words = [column.words for column in columns]
        if all(each is not None for each in words):
            if not isinstance(key, Source):
                whole = _joined("", [_escaped(part) for part in words])
                return _joined(prefix, [_hashed(whole) if isinstance(key, Hashed) else whole])
            if not count or lengths(words[0]).min():
                return _joined(prefix, words)
        if any(isinstance(value, Malformed) for column in columns for value in column.values):
            raise _Odd
        listed = {str(name): column.values for name, column in zip(names, columns, strict=True)}
        return pa.array([*self._keys(listed)], pa.string())

    def _moments(self, table: Table) -> NDArray[np.int64] | None:
        """When each row occurred; None where the map gives no time."""
        time = self._map.time
        if time is None:
            return None
        column = table[time.column]
        found = column.moments(time.zone == "UTC")
        if found is not None:
            return found
        if any(isinstance(value, Malformed) for value in column.values):
            raise _Odd
        return np.array(times.read([*self._times({time.column: column.values})]), np.int64)

    def _texts(self, source: Source | None, columns: Columns) -> Iterable[str | None]:
        if source is None:
            return repeat(None)
        if source.column is None:
            return repeat(as_text(source.value) or None)
        return [text or None for text in self._column(source.column, columns)]

    def _column(self, name: str, columns: Columns) -> Sequence[str | None]:
        values = columns[name]
        return values if self._textual else [as_text(value) for value in values]

    def _team_keys(self, columns: Columns) -> Iterable[str | None]:
        team = self._map.team
        if team.hash_of is not None:
            return [self._hashed_team(row) for row in zip(*(columns[name] for name in team.hash_of), strict=True)]
        if team.column is None:
            return repeat(f"{team.prefix}{team.value}" if team.value else None)
        return [f"{team.prefix}{text}" if text else None for text in self._column(team.column, columns)]

    def _hashed_team(self, row: tuple[Any, ...]) -> str | None:
        found = self._teams.get(row) if self._textual else None
        if found is None:
            found = self._map.team.of(dict(zip(self._map.team.hash_of or (), row, strict=True)))
            if self._textual:
                _remember(self._teams, row, found)
        return found

    def _quantities(self, columns: Columns) -> Iterable[Any]:
        source = self._map.quantity
        if source.column is not None:
            return columns[source.column]
        return repeat(None if isinstance(source.value, bool) else source.value)

    def _keys(self, columns: Columns) -> Iterable[str | None]:
        key, prefix = self._map.key, self._map.key_prefix
        if key is None:
            return repeat(None)
        if isinstance(key, Source):
            if key.column is None:
                return repeat(f"{prefix}{as_text(key.value)}" if key.value != "" else None)
            return [f"{prefix}{text}" if text else None for text in self._column(key.column, columns)]
        names = key.hash_of if isinstance(key, Hashed) else key
        parts = [[escaped(text) if text else "" for text in self._column(name, columns)] for name in names]
        joined = [",".join(row) for row in zip(*parts, strict=True)]
        if isinstance(key, Hashed):
            joined = [hashlib.sha256(text.encode()).hexdigest()[:32] for text in joined]
        return [prefix + text for text in joined] if prefix else joined

    def _times(self, columns: Columns) -> Iterable[str | None]:
        time = self._map.time
        if time is None:
            return repeat(None)
        in_utc = time.zone == "UTC"
        column = self._column(time.column, columns)
        if {text and text[10:11] + text[-1:] for text in column} == {"TZ"}:
            return column
        # An empty time is wrong, while one that is not given is the time of arrival.
        return [_shaped(text, in_utc) if text else "" for text in column]

    def _raw_properties(self, columns: Columns) -> Iterable[bytes]:
        sources = self._map.properties.values()
        values = [repeat(source.value) if source.column is None else columns[source.column] for source in sources]
        if all(source.column is None for source in sources):
            return repeat(self._json(tuple(source.value for source in sources)))
        rows = zip(*values)  # noqa: B905 - a constant repeats without end
        if not self._textual:
            return map(self._json, rows)
        known = self._properties
        return [known.get(row) or _remember(known, row, self._json(row)) for row in rows]

    def _json(self, row: tuple[Any, ...]) -> bytes:
        properties = {}
        for (name, source), value in zip(self._map.properties.items(), row, strict=True):
            try:
                found = property_of(name, source, None if value == "" else value)
            except Wrong:
                return _WRONG
            if found is not None:
                properties[name] = found
        return to_json(properties)


class _Odd(Exception):
    """A row holds what is no text, number or truth."""


def _escaped(texts: pa.StringArray) -> pa.StringArray:
    """The same as `escaped` does."""
    for sign in ("\\", ","):
        if sign.encode() in contents(texts).tobytes():
            texts = pc.replace_substring(texts, sign, f"\\{sign}")
    return texts


def _hashed(texts: pa.StringArray) -> pa.StringArray:
    """What `Hashed` makes of each text: the first 32 digits of its SHA-256."""
    digits = digests(texts).tobytes().hex().encode()
    return fixed(np.frombuffer(digits, "V32")).view(pa.string())


def _joined(prefix: str, parts: Sequence[pa.StringArray]) -> pa.StringArray:
    """The texts of each row with commas between them, behind a prefix."""
    if len(parts) == 1 and not prefix:
        return parts[0]
    comma = [each for part in parts for each in (b",", part.view(pa.binary()))][1:]
    return joined(prefix.encode(), *comma).view(pa.string())


def _shaped(text: str, in_utc: bool) -> str:
    """A time as RFC 3339 where that is sure, else as it stands."""
    between, end = text[10:11], text[-1:]
    if between not in (" ", "T"):
        return text
    if end == "Z":
        return text if between == "T" else f"{text[:10]}T{text[11:]}"
    # Digits after the microsecond are cut off.
    after = text[26:]
    if in_utc and end.isdigit() and "+" not in text and "-" not in text[10:] and (not after or _digits(after)):
        return f"{text[:10]}T{text[11:26]}Z"
    return text


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _remember(known: dict[Any, Any], row: tuple[Any, ...], found: Any) -> Any:
    if len(known) >= REMEMBERED:
        known.clear()
    known[row] = found
    return found

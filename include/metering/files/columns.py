"""The quick way from rows to events: column by column, for what a row by itself would cost too much.

It makes the columns that decoding the body of a request makes, too, and `metering.ingestion.quick` takes them on. Of
what it is not sure it makes nothing that could pass there; then the row is read by `Mapping.reader`, which alone says
what is wrong. A property test holds the one to the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice, repeat
from typing import Any

from metering.files.mapping import Hashed, Source, Wrong, escaped, property_of
from metering.files.mapping import Mapping as Map
from metering.ingestion.catalog import as_text
from metering.ingestion.events import to_json
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

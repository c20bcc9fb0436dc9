"""Usage from a file of somebody's own, and a pass of its own over that file that says what its bills must come to.

The pass shares nothing with the import but the file, the map's meaning and the catalog: it reads rows with Python's own
readers, counts the first row of each key, adds up in Decimal and asks the oracle.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
from psycopg.rows import DictRow

from metering import files
from metering.catalog import Catalog, document
from metering.demo.outcome import Delivery
from metering.demo.sources import Progress
from metering.errors import BillingError
from metering.ingestion.landing import Landing
from metering.sample.expected import ExpectedBill, Usage, expected_bills
from metering.settings import Settings

Row = Mapping[str, Any]


class FileSource:
    """A file with its map; the catalog is the one that the map names."""

    def __init__(self, path: Path, map_path: Path) -> None:
        """Read map and catalog; raises `BillingError` for what is wrong with either, or where the file isn't there."""
        if not path.is_file():
            raise BillingError(f"There is no file {path}.", "Give the path of a CSV or JSON lines file.")
        self._path = path
        self._mapping = files.Mapping.load(map_path)
        if self._mapping.catalog is None:
            raise BillingError(
                f"{map_path.name} names no catalog, so nobody knows what this usage costs.",
                "Add `catalog: <file beside the map>` to it.",
            )
        self.catalog = Catalog.load(self._mapping.catalog)
        self.title = f"{path.name}, by the prices of {self._mapping.catalog.name}"
        self._content: Any = document.read(map_path).content

    def size(self) -> int:
        """The bytes of the file."""
        return self._path.stat().st_size

    def deliver(self, settings: Settings, connection: psycopg.Connection[DictRow], progress: Progress) -> Delivery:
        """Import the file; what is wrong with it is kept in quarantine with its line."""
        done = 0

        def tell(read: int, _: int, __: files.Tally) -> None:
            nonlocal done
            progress(read - done)
            done = read

        landing = Landing.connect(settings.database_url)
        try:
            tally = files.import_file(landing, self._path, self._mapping, again=True, progress=tell)
        finally:
            landing.close()
        return Delivery(tally.read, tally.accepted, tally.duplicate, tally.quarantined)

    def expected(self, until: datetime) -> list[ExpectedBill]:
        """What the bills of the file's teams come to, if nothing but this file was ever sent."""
        catalog = self.catalog.model_dump()
        return expected_bills(catalog, usage_of(self._path, self._content, catalog), until)


def usage_of(path: Path, fields: Mapping[str, Any], catalog: Mapping[str, Any]) -> Iterator[Usage]:
    """The usage that counts in a file: each key once, and nothing that can't be counted."""
    teams = {team["team"] for team in catalog["teams"]}
    meters: dict[str, list[Mapping[str, Any]]] = {}
    for meter in catalog["meters"]:
        meters.setdefault(meter["event"], []).append(meter)
    seen: set[tuple[str | None, object]] = set()
    for row in _rows(path, fields.get("delimiter", ",")):
        try:
            team, event = _team(fields["team"], row), _value(fields["event"], row)
            quantity = Decimal(str(_value(fields.get("quantity", {"value": 1}), row)))
            moment = _moment(fields.get("time"), row)
            properties = {name: _value(spec, row) for name, spec in fields.get("properties", {}).items()}
            key = _key(fields.get("key"), row) or (event, quantity, moment, tuple(sorted(properties.items())))
            heard = meters[str(event)]
            counts = [
                Usage(str(team), m["meter"], _dimensions(m, properties), moment, _worth(m, quantity, properties))
                for m in heard
            ]
        except (ArithmeticError, LookupError, TypeError, ValueError):
            continue
        negative = quantity < 0 and not all(meter["allow_negative"] for meter in heard)
        if team in teams and quantity.is_finite() and not negative and (team, key) not in seen:
            seen.add((team, key))
            yield from counts


def _rows(path: Path, delimiter: str) -> Iterator[Row]:
    lines = _lines(path)
    if lines and lines[0].lstrip().startswith(b"{"):
        for line in lines:
            with contextlib.suppress(ValueError):
                yield json.loads(line.decode(), parse_float=Decimal)
        return
    header = [name.strip() for name in _cells(lines[0].decode(), delimiter)] if lines else []
    place = 1
    while place < len(lines):
        # A quoted text may go on over lines; a quote that is never closed makes one bad row of its own line.
        end = place + 1
        while b"".join(lines[place:end]).count(b'"') % 2 and end < min(len(lines), place + 1000):
            end += 1
        try:
            cells = _cells("".join(line.decode() for line in lines[place:end]), delimiter)
        except (UnicodeDecodeError, csv.Error):
            cells = []
        whole = len(cells) == len(header)
        if whole:
            yield dict(zip(header, cells, strict=True))
        place = end if whole else place + 1


def _lines(path: Path) -> list[bytes]:
    content = path.read_bytes()
    if content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return [line.rstrip(b"\r") + b"\n" for line in lines if line.strip()]


def _cells(text: str, delimiter: str) -> list[str]:
    return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), [])


def _value(spec: Any, row: Row) -> Any:
    if isinstance(spec, str):
        return row[spec]
    return spec["value"] if spec.get("value") is not None else row[spec["column"]]


def _team(spec: Any, row: Row) -> str:
    if isinstance(spec, str) or "hash_of" not in spec:
        prefix = "" if isinstance(spec, str) else spec.get("prefix", "")
        return f"{prefix}{_value(spec, row)}"
    text = "\x1f".join(str(row[column]) for column in spec["hash_of"])
    number = int(hashlib.sha256(text.encode()).hexdigest(), 16) % spec["into"]
    return f"{spec.get('prefix', '')}{str(number).zfill(len(str(spec['into'] - 1)))}"


def _key(spec: Any, row: Row) -> object:
    if isinstance(spec, list):
        return tuple(str(row[column]) for column in spec)
    return None if spec is None else str(_value(spec, row))


def _moment(spec: Any, row: Row) -> datetime:
    column, zone = (spec, None) if isinstance(spec, str) else (spec["column"], spec.get("zone"))
    text = str(row[column]).strip()
    if text.replace(".", "", 1).isdigit():
        seconds = Decimal(text) / (1000 if len(text.partition(".")[0]) > 11 else 1)
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(seconds * 1_000_000))
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(zone or ""))
    return moment.astimezone(UTC)


def _dimensions(meter: Mapping[str, Any], properties: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(properties[name]) for name in meter["dimensions"] if properties.get(name) not in (None, "")}


def _worth(meter: Mapping[str, Any], quantity: Decimal, properties: Mapping[str, Any]) -> Decimal:
    """What an event adds to a meter: one to a count, its quantity or the property that holds the value to a sum."""
    if meter["aggregation"] == "count":
        return Decimal(1)
    worth = quantity if meter["value_property"] is None else Decimal(str(properties[meter["value_property"]]))
    if not worth.is_finite() or (worth < 0 and not meter["allow_negative"]):
        raise ValueError("is no value")
    return worth

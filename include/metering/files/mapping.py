"""A map: how the columns of a file become the fields of usage events.

    time: {column: TIMESTAMP, zone: UTC}          # zone: for times that carry none
    key: [TIMESTAMP, ContextTokens]               # the original texts of these columns; or {column: id}
    key_prefix: azure-
    team: {column: customer}                      # or {value: acme}, or derived from the row:
    # team: {hash_of: [ContextTokens], into: 12, prefix: tenant-}     tenant-00 … tenant-11
    event: {value: llm_request}                   # or meter: the key of a meter that listens to the event
    quantity: {value: 1}
    properties:
      context_tokens: {column: ContextTokens, type: number}
      model: {value: gpt}
    catalog: azure_llm_catalog.yaml               # beside the map; used by `./billing demo --events`

A column's name alone means {column: name}. An empty cell counts as left out, except for the quantity, the time and the
columns of a key.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from metering.errors import BillingError
from metering.ingestion.catalog import as_text
from metering.ingestion.events import ONE, Event, Malformed

if TYPE_CHECKING:
    from metering.catalog import document

Row = dict[str, Any]

_NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?\s*", re.ASCII)
_TIME = re.compile(
    r"\s*(?P<date>\d{4}-\d\d-\d\d)[Tt ](?P<minute>\d\d:\d\d)(?P<second>:\d\d(\.\d+)?)?"
    r"\s*(?P<zone>[Zz]|[+-]\d\d:?\d\d)?\s*",
    re.ASCII,
)
_EPOCH_SECONDS = re.compile(r"\s*(?P<seconds>\d{9,11})(\.(?P<fraction>\d+))?\s*", re.ASCII)
_EPOCH_MILLISECONDS = re.compile(r"\s*(?P<seconds>\d{9,11})(?P<fraction>\d{3})\s*", re.ASCII)
_SHAPE = re.compile(r"\[|^(Source|Hashed)$")
_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{name!r} is not a time zone, such as UTC or Asia/Kathmandu") from None
    return name


def _column(value: object) -> object:
    return {"column": value} if isinstance(value, str) else value


Zone = Annotated[str, AfterValidator(_zone)]
Name = Annotated[str, Field(min_length=1)]


class Part(BaseModel):
    """A part of a map; a field that is not known is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(Part):
    """Where a field comes from: a column, or one value for all rows."""

    column: Name | None = None
    value: str | int | bool | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.column is None) == (self.value is None):
            raise ValueError("takes either column or value")
        return self

    def of(self, row: Row) -> Any:
        """The value in a row; None where it is empty."""
        value = self.value if self.column is None else row.get(self.column)
        return None if value == "" else value


class Property(Source):
    """Where a property comes from, and what it is to be: text as it stands, a number, or true or false."""

    type: Literal["text", "number", "boolean"] | None = None


class Team(Part):
    """Which team a row belongs to: a column, one team for all rows, or one of `into` teams derived from columns."""

    column: Name | None = None
    value: str | None = None
    hash_of: tuple[Name, ...] | None = None
    into: Annotated[int, Field(ge=1)] | None = None
    prefix: str = ""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(given is not None for given in (self.column, self.value, self.hash_of)) != 1:
            raise ValueError("takes one of column, value and hash_of")
        if (self.hash_of is None) != (self.into is None):
            raise ValueError("takes hash_of and into together")
        return self

    def of(self, row: Row) -> str | None:
        """The team's key. Derived: the SHA-256 of the columns' texts modulo `into`, with leading zeros."""
        if self.hash_of is None or self.into is None:
            found = self.value if self.column is None else as_text(row.get(self.column))
            return f"{self.prefix}{found}" if found else None
        hashed = hashlib.sha256("\x1f".join(as_text(row.get(name)) or "" for name in self.hash_of).encode()).digest()
        number = int.from_bytes(hashed) % self.into
        return f"{self.prefix}{number:0{len(str(self.into - 1))}d}"


class Hashed(Part):
    """A key made of what these columns say, however long that is."""

    hash_of: Annotated[tuple[Name, ...], Field(min_length=1)]


class Time(Part):
    """The column of the time: ISO 8601, or seconds or milliseconds since 1970. `zone` is for times that carry none."""

    column: Name
    zone: Zone | None = None


Spec = Annotated[Source, BeforeValidator(_column)]


class Mapping(Part):
    """A checked map."""

    time: Annotated[Time, BeforeValidator(_column)] | None = None
    key: tuple[Name, ...] | Hashed | Spec | None = None
    key_prefix: str = ""
    team: Annotated[Team, BeforeValidator(_column)]
    event: Spec | None = None
    meter: Spec | None = None
    quantity: Spec = Source(value=1)
    unit: Spec | None = None
    subject: Spec | None = None
    properties: dict[Name, Annotated[Property, BeforeValidator(_column)]] = {}
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    format: Literal["csv", "jsonl", "access_log"] | None = None
    """The file's format, where its first line would not tell."""
    catalog: Path | None = None
    """The catalog that goes with the file, if the map names one; `load` makes it absolute."""
    name: str = "the header"

    @model_validator(mode="after")
    def _identifiable(self) -> Self:
        if self.key is None and self.time is None:
            raise ValueError("needs a time or a key, or its events could not be told apart")
        if self.event is None and self.meter is None:
            raise ValueError("needs an event or a meter: what the rows count as")
        return self

    @classmethod
    def load(cls, path: Path | str) -> Mapping:
        """Read a map; raises `BillingError` that names the file and each field at fault."""
        # Most files need no map, and the catalog takes a third of a second to import.
        from metering.catalog import document

        path = Path(path)
        if not path.is_file():
            raise BillingError(f"The map {path} is not a file.", "Give the path of a YAML file; see docs/ingestion.md.")
        source = document.read(path)
        if not isinstance(source.content, dict):
            raise BillingError(f"{path.name} is not a map of fields.", "Write it as docs/ingestion.md shows.")
        try:
            mapping = cls.model_validate({**source.content, "name": path.name})
        except ValidationError as error:
            lines = [_mistake(source, found) for found in error.errors(include_url=False)]
            raise BillingError("\n".join(dict.fromkeys(lines)), "Mend the map; nothing was read.") from error
        beside = path.resolve().parent / mapping.catalog if mapping.catalog else None
        return mapping.model_copy(update={"catalog": beside})

    @classmethod
    def of_header(cls, header: Iterable[str]) -> Mapping:
        """The map of a file whose columns are named like the fields of an event: team, event, …, properties.<name>."""
        columns = list(header)
        known = ("team", "event", "meter", "quantity", "unit", "idempotency_key", "time", "subject")
        unknown = [name for name in columns if name not in known and not name.startswith("properties.")]
        required = ("team",) if "meter" in columns else ("team", "event")
        missing = [name for name in required if name not in columns]
        if unknown or missing:
            problem = f"has no column {missing[0]!r}" if missing else f"has a column {unknown[0]!r}"
            raise BillingError(
                f"The file {problem}, and without a map its columns are the fields of events"
                f" ({', '.join(known)}, properties.<name>).",
                "Rename the column, or say with --map what each column means.",
            )
        if "time" not in columns and "idempotency_key" not in columns:
            raise BillingError(
                "The file has neither a column time nor a column idempotency_key, so its events can't be told apart.",
                "Add one of them.",
            )
        fields: dict[str, Any] = {name: name for name in columns if name in known and name != "idempotency_key"}
        if "idempotency_key" in columns:
            fields["key"] = "idempotency_key"
        fields["properties"] = {
            name.removeprefix("properties."): name for name in columns if name.startswith("properties.")
        }
        return cls.model_validate(fields)

    @property
    def columns(self) -> list[str]:
        """The columns that the map names, each once."""
        return list(dict.fromkeys(column for _, column in self._columns()))

    def check_columns(self, header: Iterable[str], file: str) -> None:
        """Raise `BillingError` where the map names a column that the file does not have."""
        present = list(header)
        for field, column in self._columns():
            if column not in present:
                raise BillingError(
                    f"{self.name}, {field}: the file {file} has no column {column!r}.",
                    f"Its columns are {', '.join(present)}.",
                )

    def _columns(self) -> Iterable[tuple[str, str]]:
        if self.time:
            yield "time", self.time.column
        for column in self._key_columns:
            yield "key", column
        for column in self.team.hash_of or ():
            yield "team.hash_of", column
        sources: dict[str, Any] = {
            name: getattr(self, name) for name in ("team", "event", "meter", "quantity", "unit", "subject")
        }
        sources |= {f"properties.{name}": source for name, source in self.properties.items()}
        if isinstance(self.key, Source):
            sources["key"] = self.key
        for field, source in sources.items():
            if source is not None and source.column is not None:
                yield field, source.column

    def reader(self) -> Callable[[Row], Event | Malformed]:
        """A function from a row (column to text, or to a JSON value) to an event."""
        zone = ZoneInfo(self.time.zone) if self.time and self.time.zone else None
        fixed_quantity = self.quantity.column is None and self.quantity.value == 1

        def read(row: Row) -> Event | Malformed:
            try:
                return Event(
                    event=as_text(self.event.of(row)) if self.event else None,
                    meter=as_text(self.meter.of(row)) if self.meter else None,
                    team=self.team.of(row),
                    quantity=ONE if fixed_quantity else _decimal("quantity", "quantity", self.quantity.of(row)),
                    unit=as_text(self.unit.of(row)) if self.unit else None,
                    idempotency_key=self._key(row),
                    time=_time(as_text(row.get(self.time.column)), zone) if self.time else None,
                    subject=as_text(self.subject.of(row)) if self.subject else None,
                    properties={
                        name: value
                        for name, source in self.properties.items()
                        if (value := property_of(name, source, source.of(row))) is not None
                    },
                )
            except Wrong as wrong:
                malformed = Malformed(*wrong.args)
                malformed.team = self.team.of(row)
                return malformed

        return read

    def _key(self, row: Row) -> str | None:
        if self.key is None:
            return None
        if isinstance(self.key, Source):
            key = as_text(self.key.of(row))
            return f"{self.key_prefix}{key}" if key else None
        texts = [escaped(as_text(row.get(name)) or "") for name in self._key_columns]
        key = ",".join(texts)
        if isinstance(self.key, Hashed):
            key = hashlib.sha256(key.encode()).hexdigest()[:32]
        return self.key_prefix + key

    @property
    def _key_columns(self) -> tuple[str, ...]:
        if isinstance(self.key, Hashed):
            return self.key.hash_of
        return self.key if isinstance(self.key, tuple) else ()


def escaped(text: str) -> str:
    """A text as a part of a key: a comma is escaped, so that no two rows can make one key of different texts."""
    return text.replace("\\", "\\\\").replace(",", "\\,") if "," in text or "\\" in text else text


class Wrong(Exception):
    """A row that is not an event: the parts of a `Malformed`."""


def _decimal(reason: str, field: str, value: Any) -> Decimal:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return Decimal(value.strip())
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return Decimal(value)
    raise Wrong(f"invalid_{reason}", field, f"The {field} {value or ''!r} is not a number.")


def property_of(name: str, source: Property, value: Any) -> Any:
    """A value as its property is to be; raises `Wrong`."""
    if source.type is None or value is None:
        return value
    if source.type == "number":
        return _decimal("properties", f"properties.{name}", value)
    text = as_text(value) or ""
    if source.type == "text":
        return text
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    raise Wrong("invalid_properties", f"properties.{name}", f"The property {name!r} is {text!r}, not true or false.")


def _time(text: str | None, zone: ZoneInfo | None) -> str:
    """Write a time as RFC 3339, its digits beyond the microsecond cut off."""
    match = _TIME.fullmatch(text or "")
    if match is None:
        epoch = _EPOCH_SECONDS.fullmatch(text or "") or _EPOCH_MILLISECONDS.fullmatch(text or "")
        if epoch is None:
            raise Wrong(
                "missing_time" if not text else "invalid_time", "time", f"The time {text or ''!r} can't be read."
            )
        microseconds = int((epoch["fraction"] or "")[:6].ljust(6, "0"))
        moment = _UNIX_EPOCH + timedelta(seconds=int(epoch["seconds"]), microseconds=microseconds)
        return moment.isoformat()
    local = f"{match['date']}T{match['minute']}{match['second'] or ':00'}"
    offset = match["zone"]
    if offset:
        return f"{local}Z" if offset in "Zz" else f"{local}{offset[:3]}:{offset[-2:]}"
    if zone is None:
        raise Wrong("invalid_time", "time", f"The time {text!r} has no zone, and the map gives none.")
    if zone.key == "UTC":
        return f"{local}Z"
    try:
        wall = datetime.fromisoformat(local[:26])
    except ValueError:
        raise Wrong("invalid_time", "time", f"There is no time {text!r}.") from None
    moment = wall.replace(tzinfo=zone).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) != wall:
        message = f"There was no {text!r} in {zone.key}: the clocks were put forward over it."
        raise Wrong("invalid_time", "time", message)
    return moment.isoformat()


def _mistake(source: document.Document, found: Any) -> str:
    # Which of several shapes was tried is of no interest to whoever wrote the map.
    location = tuple(step for step in found["loc"] if not (isinstance(step, str) and _SHAPE.search(step)))
    reason = {"missing": "is missing", "extra_forbidden": "is not a field that is known here"}.get(found["type"])
    if reason is None:
        reason = str(found["ctx"]["error"]) if found["type"] == "value_error" else found["msg"].lower()
    return f"{source.place(location)}: {reason}."

"""Checks of an event before it counts. Each failure has a stable code, the field at fault, and a sentence.

The codes: missing_team, unknown_team, foreign_team, missing_event, unknown_event, unknown_meter, meter_mismatch,
filtered_out, invalid_quantity, quantity_too_large, negative_quantity, unit_mismatch, missing_time, invalid_time,
time_too_far_ahead, time_too_old, invalid_key, key_too_long, invalid_subject, invalid_properties,
missing_value_property, invalid_value_property; and from decoding: invalid_json, invalid_encoding, unknown_field,
repeated_field, invalid_<field>. Landing adds conflict, archived_month and unstorable.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from metering.ingestion import binary, quick, times
from metering.ingestion.catalog import Catalog, Listeners, Named, as_text
from metering.ingestion.events import (
    MAX_KEY,
    MOST,
    Decoded,
    Event,
    Fact,
    Malformed,
    Origin,
    Reject,
    Rejected,
    Sorted,
    content_digest,
    derived_key,
    digest,
    plain_decimal,
    to_json,
)
from metering.ingestion.facts import Facts
from metering.ingestion.memory import Amount
from metering.ingestion.numbers import DECIMAL

MAX_AHEAD = timedelta(hours=1)
MAX_AGE_YEARS = 10
MAX_PROPERTIES = 16 * 1024
"""Bytes of the properties as JSON."""

# Times are handled as UTC without a zone attached, which takes a third of the time.
_EPOCH = datetime(2000, 1, 1)
_UNIX_TO_2000 = 946_684_800_000_000  # microseconds
_AHEAD = MAX_AHEAD // timedelta(microseconds=1)
_YEAR = 31_556_952_000_000  # microseconds of a mean year
# The date and time to the microsecond, digits beyond it, the zone.
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,6})?)(?:(?<=\.\d{6})\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_UTC = frozenset(("Z", "z", "+00:00", "-00:00"))
_MAX_WHOLE = 10**38
_SURELY = 20  # characters of a quantity that is surely not too large
_MISSES = ("unknown_team", "unknown_event", "unknown_meter")


class Judge:
    """Tells the events of one request or one piece of a file apart, against one catalog and one moment."""

    def __init__(self, catalog: Catalog, *, team_id: int | None = None, team_key: str | None = None) -> None:
        """Judge by `catalog`; with `team_id` and `team_key`, for a sender who may write for that team only."""
        self.catalog = catalog
        self.team_id = team_id
        self.team_key = team_key
        self.arrived = time.time_ns() // 1_000 - _UNIX_TO_2000
        """Now, in microseconds since 2000-01-01 UTC."""
        self.latest = self.arrived + _AHEAD
        self.earliest = self.arrived - MAX_AGE_YEARS * _YEAR

    def sort(self, events: Sequence[Event | Malformed], origin: Origin) -> Sorted:
        """Tell facts from what cannot count. `origin` must give back the events of the same indexes."""
        result = Sorted(origin, Facts(origin), [], [])
        for index, event in enumerate(events):
            self._sort_one(event, index, result)
        return result

    def sort_body(self, body: Decoded) -> Sorted:
        """Tell facts from what cannot count: as `sort` does, and several times as fast where events are as usual."""
        result = Sorted(body, Facts(body), [], [])

        def careful(index: int) -> None:
            self._sort_one(body.event(index), index, result)

        vectors = body.vectors
        if vectors is not None:
            vectors.sort(self, careful, result.facts)
            return result
        written = body.written
        if written is None:
            return self.sort(body.events, body)
        quick.sort(self, written, body.holds_escapes, careful, result.facts)
        return result

    def _sort_one(self, event: Event | Malformed, index: int, result: Sorted) -> None:
        try:
            if isinstance(event, Event):
                result.facts.add(self.fact(event, index, result.origin))
                return
            found = Rejected(event.reason, event.field, event.message)
        except Rejected as rejected:
            found = rejected
        key = event.idempotency_key
        team_id = self.team_id or self.catalog.teams.get(event.team or "", 0)
        reject = Reject(index, result.origin, team_id, found.reason, found.field, found.message, key)
        (result.refused if found.reason == "foreign_team" else result.rejects).append(reject)

    def may_be_outdated(self, result: Sorted) -> bool:
        """Whether a newer catalog might know what this one did not."""
        return any(reject.reason in _MISSES for reject in result.rejects)

    def fact(self, event: Event, index: int, origin: Origin) -> Fact:
        """Check an event and make it ready to land; raises `Rejected`."""
        team_id = self._team(event.team)
        name, named = self._name(event)
        listeners = self.catalog.events[name]
        key = event.idempotency_key
        if key is not None and not 0 < len(key) <= MAX_KEY:
            if key:
                raise Rejected("key_too_long", "idempotency_key", f"The key has more than {MAX_KEY} characters.")
            raise Rejected("invalid_key", "idempotency_key", "The key is empty; leave it out to have one derived.")
        amount = self._amount(event.quantity)
        if amount.text[0] == "-" and not listeners.quantity_may_be_negative:
            message = f"The quantity {amount.text} is negative, which its meter does not allow."
            raise Rejected("negative_quantity", "quantity", message)
        if len(amount.text) > _SURELY and abs(Decimal(amount.text)) > MOST:
            raise _too_large("quantity", f"The quantity {amount.text}", MOST)
        unit, units = event.unit, listeners.units if named is None else (named.unit,)
        if unit is not None and unit not in units:
            what, expected = event.meter or name, " or ".join(sorted(units))
            raise Rejected("unit_mismatch", "unit", f"The unit is {unit[:80]!r}; {what!r} is measured in {expected}.")
        said, moment = None, self.arrived
        if event.time is not None:
            said = moment = self._moment_of("time", event.time)
        elif key is None:
            raise Rejected("missing_time", "time", "An event needs a time or an idempotency key, to be told apart.")
        elif event.observed_at is not None:
            moment = self._moment_of("observed_at", event.observed_at)
        subject = event.subject
        if subject is not None and (len(subject) > MAX_KEY or "\0" in subject):
            raise Rejected(
                "invalid_subject", "subject", f"The subject exceeds {MAX_KEY} characters or holds a zero byte."
            )
        properties = self.properties(event.properties, listeners)
        if named is not None and not named.meter.listens(event.properties):
            raise _filtered_out(event, named)
        if listeners.most < MOST and abs(event.quantity) > listeners.most:
            self._check_multiplied(event, listeners)

        content = content_digest(name, amount.text, unit, said, subject, properties)
        derived = key is None
        if key is None:
            key = derived_key(content)
        elif "\0" in key:
            raise Rejected("invalid_key", "idempotency_key", "The key holds a zero byte.")
        row = (
            *(binary.text_field(key), binary.text_field(name), binary.text_field(unit), amount.field),
            *(binary.text_field(subject), binary.field(b"\x01" + properties)),
        )
        return Fact(
            index=index,
            origin=origin,
            team_id=team_id,
            key=key,
            key_derived=derived,
            key_digest=digest(key.encode()),
            content_digest=content,
            moment=moment,
            row=b"".join(row),
        )

    def _name(self, event: Event) -> tuple[str, Named | None]:
        """The event's name, and the meter by which it was named."""
        name, meter = event.event, event.meter
        if meter is not None:
            named = self.catalog.meters.get(meter)
            if named is None:
                raise Rejected("unknown_meter", "meter", f"There is no meter {meter[:80]!r}.")
            if name not in (None, named.event):
                message = (
                    f"The meter {meter!r} listens to {named.event!r}, not to {(name or '')[:80]!r}; name one of them."
                )
                raise Rejected("meter_mismatch", "meter", message)
            return named.event, named
        if name is None:
            raise Rejected("missing_event", "event", "Neither an event nor a meter is named.")
        if name not in self.catalog.events:
            raise Rejected("unknown_event", "event", f"No meter listens to the event {name[:80]!r}.")
        return name, None

    def _team(self, team: str | None) -> int:
        if self.team_id is not None:
            if team is not None and team != self.team_key:
                raise Rejected("foreign_team", "team", f"This API key may not write for the team {team!r}.")
            return self.team_id
        if team is None:
            raise Rejected("missing_team", "team", "The event names no team, and the API key belongs to none.")
        team_id = self.catalog.teams.get(team)
        if team_id is None:
            raise Rejected("unknown_team", "team", f"There is no team {team[:80]!r}.")
        return team_id

    def _amount(self, quantity: Decimal) -> Amount:
        try:
            text = plain_decimal(quantity)
        except ValueError as error:
            raise Rejected("invalid_quantity", "quantity", f"The quantity {error}.") from None
        memory = self.catalog.memory
        return memory.amounts.get(text) or memory.keep_amount(text, Amount(text, binary.numeric_field(text)))

    def _moment_of(self, field: str, text: str) -> int:
        try:
            moment = self.moment(text)
        except Rejected as rejected:
            raise Rejected(rejected.reason, field, rejected.message) from None
        if moment > self.latest:
            raise Rejected("time_too_far_ahead", field, f"The time {text} is more than an hour ahead.")
        if moment < self.earliest:
            raise Rejected("time_too_old", field, f"The time {text} is more than {MAX_AGE_YEARS} years ago.")
        return moment

    def moment(self, text: str) -> int:
        """A time in microseconds since 2000-01-01 UTC; raises `Rejected`."""
        match = _RFC3339.fullmatch(text)
        if match is None:
            message = f"The time {text[:80]!r} is not RFC 3339 with a zone, such as 2026-10-25T02:30:00Z."
            raise Rejected("invalid_time", "time", message)
        # Digits beyond the microsecond are cut off, never rounded up into another second, day or month.
        local, zone = match.groups()
        try:
            if zone in _UTC:
                return microseconds(datetime.fromisoformat(local))
            return microseconds(datetime.fromisoformat(local + zone).astimezone(UTC).replace(tzinfo=None))
        except (ValueError, OverflowError):
            raise Rejected("invalid_time", "time", f"There is no time {text[:80]!r}.") from None

    def try_moment(self, text: str) -> int:
        """The same, or `times.UNREAD` where it is wrong."""
        try:
            return self.moment(text)
        except Rejected:
            return times.UNREAD

    def properties(self, properties: dict[str, Any], listeners: Listeners) -> bytes:
        """Check properties and return them as canonical JSON; raises `Rejected`. They are changed on the way."""
        if properties:
            return self._properties(properties, listeners)
        if listeners.by_property:
            self._values({}, listeners)
        return b"{}"

    def _properties(self, properties: dict[str, Any], listeners: Listeners) -> bytes:
        for name, value in properties.items():
            kind = type(value)
            if kind is str or kind is bool or value is None:
                continue
            if kind is Decimal:
                properties[name] = _property_number(name, value)
            elif kind is not int:
                raise _invalid_property(name, "is neither a text, a number, true, false nor null")
            elif not -_MAX_WHOLE < value < _MAX_WHOLE:
                raise _invalid_property(name, "has more than 38 digits")
        try:
            text = to_json(properties)
        except UnicodeEncodeError:
            raise Rejected("invalid_properties", "properties", "The properties hold half a character.") from None
        if len(text) > MAX_PROPERTIES:
            message = f"The properties take {len(text)} bytes; {MAX_PROPERTIES} are allowed."
            raise Rejected("invalid_properties", "properties", message)
        if b"\\u0000" in text:
            for name, value in properties.items():
                if "\0" in name or (isinstance(value, str) and "\0" in value):
                    raise _invalid_property(name, "holds a zero byte")
        if listeners.by_property:
            self._values(properties, listeners)
        return text

    def _check_multiplied(self, event: Event, listeners: Listeners) -> None:
        """Raise `Rejected` where a meter that multiplies the quantity would count too much."""
        for meter in listeners.meters:
            takes_it = meter.numeric and meter.value_property is None and meter.listens(event.properties)
            if takes_it and abs(event.quantity) > meter.most:
                raise _too_large("quantity", f"The quantity {plain_decimal(event.quantity)}", meter.most)

    def _values(self, properties: dict[str, Any], listeners: Listeners) -> None:
        """Check the properties from which meters take their values."""
        for meter in listeners.by_property:
            if meter.filters and not meter.listens(properties):
                continue
            name = meter.value_property or ""
            value = properties.get(name)
            if value is None:
                raise Rejected("missing_value_property", f"properties.{name}", f"A meter needs the property {name!r}.")
            if not meter.numeric:
                continue
            try:
                number = plain_decimal(_number(value))
            except ValueError as error:
                message = f"The property {name!r} {error}."
                raise Rejected("invalid_value_property", f"properties.{name}", message) from None
            if number[0] == "-" and not meter.allow_negative:
                message = f"The property {name!r} is negative, which its meter does not allow."
                raise Rejected("negative_quantity", f"properties.{name}", message)
            if abs(Decimal(number)) > meter.most:
                raise _too_large(f"properties.{name}", f"The property {name!r}", meter.most)


def _filtered_out(event: Event, named: Named) -> Rejected:
    name, values = next(
        (name, values)
        for name, values in named.meter.filters.items()
        if as_text(event.properties.get(name)) not in values
    )
    wanted = " or ".join(map(repr, values))
    message = f"The meter {event.meter!r} counts only events whose property {name!r} is {wanted}."
    return Rejected("filtered_out", f"properties.{name}", message)


def _too_large(field: str, what: str, most: Decimal) -> Rejected:
    times = "" if most == MOST else ", since a meter multiplies it"
    return Rejected("quantity_too_large", field, f"{what} is above {most.normalize():f}{times}.")


def _number(value: object) -> Decimal:
    if isinstance(value, str) and DECIMAL.fullmatch(value):
        return Decimal(value)
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return Decimal(value)
    raise ValueError("is not a number")


def _property_number(name: str, value: Decimal) -> Decimal | int:
    """A number of a property in its one canonical way: 1.0 is 1."""
    try:
        text = plain_decimal(value)
    except ValueError as error:
        raise _invalid_property(name, str(error)) from None
    return Decimal(text) if "." in text else int(text)


def _invalid_property(name: str, what: str) -> Rejected:
    name = name[:80]
    return Rejected("invalid_properties", f"properties.{name}", f"The property {name!r} {what}.")


def microseconds(moment: datetime) -> int:
    """Microseconds since 2000-01-01 UTC, exactly, of a moment in UTC that does not say so."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds

"""The quick way from a decoded body to facts: what usual events share is looked up, times are read all at once.

Only what is surely good passes here. Every event about which there is any doubt goes the careful way instead, through
`Judge.fact`, which alone says what is wrong; so there is one definition of a good event. A property test holds the
facts of the quick way to those of the careful one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from metering.ingestion import binary, repeats, times
from metering.ingestion.events import MAX_KEY, Decoded, Plain, Rejected, derived_key, plain_decimal, to_json
from metering.ingestion.facts import Facts
from metering.ingestion.memory import Amount, Form, Memory, Properties

if TYPE_CHECKING:
    from metering.ingestion.catalog import Listeners, Meter
    from metering.ingestion.validation import Judge

AT_ONCE = 16
"""Fewer times than this are quicker read one by one."""

_MOST = 10**26
_NUMBER = re.compile(r"-?\d{1,26}(\.\d{1,12})?", re.ASCII)
_object = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode
_NO_SUBJECT = ",null]", binary.NULL


def sort(judge: Judge, events: Sequence[Plain], body: Decoded, careful: Callable[[int], None], facts: Facts) -> None:
    """Add the facts of `events` to `facts`; call `careful` with the index of each event that it must look at instead.

    Events keep their order, which decides what the first of two with one key is.
    """
    team_ids, own_team, own_key = judge.catalog.teams, judge.team_id, judge.team_key
    memory, escapes = judge.catalog.memory, body.holds_escapes
    forms, amounts = memory.forms, memory.amounts
    moments = _moments(judge, events)
    earliest, latest = judge.earliest, judge.latest
    for index, event in enumerate(events):
        team, key, unit, subject = event.team, event.idempotency_key, event.unit, event.subject
        quantity = event.quantity
        if own_team is None:
            team_id = team_ids.get(team or "")
        else:
            team_id = own_team if team is None or team == own_key else None
        if event.meter is None:
            units = forms.get(event.event)
            form = _form(judge, event.event, unit) if units is None or unit not in units else units[unit]
        else:
            form = _form_of_meter(judge, event)
        if type(quantity) is Decimal:
            quantity = str(quantity)
        if team_id is None or form is None or (type(quantity) is not str and type(quantity) is not int):
            careful(index)
            continue
        amount = amounts.get(quantity) or _amount(memory, quantity)
        if amount is None or (amount.text[0] == "-" and not form.may_be_negative):
            careful(index)
            continue
        sent = bytes(event.properties)
        properties = form.properties.get(sent) or _properties(judge, form, sent)
        moment = moments[index]
        if properties is None or (escapes and _suspicious(key, subject)):
            careful(index)
            continue
        if event.time is None and event.observed_at is None:
            moment = judge.arrived
        elif not earliest <= moment <= latest:
            careful(index)
            continue
        if event.time is not None:
            said = str(moment)
        elif key is not None:
            said = "null"
        else:
            careful(index)
            continue
        if subject is None:
            after, subject_field = _NO_SUBJECT
        elif len(subject) <= MAX_KEY:
            after, subject_field = f",{to_json(subject).decode()}]", binary.text_field(subject)
        else:
            careful(index)
            continue
        content = sha256(
            f"{form.before_quantity}{amount.text}{form.before_moment}{said}{after}{properties.text}".encode()
        ).digest()[:16]
        facts.derived.append(key is None)
        if key is None:
            key = derived_key(content)
        elif not 0 < len(key) <= MAX_KEY:
            facts.derived.pop()
            careful(index)
            continue
        key_bytes = key.encode()
        facts.indexes.append(index)
        facts.team_ids.append(team_id)
        facts.keys.append(key)
        facts.key_digests.append(sha256(key_bytes).digest()[:16])
        facts.content_digests.append(content)
        facts.moments.append(moment)
        facts.rows.append(
            b"".join(
                (binary.LENGTHS[len(key_bytes)], key_bytes, form.fields, amount.field, subject_field, properties.field)
            )
        )


def _moments(judge: Judge, events: Sequence[Plain]) -> list[int]:
    given = [event.observed_at if event.time is None else event.time for event in events]
    if len(events) >= AT_ONCE:
        return times.read(given)
    return [times.UNREAD if time is None else judge.try_moment(time) for time in given]


def _suspicious(key: str | None, subject: str | None) -> bool:
    """Whether a text that was written with escapes holds what can't be stored: a zero, or half a character."""
    return any(text is not None and not text.isprintable() for text in (key, subject))


def _form(judge: Judge, name: str | None, unit: str | None) -> Form | None:
    listeners = judge.catalog.events.get(name or "")
    if name is None or listeners is None or (unit is not None and unit not in listeners.units):
        return None
    form = _new_form(listeners, None, name, unit)
    judge.catalog.memory.forms.setdefault(name, {})[unit] = form
    return form


def _form_of_meter(judge: Judge, event: Plain) -> Form | None:
    catalog, key, unit = judge.catalog, event.meter or "", event.unit
    named = catalog.meters.get(key)
    if named is None or event.event not in (None, named.event) or unit not in (None, named.unit):
        return None
    forms = catalog.memory.forms_of_meters.setdefault(key, {})
    if unit not in forms:
        forms[unit] = _new_form(catalog.events[named.event], named.meter, named.event, unit)
    return forms[unit]


def _new_form(listeners: Listeners, meter: Meter | None, name: str, unit: str | None) -> Form:
    unit_json = to_json(unit).decode()
    return Form(
        listeners=listeners,
        meter=meter,
        before_quantity=f'[{to_json(name).decode()},"',
        before_moment=f'",{unit_json},',
        fields=binary.text_field(name) + binary.text_field(unit),
        may_be_negative=listeners.quantity_may_be_negative,
        properties={},
    )


def _amount(memory: Memory, sent: str | int) -> Amount | None:
    if not (_NUMBER.fullmatch(sent) if isinstance(sent, str) else -_MOST < sent < _MOST):
        return None
    text = plain_decimal(Decimal(sent))
    return memory.keep_amount(sent, Amount(text, binary.numeric_field(text)))


def _properties(judge: Judge, form: Form, sent: bytes) -> Properties | None:
    try:
        said = _object(sent) if sent else {}
        if sent and not repeats.none_in(sent, said) and repeats.first(sent):
            return None
        text = judge.properties(said, form.listeners)
        if form.meter is not None and not form.meter.listens(said):
            return None
    except (Rejected, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    properties = Properties(text.decode(), binary.field(b"\x01" + text))
    return judge.catalog.memory.keep_properties(form, sent, properties)

"""The quick way from written events to facts: a column at a time, and what usual events share is looked up.

Only what is surely good passes here. Every event about which there is any doubt goes the careful way instead, through
`Judge.fact`, which alone says what is wrong; so there is one definition of a good event. A property test holds the
facts of the quick way to those of the careful one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from metering.ingestion import binary, repeats, times
from metering.ingestion.events import MAX_KEY, MOST, Rejected, derived_key, plain_decimal, to_json
from metering.ingestion.facts import Facts
from metering.ingestion.memory import Amount, Form, Memory, Naming, Properties
from metering.ingestion.numbers import number
from metering.ingestion.written import Written

if TYPE_CHECKING:
    from metering.ingestion.validation import Judge

CHUNK = 1_000
"""Events that are looked at together: of more, the first have left the cache before the last are reached."""
AT_ONCE = 16
"""Fewer times than this are quicker read one by one."""

_MOST = int(MOST)
_NUMBER = re.compile(r"-?\d{1,20}(\.\d{1,12})?", re.ASCII)
_object = msgspec.json.Decoder(dict[str, Any], float_hook=number).decode
_NO_SUBJECT = ",null]"


def sort(judge: Judge, written: Written, escapes: bool, careful: Callable[[int], None], facts: Facts) -> None:
    """Add the facts of `written` to `facts`; call `careful` with the index of each event that it must look at instead.

    Events keep their order, which decides what the first of two with one key is. `escapes`: a text may hold what can't
    be stored.
    """
    count = len(written)
    for first in range(0, count, CHUNK):
        chunk = written if count <= CHUNK else written.part(first, first + CHUNK)
        found = _Found(judge, chunk, escapes, first)
        start = 0
        for index in sorted(found.doubtful):
            found.add(start, index, facts)
            careful(first + index)
            start = index + 1
        found.add(start, len(chunk), facts)


class _Found:
    """What was found out about events, a column each; in a row that is doubtful nothing of it need be right."""

    def __init__(self, judge: Judge, written: Written, escapes: bool, first: int) -> None:
        self._first = first  # the index of the first of them
        self.doubtful: set[int] = set()
        self._judge, self._written = judge, written
        self._team_ids: list[Any] = find_team_ids(judge, written.teams)
        namings = zip(written.events, written.meters, written.units, strict=True)
        self._forms: list[Any] = find_forms(judge, [*namings])
        self._amounts: list[Any] = find_amounts(judge, written.quantities)
        self._properties: list[Any] = find_properties(judge, self._forms, written.properties)
        for column in (self._team_ids, self._forms, self._amounts, self._properties):
            if not all(column):
                self._doubt(index for index, value in enumerate(column) if not value)
        if amounts_depend(judge):
            pairs = enumerate(zip(self._amounts, self._forms, strict=True))
            self._doubt(i for i, (amount, form) in pairs if may_not_count(amount, form))
        self._moments, self._said = self._find_moments()
        self._check_texts(escapes)

    def add(self, start: int, end: int, facts: Facts) -> None:
        """Add the facts of the events from `start` up to `end`, among which none is doubtful."""
        if start == end:
            return
        given: Sequence[str | None] = self._written.keys[start:end]
        forms, amounts, properties = self._forms[start:end], self._amounts[start:end], self._properties[start:end]
        afters, subjects = self._subjects(start, end)
        contents = [
            sha256(f"{form[0]}{amount[0]}{form[1]}{said}{after}{held[0]}".encode()).digest()[:16]
            for form, amount, said, after, held in zip(
                forms, amounts, self._said[start:end], afters, properties, strict=True
            )
        ]
        keys: Sequence[Any] = given
        if None in given:
            keys = [derived_key(content) if key is None else key for key, content in zip(given, contents, strict=True)]
        key_bytes = [key.encode() for key in keys]
        lengths = binary.LENGTHS
        facts.rows += [
            b"".join((lengths[len(key)], key, form[2], amount[1], subject, held[1]))
            for key, form, amount, subject, held in zip(key_bytes, forms, amounts, subjects, properties, strict=True)
        ]
        facts.indexes += range(self._first + start, self._first + end)
        facts.team_ids += self._team_ids[start:end]
        facts.keys += keys
        facts.derived += [key is None for key in given]
        facts.key_digests += [sha256(key).digest()[:16] for key in key_bytes]
        facts.content_digests += contents
        facts.moments += self._moments[start:end]

    def _doubt(self, indexes: Iterable[int]) -> None:
        self.doubtful.update(indexes)

    def _find_moments(self) -> tuple[list[int], Sequence[object]]:
        """When they occurred, and what they say of that in their content."""
        judge, written = self._judge, self._written
        given = written.times
        some_missing = None in given
        if some_missing:
            given = [said or observed for said, observed in zip(given, written.observed, strict=True)]
        if len(given) >= AT_ONCE:
            moments = times.read(given)
        else:
            moments = [times.UNREAD if time is None else judge.try_moment(time) for time in given]
        if some_missing:
            moments = [judge.arrived if time is None else moment for time, moment in zip(given, moments, strict=True)]
        if moments and not judge.earliest <= min(moments) <= max(moments) <= judge.latest:
            self._doubt(i for i, moment in enumerate(moments) if not judge.earliest <= moment <= judge.latest)
        if not some_missing:
            return moments, moments
        pairs = enumerate(zip(written.times, written.keys, strict=True))
        self._doubt(i for i, (time, key) in pairs if time == "" or (time is None and key is None))
        return moments, ["null" if time is None else at for time, at in zip(written.times, moments, strict=True)]

    def _check_texts(self, escapes: bool) -> None:
        """Doubt keys and subjects that are empty, too long, or hold what can't be stored: a zero, half a character."""
        for column, least in ((self._written.keys, 1), (self._written.subjects, 0)):
            texts = [text for text in column if text is not None] if None in column else column
            if not texts:
                continue
            lengths = [*map(len, texts)]  # type: ignore[arg-type] # there is no None among them
            if min(lengths) < least or max(lengths) > MAX_KEY:
                self._doubt(
                    i for i, text in enumerate(column) if text is not None and not least <= len(text) <= MAX_KEY
                )
            if escapes:
                self._doubt(i for i, text in enumerate(column) if text is not None and not text.isprintable())

    def _subjects(self, start: int, end: int) -> tuple[list[str], list[bytes]]:
        """What comes after the moment in the content, and the field that PostgreSQL takes."""
        subjects = self._written.subjects[start:end]
        if not any(subjects) and "" not in subjects:
            return [_NO_SUBJECT] * len(subjects), [binary.NULL] * len(subjects)
        return (
            [*map(after_moment, subjects)],
            [binary.text_field(subject) for subject in subjects],
        )


def find_team_ids(judge: Judge, teams: Sequence[str | None]) -> list[int | None]:
    """The teams of these names; None where the sender may not write for one, or there is none."""
    if judge.team_id is None:
        team_ids = judge.catalog.teams
        return [team_ids.get(team) if team else None for team in teams]
    ours = (None, judge.team_key)
    return [judge.team_id if team in ours else None for team in teams]


def find_forms(judge: Judge, namings: Sequence[Naming]) -> list[Form | None]:
    """What the events share that name themselves so; None where they may not count."""
    forms = [*map(judge.catalog.memory.forms.get, namings)]
    if not all(forms):
        forms = [form or _form(judge, *naming) for form, naming in zip(forms, namings, strict=True)]
    return forms


def find_amounts(judge: Judge, sent: Sequence[Any]) -> list[Amount | None]:
    """Quantities, each as it was sent; None where it is in doubt."""
    memory = judge.catalog.memory
    quantities = [each if type(each) is str else _sent(each) for each in sent]
    amounts = [*map(memory.amounts.get, quantities)]
    if not all(amounts):
        amounts = [amount or _amount(memory, sent) for amount, sent in zip(amounts, quantities, strict=True)]
    return amounts


def find_properties(judge: Judge, forms: Sequence[Form | None], sent: Sequence[bytes]) -> list[Properties | None]:
    """Properties, each as it was sent by an event of that form; None where they are in doubt."""
    properties = [form and form.properties.get(said) for form, said in zip(forms, sent, strict=True)]
    if not all(properties):
        properties = [
            known or (form and (form.properties.get(said) or _properties(judge, form, said)))
            for known, form, said in zip(properties, forms, sent, strict=True)
        ]
    return properties


def after_moment(subject: str | None) -> str:
    """What comes after the moment in the canonical content of an event, up to its properties."""
    return _NO_SUBJECT if subject is None else f",{to_json(subject).decode()}]"


def _sent(quantity: object) -> str | int | None:
    """A quantity as it is looked up. What is equal and says something else, as 1, 1.0 and true, is told apart."""
    if type(quantity) is Decimal:
        text = str(quantity)
        # 1000 as a decimal column of Parquet has it, without its zeros.
        return f"{quantity:f}" if "E+" in text and abs(quantity) < _MOST else text
    return quantity if type(quantity) is int else None


def amounts_depend(judge: Judge) -> bool:
    """Whether it depends on the event what amounts may count; see `may_not_count`."""
    return judge.catalog.memory.negatives or judge.catalog.multiplies


def may_not_count(amount: Amount | None, form: Form | None) -> bool:
    """Whether an amount is negative or large, and it is not sure that an event of this form may have it."""
    if amount is None:
        return False
    if amount.text[0] == "-" and (form is None or not form.may_be_negative):
        return True
    return form is not None and form.listeners.most != MOST and abs(Decimal(amount.text)) > form.listeners.most


def _form(judge: Judge, event: str | None, meter: str | None, unit: str | None) -> Form | None:
    catalog, name, named = judge.catalog, event, None
    if meter is not None:
        named = catalog.meters.get(meter)
        if named is None or event not in (None, named.event):
            return None
        name = named.event
    listeners = catalog.events.get(name or "")
    if name is None or listeners is None:
        return None
    if unit is not None and unit not in (listeners.units if named is None else (named.unit,)):
        return None
    form = Form(
        before_quantity=f'[{to_json(name).decode()},"',
        before_moment=f'",{to_json(unit).decode()},',
        fields=binary.text_field(name) + binary.text_field(unit),
        listeners=listeners,
        meter=named and named.meter,
        may_be_negative=listeners.quantity_may_be_negative,
        properties={},
    )
    naming: Naming = (event, meter, unit)
    return catalog.memory.forms.setdefault(naming, form)


def _amount(memory: Memory, sent: str | int | None) -> Amount | None:
    if sent is None or not (_NUMBER.fullmatch(sent) if isinstance(sent, str) else -_MOST < sent < _MOST):
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

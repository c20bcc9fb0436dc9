"""A usage event: as it is sent, what its identity is, and as a fact that is ready to land."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

if TYPE_CHECKING:
    from metering.ingestion.facts import Facts
    from metering.ingestion.validation import Judge
    from metering.ingestion.written import Written

MAX_KEY = 255
"""Characters of an idempotency key or a subject."""

_WIDE = Context(prec=1100)
_WHOLE_DIGITS, _FRACTION_DIGITS = 26, 12  # of the column numeric(38, 12)
MOST = Decimal(10) ** 20
"""What a meter counts of one event is at most this, its multiplier included, so that no sum of them outgrows the 88
digits that sums have. The dbt macro `most_of_an_event` says the same to metering."""
ONE = Decimal(1)

Verdict = Literal["accepted", "duplicate", "quarantined"]
VERDICTS: tuple[Verdict, ...] = ("accepted", "duplicate", "quarantined")


class Event(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One usage event as a sender writes it.

    A field that is not known is an error and not ignored: a misspelt `quantity` must not silently become 1. JSON
    numbers are decoded to Decimal from their text, never through a float.

    `observed_at` is for who does not know when it happened, only when they came to know of it: it stands in for `time`
    where that is missing, and is no part of what the event says, so that sending it again later says the same. The
    name and the rule are those of OpenTelemetry's ObservedTimestamp (Logs Data Model).

    `meter` says by a meter's key which event it is: the one that this meter listens to. It is another way of writing
    `event` and no part of what the event says, so that both ways make one and the same event.
    """

    event: str | None = None
    meter: str | None = None
    team: str | None = None
    quantity: Decimal = ONE
    unit: str | None = None
    idempotency_key: str | None = None
    time: str | None = None
    subject: str | None = None
    properties: dict[str, Any] = {}
    observed_at: str | None = None


class Plain(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """One usage event, decoded as far as it takes to land most of them; see `Event` for what it means.

    What decodes to an `Event` decodes to this, though not the other way round.
    """

    event: str | None = None
    meter: str | None = None
    team: str | None = None
    quantity: Any = ONE
    unit: str | None = None
    idempotency_key: str | None = None
    time: str | None = None
    subject: str | None = None
    properties: msgspec.Raw = msgspec.Raw()
    observed_at: str | None = None


class Malformed(msgspec.Struct, gc=False):
    """An event that could not be read as one: what is wrong, and where."""

    reason: str
    field: str | None
    message: str
    team: str | None = None
    """Whose it is, where that could be read."""
    idempotency_key: str | None = None
    """Its key, where that could be read."""


class Origin(Protocol):
    """Where events came from: gives back what was sent, for the quarantine."""

    def payload(self, index: int) -> str:
        """The event at `index`, as it was sent."""

    def line(self, index: int) -> int | None:
        """The line of the file on which the event at `index` begins, if it came from a file."""


class Swift(Protocol):
    """Events in arrays, which judge thousands at once; `metering.files.vectors.Vectors` is it."""

    def sort(self, judge: Judge, careful: Callable[[int], None], facts: Facts) -> None:
        """Make `facts` of them; `careful`, called with the index of a doubtful one, adds it to `facts` or does not."""


class Decoded(Origin, Protocol):
    """The events of an origin, the quick way where there is one."""

    @property
    def written(self) -> Written | None:
        """Its events where all of them could be decoded the quick way."""

    @property
    def vectors(self) -> Swift | None:
        """Its events where they stand in arrays."""

    @property
    def holds_escapes(self) -> bool:
        """Whether any text of it may hold what can't be stored."""

    @property
    def events(self) -> Sequence[Event | Malformed]:
        """Each event, decoded in full."""

    def event(self, index: int) -> Event | Malformed:
        """The event at `index`, decoded in full."""


class Fact(msgspec.Struct, gc=False):
    """A valid event, ready to land."""

    index: int
    """Its place in its origin."""
    origin: Origin
    team_id: int
    key: str
    key_derived: bool
    key_digest: bytes
    """The first 16 bytes of the SHA-256 of the key."""
    content_digest: bytes
    """The first 16 bytes of the SHA-256 of the canonical content: equal where two events say the same."""
    moment: int
    """When it occurred, in microseconds since 2000-01-01 UTC, as PostgreSQL counts."""
    row: bytes
    """Its columns from event_key on in the binary format of COPY: event_key, event_name, unit, quantity, subject,
    properties."""
    verdict: Verdict = "accepted"
    """What became of it; valid once its transaction has been committed."""


class Reject(msgspec.Struct, gc=False):
    """An event that cannot be counted, with its reason."""

    index: int
    origin: Origin
    team_id: int
    """The team it belongs to, or 0 where that is not known."""
    reason: str
    field: str | None
    message: str
    key: str | None = None
    key_derived: bool = False


class Sorted(msgspec.Struct):
    """The events of one origin, told apart by what is to become of them."""

    origin: Origin
    facts: Facts
    rejects: list[Reject]
    """To be kept in quarantine."""
    refused: list[Reject]
    """Not ours to keep: the sender may not write for that team."""

    def __len__(self) -> int:
        return len(self.facts) + len(self.rejects) + len(self.refused)


class Rejected(Exception):
    """An event that cannot count."""

    def __init__(self, reason: str, field: str | None, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.field = field
        self.message = message


class Unreadable(Exception):
    """What was sent is not JSON, or not of a shape that holds events. `position` is a byte offset, where known."""

    def __init__(self, message: str, position: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.position = position


class TooLarge(Unreadable):
    """What was sent, or what it unpacks to, has more bytes than are taken; in parts it would do."""


to_json = msgspec.json.Encoder(decimal_format="number", order="sorted").encode
"""JSON with sorted keys, and decimals as numbers in their own digits."""


def plain_decimal(value: Decimal) -> str:
    """Write a decimal in its one canonical way (1, 1.0 and 1.00 are "1"); raise ValueError where it does not fit.

    What fits: finite, at most 26 digits before and 12 after the point. Nothing is ever rounded. What a meter counts may
    be at most its `most`, besides.
    """
    text = str(value)
    if len(text) <= _WHOLE_DIGITS and text.isdigit():
        return text
    if not value.is_finite():
        raise ValueError("is not a finite number")
    if not value:
        return "0"
    if value.adjusted() >= _WHOLE_DIGITS:
        raise ValueError(f"has more than {_WHOLE_DIGITS} digits before the point")
    if value.adjusted() < -_FRACTION_DIGITS or len(text) > _WIDE.prec:
        raise ValueError(f"has more than {_FRACTION_DIGITS} digits after the point")
    text = format(value.normalize(_WIDE), "f")
    if len(text.partition(".")[2]) > _FRACTION_DIGITS:
        raise ValueError(f"has more than {_FRACTION_DIGITS} digits after the point")
    return text


def digest(content: bytes) -> bytes:
    """16 bytes that identify `content`."""
    return hashlib.sha256(content).digest()[:16]


def content_digest(
    event: str, quantity: str, unit: str | None, moment: int | None, subject: str | None, properties: bytes
) -> bytes:
    """Identify what an event says, apart from its key and team.

    `quantity` is canonical, `moment` None where the sender gave no time (so that sending it again says the same), and
    `properties` JSON with sorted keys and canonical numbers.
    """
    return digest(to_json((event, quantity, unit, moment, subject)) + properties)


def derived_key(content: bytes) -> str:
    """The key of an event that was sent without one: made of all that it says."""
    return "derived-" + content.hex()

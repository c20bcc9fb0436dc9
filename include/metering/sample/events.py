"""The plan's usage as events: split exactly, spread over days and weeks, and disturbed as real senders disturb it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from random import Random
from typing import NamedTuple
from zoneinfo import ZoneInfo

from metering.sample.plan import MILLION, SEED, Plan, PlannedUsage, make_plan, sample_instants

# Requests and jobs follow the hours of a local day, and rest at the weekend. In parts of the busiest hour.
_DAY = (2, 1, 1, 1, 1, 2, 4, 8, 14, 20, 24, 23, 18, 20, 24, 23, 20, 16, 12, 9, 8, 6, 4, 3)
_WEEK = (5, 6, 6, 6, 5, 2, 1)
_HOUR = 3600 * MILLION

DUPLICATES_PER_MILLE = 15
LATE_PER_MILLE = 20
CONFLICTS = 60
WRONG_OF_EACH_KIND = 25


class SampleEvent(NamedTuple):
    """An event as the client library takes it; `time` is RFC 3339 in UTC, `quantity` is text."""

    team: str
    event: str
    quantity: str
    unit: str
    idempotency_key: str
    time: str
    subject: str
    properties: dict[str, str]


@dataclass(frozen=True)
class Sample:
    """The events in the order in which they are sent, and what must become of them when they are sent once."""

    plan: Plan
    events: list[SampleEvent]
    landed: int
    duplicate: int
    quarantined: dict[str, int]
    """By what is wrong: conflict, unknown_event, unknown_team, negative, not_a_number, future."""

    @property
    def sent(self) -> int:
        """How many events there are in all."""
        return len(self.events)


def make_sample(now: datetime, seed: str = SEED) -> Sample:
    """Plan the usage up to `now` (a whole hour) and make its events. The same moment and seed give the same events."""
    plan = make_plan(now, seed)
    random = Random(f"{seed}/{plan.now:%Y-%m-%dT%H}/order")  # noqa: S311 - no secret, a repeatable sample
    good = [timed for part in plan.usage for timed in _split(part, seed)]
    keyed: list[tuple[int, SampleEvent]] = []
    duplicates = 0
    for moment, event in good:
        chance = random.random() * 1000
        # Late events are sent hours or days after newer ones; all others as they happen.
        delay = random.randrange(3 * _HOUR, 120 * _HOUR) if chance < LATE_PER_MILLE else 0
        keyed.append((moment + delay, event))
        if chance > 1000 - DUPLICATES_PER_MILLE:
            # A retry comes at once, a replay comes days later.
            keyed.append((moment + random.choice((1, 24 * _HOUR, 240 * _HOUR)), event))
            duplicates += 1
    wrong = list(_wrong(plan, [event for _, event in good], random))
    keyed.extend((moment, event) for moment, _, event in wrong)
    keyed.sort(key=lambda entry: entry[0])
    conflicts = [_conflict(event) for _, event in random.sample(good, min(CONFLICTS, len(good)))]
    reasons = Counter(reason for _, reason, _ in wrong)
    if conflicts:
        reasons["conflict"] = len(conflicts)
    return Sample(plan, [event for _, event in keyed] + conflicts, len(good), duplicates, dict(reasons))


def _split(part: PlannedUsage, seed: str) -> Iterator[tuple[int, SampleEvent]]:
    """The events of one part of the plan with their times in microseconds; their quantities add up to its total."""
    if part.events == 0:
        return
    random = Random(f"{seed}/{part.key}/events")  # noqa: S311 - repeatable, no secret
    product, team = part.product, part.team.key
    properties = {product.dimension: product.value} if product.dimension else {}
    moments = _storage_moments(part) if product.product == "storage" else _busy_moments(part, random)
    weights = [random.randrange(64, 192) for _ in range(part.events)]
    whole_weight, passed, given = sum(weights), 0, 0
    for number, (moment, weight) in enumerate(zip(moments, weights, strict=True)):
        # What is due up to this event, less what was given before: no remainder is left at the end.
        passed += weight
        due = part.total * passed // whole_weight
        amount, given = due - given, due
        quantity = str(amount) if product.whole else f"{amount // MILLION}.{amount % MILLION:06d}"
        yield moment, SampleEvent(
            team, product.event, quantity, product.unit, f"{part.key}/{number}", rfc3339(moment),
            f"{team}-{number % 7}", properties,
        )  # fmt: skip


def _storage_moments(part: PlannedUsage) -> list[int]:
    instants = sample_instants(part.start, part.end, part.team.storage_every_hours)
    return [microseconds(instant) for instant in instants[: part.events]]


def _busy_moments(part: PlannedUsage, random: Random) -> list[int]:
    """Times in order: more in busy local hours, the first at the very start, the last a microsecond before the end."""
    start, end = microseconds(part.start), microseconds(part.end)
    loads = _loads(part.team.time_zone, part.start, part.end)
    whole, count = sum(loads), part.events
    moments, hour, before = [], 0, 0
    for number in range(count):
        place = (number + random.random()) / count * whole
        while before + loads[hour] < place:
            before += loads[hour]
            hour += 1
        moments.append(min(start + int((hour + (place - before) / loads[hour]) * _HOUR), end - 1))
    moments[-1] = end - 1
    moments[0] = start
    return moments


@lru_cache(maxsize=256)
def _loads(time_zone: str, start: datetime, end: datetime) -> list[int]:
    """How busy each hour of [start, end) is, by the clock on the team's wall."""
    zone = ZoneInfo(time_zone)
    hours = -((start - end) // timedelta(hours=1))
    walls = ((start + timedelta(hours=hour)).astimezone(zone) for hour in range(hours))
    return [_DAY[wall.hour] * _WEEK[wall.weekday()] for wall in walls]


def _conflict(event: SampleEvent) -> SampleEvent:
    """The same key with another quantity: the first one stands."""
    return event._replace(quantity=f"9{event.quantity}")


def _wrong(plan: Plan, good: list[SampleEvent], random: Random) -> Iterator[tuple[int, str, SampleEvent]]:
    """Events that cannot be counted: when they are sent, what is wrong, and the event."""
    if not good:
        return
    now = microseconds(plan.now)
    # Far enough ahead to be wrong on whatever day the same sample is sent again.
    ahead = rfc3339(now + 5 * 365 * 24 * _HOUR)
    for number in range(WRONG_OF_EACH_KIND):
        for reason, field, value in (
            ("unknown_event", "event", "api_reqest"),
            ("unknown_team", "team", "acme-typo"),
            ("negative", "quantity", "-3"),
            ("not_a_number", "quantity", "NaN"),
            ("future", "time", ahead),
        ):
            event = SampleEvent(**{**random.choice(good)._asdict(), field: value})
            sent = now - random.randrange(1, 60 * 24) * _HOUR
            yield sent, reason, event._replace(idempotency_key=f"wrong/{reason}/{number}")


def microseconds(moment: datetime) -> int:
    """Microseconds since the Unix epoch; exact, unlike a timestamp in floating point."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@lru_cache(maxsize=4096)
def _hour(hours: int) -> str:
    return f"{datetime.fromtimestamp(hours * 3600, UTC):%Y-%m-%dT%H}"


def rfc3339(moment: int) -> str:
    """A time in microseconds since the epoch as RFC 3339 text in UTC."""
    hours, rest = divmod(moment, _HOUR)
    seconds, micros = divmod(rest, MILLION)
    return f"{_hour(hours)}:{seconds // 60:02d}:{seconds % 60:02d}.{micros:06d}Z"

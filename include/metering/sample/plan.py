"""The plan of the sample's usage: how much each team uses of what, decided before there is any event.

Every total is a whole number of units or of millionths, so that splitting it into events can neither lose nor add
anything, and a bill can be expected without looking at an event.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random

from metering.sample.calendar import Period, periods
from metering.sample.prices import price_change
from metering.sample.teams import TEAMS, SampleTeam

SEED = "metering sample 1"
MILLION = 1_000_000


@dataclass(frozen=True)
class Product:
    """One slice of a meter: how many units a team of size 100 uses in a full period, in how many events a day."""

    product: str
    event: str
    meter: str
    dimension: str | None
    value: str
    unit: str
    units: int
    events_a_day: int
    whole: bool
    """Whether an event's quantity is a whole number; otherwise it has six decimals."""
    price_changes: bool = False


PRODUCTS = (
    Product("api", "api_request", "api_calls", "endpoint", "search", "request", 90_000, 10, True, price_changes=True),
    Product("api", "api_request", "api_calls", "endpoint", "embed", "request", 60_000, 8, True),
    Product("api", "api_request", "api_calls", "endpoint", "export", "request", 3_300, 3, True),
    Product("storage", "storage_sampled", "storage_gb_hours", None, "", "GB-hour", 180_000, 4, False),
    Product("compute", "compute_used", "compute_hours", "instance_type", "small", "hour", 900, 5, False),
    Product("compute", "compute_used", "compute_hours", "instance_type", "large", "hour", 240, 3, False),
    Product(
        "compute", "compute_used", "compute_hours", "instance_type", "gpu", "hour", 36, 2, False, price_changes=True
    ),
)


@dataclass(frozen=True)
class PlannedUsage:
    """What a team uses of one slice in [start, end), which lies in one period and at one price."""

    team: SampleTeam
    period: Period
    product: Product
    start: datetime
    end: datetime
    total: int
    """In units where the product is whole, in millionths of a unit otherwise."""
    events: int
    key: str
    """Names this part of the plan; what is random in it comes from the seed and this key."""


@dataclass(frozen=True)
class Plan:
    """All planned usage up to `now` (UTC, a whole hour)."""

    now: datetime
    usage: tuple[PlannedUsage, ...]

    @property
    def events(self) -> int:
        """How many events count."""
        return sum(part.events for part in self.usage)


def make_plan(now: datetime, seed: str = SEED) -> Plan:
    """Decide all usage up to `now`, which must be a whole hour. The same moment and seed give the same plan."""
    if now.tzinfo is None or now.astimezone(UTC) != now.replace(minute=0, second=0, microsecond=0):
        raise ValueError("the sample's moment must be a whole hour with a time zone")
    now = now.astimezone(UTC)
    return Plan(now, tuple(part for team in TEAMS for part in _team(team, now, seed)))


def _team(team: SampleTeam, now: datetime, seed: str) -> Iterator[PlannedUsage]:
    change = price_change(now)
    for period in periods(team, now):
        until = min(period.end, now)
        for product in PRODUCTS:
            if product.product not in team.products:
                continue
            cuts = [period.start, until]
            if product.price_changes and period.start < change < until:
                cuts.insert(1, change)
            for start, end in pairwise(cuts):
                key = f"{team.key}/{product.meter}/{product.value}/{period.label}/{start:%m%d%H%M}"
                # No secret hangs on it: the sample is to be the same everywhere.
                random = Random(f"{seed}/{key}/total")  # noqa: S311 - repeatable, no secret
                yield _part(team, period, product, start, end, key, random)


def _part(
    team: SampleTeam, period: Period, product: Product, start: datetime, end: datetime, key: str, random: Random
) -> PlannedUsage:
    hours = (end - start) // timedelta(hours=1)
    period_hours = (period.end - period.start) // timedelta(hours=1)
    if product.product == "storage":
        events = len(sample_instants(start, end, team.storage_every_hours))
    else:
        events = product.events_a_day * hours // 24
    total = product.units * team.size * random.randrange(85, 116) * hours // (10_000 * period_hours)
    if product.value == "search" and team.search_exactly is not None:
        total = team.search_exactly
    if not product.whole:
        # Less than a unit more, so that the last decimals matter.
        total = total * MILLION + random.randrange(MILLION)
    if events == 0:
        total = 0
    return PlannedUsage(team, period, product, start, end, total, min(events, total), key)


def sample_instants(start: datetime, end: datetime, every_hours: int) -> list[datetime]:
    """When storage is looked at: each whole multiple of `every_hours` (UTC, since the epoch) in [start, end)."""
    step = every_hours * 3600
    first = -(-int(start.timestamp()) // step) * step
    return [datetime.fromtimestamp(second, UTC) for second in range(first, int(end.timestamp()), step)]

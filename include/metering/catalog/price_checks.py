"""What must be true of a price beyond the shape of its parts. Each check yields where it fails, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any

from metering.catalog.currencies import EXPONENTS
from metering.catalog.parts import plain
from metering.catalog.price import Override, PlanTerms, Price, PriceVersion, Tier

if TYPE_CHECKING:
    from metering.catalog.model import Meter

Location = tuple[int | str, ...]
Mistake = tuple[Location, str]

MODELS = (
    "flat", "per_unit", "graduated", "volume", "package", "percentage", "graduated_percentage", "dynamic", "capacity",
)  # fmt: skip
ONE_TIER = ("flat", "per_unit", "package", "percentage")
BY_RATE = ("percentage", "graduated_percentage")
# Fields that only some models know.
ONLY_OF = {
    "fixed_per_event": ("percentage",),
    "free_events": ("percentage",),
    "free_amount": ("percentage",),
    "minimum_per_event": ("percentage",),
    "maximum_per_event": ("percentage",),
    "limited_by": ("capacity",),
    "unit_rounding": ("per_unit", "graduated", "volume", "package", "graduated_percentage", "dynamic"),
    "free_units": ("per_unit", "graduated", "volume", "package", "percentage", "graduated_percentage", "dynamic"),
    "each": tuple(model for model in MODELS if model not in ("flat", "capacity")),
    "group_by": tuple(model for model in MODELS if model not in ("flat", "capacity")),
    "commitment_units": ("per_unit", "graduated", "volume", "package", "graduated_percentage"),
}


def check(place: Location, price: Price, meters: Mapping[str, Meter]) -> Iterator[Mistake]:
    """Every mistake in one price."""
    if "@" in price.price or "#" in price.price or any(character.isspace() for character in price.price):
        yield (*place, "price"), "holds a space, an @ or a #, which the key of a bill line can't"
    if price.currency not in EXPONENTS:
        yield (*place, "currency"), f"{price.currency} is no currency that is known here (three capitals, such as USD)"
    meter = meters.get(price.meter)
    if meter is None:
        yield (*place, "meter"), f"there is no meter {price.meter} in this file"
    else:
        for dimension in sorted(set(price.match) - set(meter.dimensions)):
            yield (*place, "match", dimension), f"{dimension} is no dimension of the meter {price.meter}"
        if price.hours is not None and meter.aggregation == "weighted_sum":
            yield (*place, "hours"), "a weighted_sum is a level over all of the time and has no hours"
    for one, other in pairwise(price.quarters_of_the_week):
        if other[0] < one[1]:
            yield (*place, "hours"), "the same hour stands here twice"
            break
    yield from _versions(place, price.versions, price, meter)


def _versions(
    place: Location, versions: Sequence[PriceVersion], price: Price, meter: Meter | None
) -> Iterator[Mistake]:
    seen = set()
    for number, version in enumerate(versions):
        at: Location = (*place, "versions", number)
        if version.effective_from in seen:
            yield (*at, "effective_from"), "another version of this price begins at the same moment"
        seen.add(version.effective_from)
        yield from _version(at, version)
        if meter is not None:
            yield from _measured(at, price, version, meter)


def overrides(
    place: Location, said: Sequence[Override], prices: Mapping[str, Price], meters: Mapping[str, Meter]
) -> Iterator[Mistake]:
    """Every mistake in the prices that are a team's own."""
    seen = set()
    for number, override in enumerate(said):
        at: Location = (*place, "overrides", number)
        if override.price in seen:
            yield (*at, "price"), f"another override is of the price {override.price} already"
        seen.add(override.price)
        price = prices.get(override.price)
        if price is None:
            yield (*at, "price"), f"there is no price {override.price} in this catalog"
        else:
            yield from _versions(at, override.versions, price, meters.get(price.meter))


def terms(place: Location, said: Sequence[PlanTerms]) -> Iterator[Mistake]:
    """Every mistake in what stands around the prices of a plan."""
    seen = set()
    for number, one in enumerate(said):
        at: Location = (*place, "terms", number)
        if one.currency not in EXPONENTS:
            yield (*at, "currency"), f"{one.currency} is no currency that is known here"
        if (one.currency, one.effective_from) in seen:
            yield (*at, "effective_from"), "other terms in this currency begin at the same moment"
        seen.add((one.currency, one.effective_from))
        yield from _around(at, one)


def _version(place: Location, version: PriceVersion) -> Iterator[Mistake]:
    if version.model not in MODELS:
        yield (*place, "model"), f"{version.model} is no price model: use one of {', '.join(MODELS)}"
        return
    if version.unit_divisor <= 0:
        yield (*place, "unit_divisor"), "must be above zero"
    for field, models in ONLY_OF.items():
        if getattr(version, field) is not None and version.model not in models:
            yield (*place, field), f"a {version.model} price has none: it is of {', '.join(models)}"
    yield from _shape((*place, "tiers"), version)
    yield from _around(place, version)


def _shape(place: Location, version: PriceVersion) -> Iterator[Mistake]:
    """Whether the tiers are those of the model."""
    tiers, model = version.tiers, version.model
    if not tiers:
        if model != "dynamic":
            yield place[:-1], f"a {model} price needs tiers"
        return
    if model == "dynamic":
        yield place, "a dynamic price has no tiers: its amount comes with the event (a multiplier may be given)"
        return
    yield from _limits(place, version) if model == "capacity" else _tiers(place, tiers)
    first = tiers[0]
    if model in ONE_TIER and (len(tiers) > 1 or first.up_to is not None):
        yield place, f"a {model} price has one tier, without up_to"
    if model == "flat" and first.unit_amount:
        yield (*place, 0, "unit_amount"), "a flat price has a flat_amount only"
    if model in ("per_unit", "package", "percentage") and first.flat_amount:
        yield (*place, 0, "flat_amount"), f"a {model} price has none (use graduated for both)"
    for number, tier in enumerate(tiers):
        at: Location = (*place, number)
        if (tier.rate_percent is not None) != (model in BY_RATE):
            yield (
                (*at, "rate_percent") if tier.rate_percent is not None else at,
                f"a {model} price has {'a rate_percent' if model in BY_RATE else 'a unit_amount and no rate_percent'}",
            )
        if tier.rate_percent is not None and tier.unit_amount:
            yield (*at, "unit_amount"), "a tier with a rate_percent has no unit_amount"
        if tier.block_size is not None and model not in ("package", "graduated", "volume"):
            yield (*at, "block_size"), f"a {model} price has no blocks"
        if tier.block_size is None and model == "package":
            yield at, "a package price says how many units a package holds: block_size"
        if tier.limits is not None and model != "capacity":
            yield (*at, "limits"), "only the tiers of a capacity price have limits"
    if version.block_rounding is not None and all(tier.block_size is None for tier in tiers):
        yield (*place[:-1], "block_rounding"), "no tier has a block_size"


def _tiers(place: Location, tiers: Sequence[Tier]) -> Iterator[Mistake]:
    """Tiers are continuous: each begins where the one before ends, and the last has no end."""
    bound: Any = 0
    last = len(tiers) - 1
    for number, tier in enumerate(tiers):
        at: Location = (*place, number)
        if tier.unit_amount < 0 or tier.flat_amount < 0 or (tier.rate_percent or 0) < 0:
            yield at, "an amount is below zero"
        if bound is None:
            yield at, "stands after a tier without up_to, which has no end"
            return
        if tier.over is not None and tier.over < bound:
            yield (
                (*at, "over"),
                f"overlaps: the tier before goes up to {plain(bound)}, and this one begins over {plain(tier.over)}",
            )
        if tier.over is not None and tier.over > bound:
            yield (*at, "over"), f"leaves a gap: usage over {plain(bound)} up to {plain(tier.over)} has no tier"
        if tier.up_to is not None and tier.up_to == bound:
            yield (*at, "up_to"), f"is empty: the tier begins over {plain(bound)} and goes no further"
        if tier.up_to is not None and tier.up_to < bound:
            yield (*at, "up_to"), f"overlaps: {plain(tier.up_to)} is below {plain(bound)}, where this tier begins"
        bound = tier.up_to
        if number == last and bound is not None:
            yield (*at, "up_to"), f"leaves a gap: usage over {plain(bound)} has no tier (the last tier has no up_to)"


def _limits(place: Location, version: PriceVersion) -> Iterator[Mistake]:
    """The tiers of a capacity price reach further and further, and the last as far as usage may go."""
    if version.limited_by is None:
        yield place[:-1], "a capacity price says which dimension's values its tiers limit: limited_by"
    for number, tier in enumerate(version.tiers):
        at: Location = (*place, number)
        if tier.flat_amount < 0:
            yield at, "an amount is below zero"
        if tier.unit_amount or tier.up_to is not None or tier.over is not None:
            yield at, "a tier of a capacity price has limits and a flat_amount"
        if number == len(version.tiers) - 1 and tier.limits:
            yield (*at, "limits"), "leaves a gap: usage beyond it has no tier (the last tier has no limits)"
        if number and (before := version.tiers[number - 1].limits) is not None:
            for value, limit in (tier.limits or {}).items():
                if value not in before:
                    yield (*at, "limits", value), "has no limit in the tier before, so that this tier is never reached"
                elif limit <= before[value]:
                    yield (*at, "limits", value), f"overlaps: the tier before reaches {plain(before[value])}"


def _around(place: Location, version: PriceVersion | PlanTerms) -> Iterator[Mistake]:
    """What stands around a price, or the prices of a plan, agrees with itself."""
    units = version.commitment_units if isinstance(version, PriceVersion) else None
    if units is not None and version.commitment_amount is not None:
        yield (*place, "commitment_amount"), "a commitment is in units or an amount, not both"
    if units is None and version.commitment_amount is None:
        for field in ("overage_factor", "true_up"):
            if getattr(version, field) is not None:
                yield (*place, field), "there is no commitment that it could be about"
    low, high = version.minimum_amount, version.maximum_amount
    if low is not None and high is not None and low > high:
        yield (*place, "maximum_amount"), f"is below the minimum_amount, {plain(low)}"
    if isinstance(version, PlanTerms):
        return
    low, high = version.minimum_per_event, version.maximum_per_event
    if low is not None and high is not None and low > high:
        yield (*place, "maximum_per_event"), f"is below the minimum_per_event, {plain(low)}"
    if version.free_units is not None and version.treats_events:
        yield (*place, "free_units"), "a price that treats each event by itself says free_amount"


def _measured(place: Location, price: Price, version: PriceVersion, meter: Meter) -> Iterator[Mistake]:
    """Whether the meter measures what the price needs."""
    if version.treats_events and not meter.keep_events:
        yield place, f"treats each event by itself, and the meter {meter.meter} doesn't keep them apart: keep_events"
    if version.each is not None and meter.aggregation == "weighted_sum":
        yield (*place, "each"), "a weighted_sum is a level over all of the time and has no hours or days"
    if version.each is not None and meter.aggregation == "bucketed_max" and meter.bucket != version.each:
        yield (*place, "each"), f"the meter {meter.meter} tells each {meter.bucket} apart"
    for dimension in version.group_by or ():
        if dimension not in meter.dimensions:
            yield (*place, "group_by"), f"{dimension} is no dimension of the meter {meter.meter}"
    if version.limited_by is not None:
        if version.limited_by not in meter.dimensions:
            yield (*place, "limited_by"), f"{version.limited_by} is no dimension of the meter {meter.meter}"
        if meter.aggregation == "unique_count":
            yield (*place, "limited_by"), "a unique_count tells its own values apart"


def apart(place: Location, prices: Sequence[Price]) -> Iterator[Mistake]:
    """Prices of one meter and currency in one plan that price hours or days by themselves do so by the same unit."""
    units: dict[tuple[str, str], str] = {}
    for number, price in enumerate(prices):
        for position, version in enumerate(price.versions):
            if version.each is None:
                continue
            unit = units.setdefault((price.meter, price.currency), version.each)
            if unit != version.each:
                at: Location = (*place, "prices", number, "versions", position, "each")
                yield at, f"another price of the meter {price.meter} in this plan is by the {unit}"


def ambiguous(place: Location, prices: Sequence[Price]) -> Iterator[Mistake]:
    """Usage takes the price that names most of its dimensions, so two that name as many may not both fit."""
    for (_, one), (number, other) in combinations(enumerate(prices), 2):
        if (one.meter, one.currency, _named(one)) != (other.meter, other.currency, _named(other)):
            continue
        shared = set(one.match) & set(other.match)
        if all(one.match[key] == other.match[key] for key in shared) and _overlap(one, other):
            yield (*place, "prices", number, "match"), f"the same usage would take the price {one.price} too"


def _named(price: Price) -> int:
    """How much a price names: hours count as one more dimension."""
    return len(price.match) + (price.hours is not None)


def _overlap(one: Price, other: Price) -> bool:
    if one.hours is None or other.hours is None:
        return True
    return any(
        lower < other_upper and other_lower < upper
        for lower, upper in one.quarters_of_the_week
        for other_lower, other_upper in other.quarters_of_the_week
    )

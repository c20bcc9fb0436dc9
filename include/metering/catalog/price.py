"""Prices: what a meter's usage costs, from when on, and what stands around that."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Context, Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from metering.catalog.parts import Amount, Moment, Part, Text, plain

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
QUARTERS_OF_A_DAY = 96
PARAMETERS = (
    "unit_rounding", "free_units", "block_rounding", "multiplier", "each", "group_by", "limited_by",
    "fixed_per_event", "free_events", "free_amount", "minimum_per_event", "maximum_per_event",
    "commitment_units", "commitment_amount", "overage_factor", "true_up", "discount_percent", "minimum_amount",
    "maximum_amount",
)  # fmt: skip
"""The fields of a version that not every price has; kept in `billing.price_versions.parameters` where they are said."""

_WIDE = Context(prec=60)
_CLOCK = re.compile(r"([01]\d|2[0-3]):(00|15|30|45)|24:00")


def _on_the_clock(value: str) -> str:
    if not _CLOCK.fullmatch(value):
        raise ValueError("is no time of day on a quarter of an hour, such as '08:00' (with quotes)")
    return value


Clock = Annotated[str, AfterValidator(_on_the_clock)]


class Hours(Part):
    """Hours of the week on the team's own clock: on each of `days` from `since` until `until`, over midnight too."""

    days: Annotated[tuple[Day, ...], Field(min_length=1)] = DAYS
    since: Clock
    until: Clock

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """Half-open ranges of quarter-hours of the week; 0 is Monday from 00:00 to 00:15."""
        since, until = _quarter(self.since), _quarter(self.until)
        found: list[tuple[int, int]] = []
        for day in self.days:
            start = DAYS.index(day) * QUARTERS_OF_A_DAY
            if since < until:
                found.append((start + since, start + until))
            else:
                next_day = (start + QUARTERS_OF_A_DAY) % (7 * QUARTERS_OF_A_DAY)
                found += [(start + since, start + QUARTERS_OF_A_DAY), (next_day, next_day + until)]
        return [(lower, upper) for lower, upper in found if lower < upper]


def _quarter(clock: str) -> int:
    return int(clock[:2]) * 4 + int(clock[3:]) // 15


def _kept(said: Mapping[str, object]) -> dict[str, object]:
    """Fields that were said, in the one way in which they are kept: decimals as text, so that none becomes a float."""
    return {
        name: plain(value) if isinstance(value, Decimal) else list(value) if isinstance(value, tuple) else value
        for name, value in said.items()
        if value is not None
    }


class Tier(Part):
    """Over the tier before (`over`, which may be left out), up to and including `up_to` (None: without end).

    `unit_amount` is for each unit, or for each block of `block_size` units; `rate_percent`, of a percentage price, says
    it in percent. `limits`, of a capacity price, is up to how much of each value of its dimension the tier reaches.
    """

    over: Amount | None = None
    up_to: Amount | None = None
    unit_amount: Amount = Decimal(0)
    flat_amount: Amount = Decimal(0)
    rate_percent: Annotated[Amount, Field(decimal_places=10)] | None = None
    block_size: Annotated[Amount, Field(gt=0)] | None = None
    limits: Mapping[Text, Amount] | None = None

    @property
    def price_of_a_unit(self) -> Decimal:
        """What one unit (or block) costs, in the currency's major unit."""
        return self.unit_amount if self.rate_percent is None else self.rate_percent.scaleb(-2, _WIDE)


class PriceVersion(Part):
    """A price from `effective_from` (UTC) until the next version. docs/catalog.md says what each field means."""

    effective_from: Moment
    model: Text
    charge_unit: Text
    unit_divisor: Amount = Decimal(1)
    per_period_hour: bool = False
    charge_zero_flat: bool = True
    tiers: tuple[Tier, ...] = ()
    unit_rounding: Literal["up", "down", "round"] | None = None
    free_units: Annotated[Amount, Field(ge=0)] | None = None
    block_rounding: Literal["up", "down"] | None = None
    multiplier: Annotated[Amount, Field(ge=0)] | None = None
    each: Literal["hour", "day"] | None = None
    group_by: tuple[Text, ...] | None = None
    limited_by: Text | None = None
    fixed_per_event: Annotated[Amount, Field(ge=0)] | None = None
    free_events: Annotated[int, Field(ge=0)] | None = None
    free_amount: Annotated[Amount, Field(ge=0)] | None = None
    minimum_per_event: Annotated[Amount, Field(ge=0)] | None = None
    maximum_per_event: Annotated[Amount, Field(ge=0)] | None = None
    commitment_units: Annotated[Amount, Field(ge=0)] | None = None
    commitment_amount: Annotated[Amount, Field(ge=0)] | None = None
    overage_factor: Annotated[Amount, Field(ge=0)] | None = None
    true_up: bool | None = None
    discount_percent: Annotated[Amount, Field(ge=0, le=100)] | None = None
    minimum_amount: Annotated[Amount, Field(ge=0)] | None = None
    maximum_amount: Annotated[Amount, Field(ge=0)] | None = None

    @property
    def parameters(self) -> dict[str, object]:
        """What not every price has, as it is kept: only what was said, decimals as text."""
        return _kept({name: getattr(self, name) for name in PARAMETERS})

    @property
    def priced_tiers(self) -> tuple[Tier, ...]:
        """Its tiers; a dynamic price, whose amount comes with the event, has the one that takes it as it is."""
        return self.tiers or ((Tier(unit_amount=Decimal(1)),) if self.model == "dynamic" else ())

    @property
    def treats_events(self) -> bool:
        """Whether it matters which event was first, or what each brought."""
        return not {"free_events", "free_amount", "minimum_per_event", "maximum_per_event"}.isdisjoint(self.parameters)


class Price(Part):
    """What one meter's usage costs, or the part of it whose dimensions are those of `match`, within `hours`."""

    price: Text
    name: Text
    meter: Text
    currency: Text
    match: Mapping[Text, str] = {}
    hours: Annotated[tuple[Hours, ...], Field(min_length=1)] | None = None
    versions: Annotated[tuple[PriceVersion, ...], Field(min_length=1)]

    @property
    def quarters_of_the_week(self) -> list[tuple[int, int]]:
        """Half-open ranges of quarter-hours of the week, in order; none where it is for all hours."""
        return sorted(quarters for hours in self.hours or () for quarters in hours.ranges)

    @property
    def hours_as_kept(self) -> str | None:
        """The same as PostgreSQL writes a multirange."""
        if self.hours is None:
            return None
        return "{" + ",".join(f"[{lower},{upper})" for lower, upper in self.quarters_of_the_week) + "}"


class PlanTerms(Part):
    """What stands around all prices of a plan in one currency together, from `effective_from` (UTC) on.

    The version in force where a subscription's stretch on the plan begins within a period holds for that stretch.
    Amounts are of a whole cycle, in the currency's major unit.
    """

    effective_from: Moment
    currency: Text
    commitment_amount: Annotated[Amount, Field(ge=0)] | None = None
    overage_factor: Annotated[Amount, Field(ge=0)] | None = None
    true_up: bool | None = None
    discount_percent: Annotated[Amount, Field(ge=0, le=100)] | None = None
    minimum_amount: Annotated[Amount, Field(ge=0)] | None = None
    maximum_amount: Annotated[Amount, Field(ge=0)] | None = None

    @property
    def parameters(self) -> dict[str, object]:
        """What was said, as it is kept."""
        return _kept({name: getattr(self, name) for name in type(self).model_fields if name in PARAMETERS})


class Override(Part):
    """A price of a plan for one team: its versions replace the plan's from the first of them on."""

    price: Text
    """The key of the price."""
    versions: Annotated[tuple[PriceVersion, ...], Field(min_length=1)]

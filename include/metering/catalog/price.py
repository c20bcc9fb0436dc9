"""Prices: what a meter's usage costs, from when on, and what stands around that."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Context, Decimal
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

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
    """Days of the week; left out: all of them."""
    since: Clock
    """When it begins on each of the days, such as '08:00'."""
    until: Clock
    """When it ends, such as '20:00'; before `since`: on the day after."""

    @model_validator(mode="after")
    def _not_at_once(self) -> Self:
        if self.since == self.until:
            raise ValueError("begin and end at the same time; all of a day is from '00:00' until '24:00'")
        return self

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
    """Where it begins (excluded); left out: where the tier before ends."""
    up_to: Amount | None = None
    """Where it ends (included), in charge units; left out of the last."""
    unit_amount: Amount = Decimal(0)
    """What each unit, or block, costs, in the major unit of the currency."""
    flat_amount: Amount = Decimal(0)
    """What is owed once, if any usage reaches the tier; in the major unit of the currency."""
    rate_percent: Annotated[Amount, Field(decimal_places=10)] | None = None
    """Of percentage prices: the share that is owed, in percent."""
    block_size: Annotated[Amount, Field(gt=0)] | None = None
    """How many units are one block, or package, which is billed as a whole."""
    limits: Mapping[Text, Amount] | None = None
    """Of capacity prices: up to how much of each value of the dimension `limited_by` the tier reaches."""

    @property
    def price_of_a_unit(self) -> Decimal:
        """What one unit (or block) costs, in the currency's major unit."""
        return self.unit_amount if self.rate_percent is None else self.rate_percent.scaleb(-2, _WIDE)


class PriceVersion(Part):
    """A price from `effective_from` (UTC) until the next version. docs/catalog.md says what each field means."""

    effective_from: Moment
    """Since when it holds: a moment with a zone, on a quarter of an hour. It does until the next version begins."""
    model: Text
    """What a unit costs; docs/prices.md has figures for each."""
    charge_unit: Text
    """The unit that the tiers count, such as request or GB-month."""
    unit_divisor: Amount = Decimal(1)
    """How many of the meter's units make one charge unit; 1 if left out."""
    per_period_hour: bool = False
    """Whether to divide by the hours of the billing cycle too: GB-hours become GB-months."""
    charge_zero_flat: bool = True
    """Whether no usage owes the flat_amount of the first tier; yes if left out."""
    tiers: tuple[Tier, ...] = ()
    """Each over the one before, up to and including up_to; the last has none."""
    unit_rounding: Literal["up", "down", "round"] | None = None
    """Only whole charge units are charged: up, down or round (halves away from zero)."""
    free_units: Annotated[Amount, Field(ge=0)] | None = None
    """So many charge units are free; they are tier 0 of the line."""
    block_rounding: Literal["up", "down"] | None = None
    """Whether a block that was begun is owed (up, if left out) or not (down)."""
    multiplier: Annotated[Amount, Field(ge=0)] | None = None
    """What usage costs, times this."""
    each: Literal["hour", "day"] | None = None
    """Usage of each hour, or day, of the team's clock is priced by itself."""
    group_by: tuple[Text, ...] | None = None
    """Usage of each combination of values of these dimensions is priced by itself."""
    limited_by: Text | None = None
    """Of capacity prices: the dimension whose values the tiers limit."""
    fixed_per_event: Annotated[Amount, Field(ge=0)] | None = None
    """Of percentage prices: owed for each event that is charged."""
    free_events: Annotated[int, Field(ge=0)] | None = None
    """Of percentage prices: so many events of a period are free, in the order of their time."""
    free_amount: Annotated[Amount, Field(ge=0)] | None = None
    """Of percentage prices: events are free until they have brought so much."""
    minimum_per_event: Annotated[Amount, Field(ge=0)] | None = None
    """Of percentage prices: what an event costs at least."""
    maximum_per_event: Annotated[Amount, Field(ge=0)] | None = None
    """Of percentage prices: what an event costs at most."""
    commitment_units: Annotated[Amount, Field(ge=0)] | None = None
    """So many charge units of a whole cycle are committed to; what they cost is the commitment."""
    commitment_amount: Annotated[Amount, Field(ge=0)] | None = None
    """So much of a whole cycle is committed to; prorated by day."""
    overage_factor: Annotated[Amount, Field(ge=0)] | None = None
    """What is beyond the commitment costs so many times its price."""
    true_up: bool | None = None
    """Whether what is missing to the commitment is owed; yes if left out."""
    discount_percent: Annotated[Amount, Field(ge=0, le=100)] | None = None
    """Taken off all before it."""
    minimum_amount: Annotated[Amount, Field(ge=0)] | None = None
    """What is owed at least in a whole cycle; prorated by day."""
    maximum_amount: Annotated[Amount, Field(ge=0)] | None = None
    """What is owed at most in a whole cycle; prorated by day."""

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
    """Its key, which stays: without spaces, @ and #."""
    name: Text
    """What bills call it."""
    meter: Text
    """The key of the meter whose usage it prices."""
    currency: Text
    """ISO 4217 code; amounts are in its major unit."""
    match: Mapping[Text, str] = {}
    """The values of dimensions that it is for; left out: all usage that no other price of the plan names."""
    hours: Annotated[tuple[Hours, ...], Field(min_length=1)] | None = None
    """The hours of the week that it is for, on the team's clock; left out: all that no other price takes."""
    versions: Annotated[tuple[PriceVersion, ...], Field(min_length=1)]
    """What it costs, and since when. To change it, add another version."""

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
    """Since when they hold: a moment with a zone, on a quarter of an hour."""
    currency: Text
    """ISO 4217 code: they are about the prices of the plan in it."""
    commitment_amount: Annotated[Amount, Field(ge=0)] | None = None
    """So much of a whole cycle is committed to, by all prices together; prorated by day."""
    overage_factor: Annotated[Amount, Field(ge=0)] | None = None
    """What is beyond the commitment costs so many times its price."""
    true_up: bool | None = None
    """Whether what is missing to the commitment is owed; yes if left out."""
    discount_percent: Annotated[Amount, Field(ge=0, le=100)] | None = None
    """Taken off all before it."""
    minimum_amount: Annotated[Amount, Field(ge=0)] | None = None
    """What is owed at least in a whole cycle; prorated by day."""
    maximum_amount: Annotated[Amount, Field(ge=0)] | None = None
    """What is owed at most in a whole cycle; prorated by day."""

    @property
    def parameters(self) -> dict[str, object]:
        """What was said, as it is kept."""
        return _kept({name: getattr(self, name) for name in type(self).model_fields if name in PARAMETERS})


class Override(Part):
    """A price of a plan for one team: its versions replace the plan's from the first of them on."""

    price: Text
    """The key of the price."""
    versions: Annotated[tuple[PriceVersion, ...], Field(min_length=1)]
    """What it costs this team, and since when."""

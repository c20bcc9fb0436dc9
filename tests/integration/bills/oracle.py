"""What bills come to, by hand: slow, in Decimal, and without a line of the product."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

FOREVER = datetime.max


@dataclass
class Facts:
    """All that was ever recorded of one team."""

    zone: str
    events: list[dict[str, Any]] = field(default_factory=list)
    """price (what it is for), at, quantity, recorded, withdrawn."""
    versions: list[dict[str, Any]] = field(default_factory=list)
    """plan, price, effective, recorded, model, tiers as (up to or None, unit amount, flat amount), and whether the unit
    is one for each hour of the period."""
    plans: list[dict[str, Any]] = field(default_factory=list)
    """plan, effective, recorded."""
    kinds: dict[str, str] = field(default_factory=dict)
    """What is made of the events of a price: `max`, or their sum."""
    periods: list[tuple[str, datetime, datetime]] = field(default_factory=list)
    """label, start, end: in their order."""
    finals: list[dict[str, Any]] = field(default_factory=list)
    """label, at, as_of: bills that became final."""


def total(facts: Facts, label: str, at: datetime, cents: int) -> Decimal:
    """The total of the bill of a period by what was known at a moment."""
    final = [kept for kept in facts.finals if kept["label"] == label and kept["at"] <= at]
    if final:
        return total(facts, label, final[0]["as_of"], cents)
    (start, end), *_ = [(start, end) for name, start, end in facts.periods if name == label]
    amount = sum(lines(facts, start, end, at, cents).values(), Decimal(0))
    closed = [kept for kept in facts.finals if kept["at"] <= at]
    is_open = [
        name for name, begins, _ in facts.periods if name not in {kept["label"] for kept in closed} and begins <= at
    ]
    if is_open and is_open[0] == label:
        for about, begins, ends in facts.periods:
            if about in {kept["label"] for kept in closed}:
                amount += due(facts, about, begins, ends, at, cents)
    return amount


def due(facts: Facts, about: str, start: datetime, end: datetime, at: datetime, cents: int) -> Decimal:
    """What is known at a moment about a period whose bill is final, less what final bills have billed about it."""
    known = sum(lines(facts, start, end, at, cents).values(), Decimal(0))
    billed = Decimal(0)
    for kept in facts.finals:
        if kept["at"] > at:
            continue
        if kept["label"] == about:
            billed += sum(lines(facts, start, end, kept["as_of"], cents).values(), Decimal(0))
            continue
        before = [other for other in facts.finals if other["at"] <= kept["as_of"]]
        names = [name for name, begins, _ in facts.periods if name not in {other["label"] for other in before}]
        if about in {other["label"] for other in before} and names[0] == kept["label"]:
            billed += due(facts, about, start, end, kept["as_of"], cents)
    return known - billed


def lines(
    facts: Facts, start: datetime, end: datetime, at: datetime, cents: int
) -> dict[tuple[str, datetime], Decimal]:
    """The amount of each price and stretch of a period by what was known at a moment, rounded once each."""
    found: dict[tuple[str, datetime], Decimal] = {}

    def day(moment: datetime) -> date:
        return moment.astimezone(ZoneInfo(facts.zone)).date()

    for plan, plan_from, plan_until in merged(stretches(facts.plans, at, ())):
        for price in sorted({version["price"] for version in facts.versions if version["plan"] == plan["plan"]}):
            for version, version_from, version_until in stretches(
                facts.versions, at, ("plan", "price"), plan["plan"], price
            ):
                since, until = max(start, plan_from, version_from), min(end, plan_until, version_until)
                if since < until:
                    days = Decimal((day(until) - day(since)).days) / Decimal((day(end) - day(start)).days)
                    used = measured(facts.kinds.get(price), [
                        event["quantity"] for event in facts.events
                        if event["price"] == price and since <= event["at"] < until and event["recorded"] <= at
                        and not (event["withdrawn"] and event["withdrawn"] <= at)
                    ])  # fmt: skip
                    if version.get("per_period_hour"):
                        hours = Decimal((end - start).total_seconds()) / 3600
                        used = (used / hours).quantize(Decimal("1e-12"), ROUND_HALF_UP)
                    exact = cost(version["model"], version["tiers"], used, days)
                    found[price, since] = exact.quantize(Decimal(1).scaleb(-cents), ROUND_HALF_UP)
    return found


def measured(kind: str | None, quantities: list[Decimal]) -> Decimal:
    """What a meter makes of events."""
    return max(quantities, default=Decimal(0)) if kind == "max" else sum(quantities, Decimal(0))


def stretches(
    versions: list[dict[str, Any]], at: datetime, names: tuple[str, ...], *values: str
) -> list[tuple[dict[str, Any], datetime, datetime]]:
    """Versions known at a moment, with the time for which each is in force: of an instant the last recorded counts."""
    by_start = {
        version["effective"]: version
        for version in sorted(versions, key=lambda version: version["recorded"])
        if version["recorded"] <= at and tuple(version[name] for name in names) == values
    }
    starts = sorted(by_start)
    ends = [*starts[1:], FOREVER.replace(tzinfo=at.tzinfo)]
    return [(by_start[start], start, end) for start, end in zip(starts, ends, strict=True)]


def merged(plans: list[tuple[dict[str, Any], datetime, datetime]]) -> list[tuple[dict[str, Any], datetime, datetime]]:
    """Going on with the same plan is no change."""
    found: list[tuple[dict[str, Any], datetime, datetime]] = []
    for plan, start, end in plans:
        if found and found[-1][0]["plan"] == plan["plan"]:
            found[-1] = (found[-1][0], found[-1][1], end)
        else:
            found.append((plan, start, end))
    return found


def cost(model: str, tiers: list[tuple[Decimal | None, Decimal, Decimal]], used: Decimal, days: Decimal) -> Decimal:
    """What a quantity costs, exactly; a flat price for the share of its period's days."""
    if model == "flat":
        return tiers[0][2] * days
    if model == "volume":
        chosen = next(tier for tier in tiers if tier[0] is None or used <= tier[0])
        return used * chosen[1] + chosen[2]
    amount, over = Decimal(0), Decimal(0)
    for number, (up_to, unit_amount, flat_amount) in enumerate(tiers):
        if number == 0 or used > over:
            amount += (min(used, up_to) if up_to is not None else used) * unit_amount - over * unit_amount + flat_amount
        over = up_to if up_to is not None else over
    return amount

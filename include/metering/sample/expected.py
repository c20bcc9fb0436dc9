"""What every bill must come to: a second opinion, on one page, that shares no code and no SQL with the product.

Rules: a price version's usage is priced for itself, so that where a price changes inside a period its line is split
and tiers start again; each price of the team's plan gives a line, used or not; tiers are continuous, over the bound
before and up to and including their own; a first tier's flat amount is owed for no usage also; GB-hours are divided
by the hours of the billing cycle; a flat price is owed by the local days of its part of the cycle; each line is
rounded once, half away from zero, to the currency's minor unit; a bill is the sum of its lines.
"""

from __future__ import annotations

from bisect import bisect_right
from calendar import monthrange
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

EXPONENTS = dict.fromkeys(["CLP", "ISK", "JPY", "KRW", "PYG", "UGX", "VND", "XAF", "XOF"], 0) | dict.fromkeys(
    ["BHD", "JOD", "KWD", "OMR", "TND"], 3
)
TWELVE = Decimal("1e-12")


class Usage(NamedTuple):
    """Usage of a meter at one moment, or of a time that lies in one period and at one price."""

    team: str
    meter: str
    dimensions: Mapping[str, str]
    moment: datetime
    quantity: Decimal


class ExpectedBill(NamedTuple):
    """What one bill must come to, in the currency's major unit."""

    team: str
    period: str
    period_start: datetime
    period_end: datetime
    currency: str
    total: Decimal


def expected_bills(catalog: Mapping[str, Any], usage: Iterable[Usage], until: datetime) -> list[ExpectedBill]:
    """The bill of each team's periods that have begun by `until`; `catalog` has the shape of a catalog file."""
    plans = {plan["plan"]: plan["prices"] for plan in catalog["plans"]}
    used: dict[tuple[str, str], list[Usage]] = defaultdict(list)
    for part in usage:
        used[part.team, part.meter].append(part)
    bills = []
    for team in catalog["teams"]:
        subscription = team.get("subscription")
        if not subscription:
            continue
        zone = ZoneInfo(subscription.get("time_zone") or team["time_zone"])
        currency = subscription["currency"]
        prices = [price for price in plans[subscription["plan"]] if price["currency"] == currency]
        plan_from = moment(subscription.get("plan_from") or subscription["starts"], zone)
        cycles = billing_cycles(subscription, zone, until)
        totals = [Decimal(0)] * len(cycles)
        for price in prices:
            mine = [u for u in used[team["team"], price["meter"]] if _price_of(u, prices) is price]
            versions = sorted(price["versions"], key=lambda version: moment(version["effective_from"], zone))
            changes = [max(plan_from, moment(version["effective_from"], zone)) for version in versions]
            quantities: dict[tuple[int, int], Decimal] = defaultdict(Decimal)
            for part in mine:
                place = bisect_right(cycles, part.moment, key=lambda cycle: cycle[0]) - 1
                version = bisect_right(changes, part.moment) - 1
                if place >= 0 and version >= 0 and part.moment < cycles[place][1]:
                    quantities[place, version] += part.quantity
            for place, (start, end, cycle_start, cycle_end, _) in enumerate(cycles):
                for number, version in enumerate(versions):
                    since = max(start, changes[number])
                    before = min(end, changes[number + 1]) if number + 1 < len(versions) else end
                    if since < before:
                        hours = Decimal((cycle_end - cycle_start) // timedelta(seconds=1)) / 3600
                        share = _days(since, before, zone), _days(cycle_start, cycle_end, zone)
                        owed = owes(version, quantities[place, number], hours, share)
                        totals[place] += rounded(owed, EXPONENTS.get(currency, 2))
        for (start, end, _, _, label), total in zip(cycles, totals, strict=True):
            bills.append(ExpectedBill(team["team"], label, start, end, currency, total))
    return bills


def owes(
    version: Mapping[str, Any], used: Decimal, hours: Decimal = Decimal(1), share: tuple[int, int] = (1, 1)
) -> Decimal:
    """What a quantity in the meter's unit costs by one price version, not rounded."""
    with localcontext(prec=60):
        divisor = Decimal(version.get("unit_divisor", 1)) * (hours if version.get("per_period_hour") else 1)
        quantity = (used / divisor).quantize(TWELVE, ROUND_HALF_UP)
        if version["model"] == "flat":
            return Decimal(version["tiers"][0]["flat_amount"]) * share[0] / share[1]
        owed, bound = Decimal(0), Decimal(0)
        for number, tier in enumerate(version["tiers"]):
            up_to = tier.get("up_to")
            top = quantity if up_to is None else min(quantity, Decimal(up_to))
            flat, unit = Decimal(tier.get("flat_amount", 0)), Decimal(tier.get("unit_amount", 0))
            if number == 0 and quantity <= 0 and not version.get("charge_zero_flat", True):
                flat = Decimal(0)
            if version["model"] == "volume" and top == quantity:
                return flat + quantity * unit
            if version["model"] != "volume" and (number == 0 or quantity > bound):
                owed += flat + (top - bound) * unit
            bound = top if up_to is None else Decimal(up_to)
        return owed


def rounded(amount: Decimal, exponent: int) -> Decimal:
    """Half away from zero, to so many decimals."""
    return amount.quantize(Decimal(1).scaleb(-exponent), ROUND_HALF_UP)


def billing_cycles(
    subscription: Mapping[str, Any], zone: ZoneInfo, until: datetime
) -> list[tuple[datetime, datetime, datetime, datetime, str]]:
    """Each period that has begun by `until`: start, end, start and end of its whole cycle, label."""
    starts = moment(subscription["starts"], zone)
    ends = moment(subscription["ends"], zone) if subscription.get("ends") else datetime.max.replace(tzinfo=UTC)
    local = starts.astimezone(zone)
    year, month = (local.year, local.month - 1) if local.month > 1 else (local.year - 1, 12)
    cycles = []
    while (cycle_start := _anchor(year, month, subscription, zone)) <= until:
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)
        cycle_end = _anchor(year, month, subscription, zone)
        start, end = max(starts, cycle_start), min(ends, cycle_end)
        if start < end and start <= until:
            day = start.astimezone(zone)
            cycles.append((start, end, cycle_start, cycle_end, f"{day:%Y-%m}" if day.day == 1 else f"{day:%Y-%m-%d}"))
    return cycles


def moment(value: date | datetime | str, zone: ZoneInfo) -> datetime:
    """A moment in UTC; a date is the midnight with which it begins in the zone."""
    if isinstance(value, str):
        value = date.fromisoformat(value) if len(value) == 10 else datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=zone)
    return value.astimezone(UTC)


def _anchor(year: int, month: int, subscription: Mapping[str, Any], zone: ZoneInfo) -> datetime:
    return moment(date(year, month, min(subscription.get("anchor_day", 1), monthrange(year, month)[1])), zone)


def _days(start: datetime, end: datetime, zone: ZoneInfo) -> int:
    return (end.astimezone(zone).date() - start.astimezone(zone).date()).days


def _price_of(used: Usage, prices: list[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The price that names most of the usage's dimensions."""
    fitting = [p for p in prices if p["meter"] == used.meter and p.get("match", {}).items() <= used.dimensions.items()]
    return max(fitting, key=lambda price: len(price.get("match", {})), default=None)

"""Pricing cases: a price and a usage, and what they come to."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from metering.catalog.currencies import EXPONENTS
from metering.conformance import prices
from metering.conformance.cases import Case, NotApplicable, Said, number
from metering.conformance.expectation import Expectation
from metering.conformance.prices import PARAMETERS, Words
from metering.conformance.trial import ZERO, Phase, Trial, month_before

HOUR = timedelta(hours=1)
OLDEST = timedelta(days=9 * 365)
"""Landing takes usage of ten years; cases of before are moved on by whole leap years."""
# Said of the case rather than of its price.
TOLD = ("note", "price_version", "max_blocks_is_span", "calendar_billing", "period", "first_day", "last_day")


def trial(case: Case, key: str, now: datetime) -> Trial:
    """What a pricing case becomes; raises `NotApplicable` where the product doesn't offer what it asks for."""
    words = Words.of(case.model)
    said = Said(dict(case.said.get("other") or {}))
    for name in TOLD:
        said.take(name)
    start, end = month_before(now)
    made = Trial(key=key, starts=start, ends=end, about=(start, end), currency=currency_of(case))
    _cycle(made, said, now)
    made.phases.append(Phase())
    expectation = Expectation.of(case, said, words, made.currency)
    if {"trueup", "minimum"} <= set(words.model.split("_")):
        _trued_up(made, said)
    elif said.has("units"):
        _units(made, said, case, words)
    elif said.has("filters"):
        _filters(made, said, case, words)
    elif said.has("groups"):
        _groups(made, said, case, words)
    else:
        _one_price(made, said, case, words, now)
    said.refuse_rest()
    made.judge = expectation.judge(made)
    return made


def currency_of(case: Case) -> str:
    """The currency of a case; raises `NotApplicable` for one that is not known."""
    currency = str(case.said.get("currency") or "USD").upper()
    if currency not in EXPONENTS:
        raise NotApplicable(f"the product knows no currency {currency}")
    return currency


def _cycle(made: Trial, said: Said, now: datetime) -> None:
    """A case of `used_days` out of `period_days` is a subscription that begins within a cycle of so many days."""
    used, of = said.number("used_days"), said.number("period_days")
    if used is None and of is None:
        return
    if used is None or of is None or used != int(used) or of != int(of) or not 0 < used <= of:
        raise NotApplicable("proration is by whole days, used_days of period_days")
    first = (now - timedelta(days=int(of) + 2)).date()
    start = first + timedelta(days=int(of - used))
    made.starts, made.ends = start, first + timedelta(days=int(of))
    made.cycle = {"days": int(of), "counted_from": first}
    made.about = (midnight(made.starts), midnight(made.ends))


def midnight(day: date) -> datetime:
    """The midnight in UTC with which a day begins."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _one_price(made: Trial, said: Said, case: Case, words: Words, now: datetime) -> None:
    """One meter and one price; its usage at once, by event, by hour, dated, or in two steps."""
    tiers = prices.normalized(case.said)
    model = prices.base_model(words, said, tiers)
    version = prices.version(model, said, tiers, words)
    usage = None if said.has("usage_by_unit") else number(case.said.get("usage", "0"))
    more: dict[str, Any] = {}
    if model == "capacity":
        more = {"aggregation": "max", "dimensions": ["unit"]}
        for unit, quantity in (said.take("usage_by_unit") or {}).items():
            made.event("usage", made.about[0] + HOUR, number(quantity), properties={"unit": unit})
    elif model == "percentage" and (events := _event_values(said, usage or ZERO, version)) is not None:
        more = {"keep_events": True}
        for place, value in enumerate(events):
            made.event("usage", made.about[0] + HOUR + timedelta(seconds=place), value)
    elif said.has("bucket_values", "window_values"):
        version["each"] = "hour"
        if said.has("bucket_values"):
            more = {"aggregation": "bucketed_max", "bucket": "hour"}
        values = said.take("bucket_values") or said.take("window_values")
        if made.about[0] + len(values) * HOUR > made.about[1]:
            raise NotApplicable("there are more windows than hours in the period")
        for place, value in enumerate(values):
            made.event("usage", made.about[0] + place * HOUR, number(value))
    elif said.has("events"):
        _dated(made, said, now)
    elif said.has("event_values"):
        for place, value in enumerate(said.take("event_values")):
            made.event("usage", made.about[0] + HOUR + timedelta(seconds=place), number(value))
    elif said.number("pre_line_usage"):
        _in_two_steps(made, said, usage or ZERO)
    elif usage and not said.number("previous_billed"):
        made.event("usage", made.about[0] + HOUR, usage)
    said.take("running_total"), said.take("events_count")  # of prices that treat all events alike, told for information
    meter = made.meter("usage", **more)
    made.phases[0].prices = [made.price("price", meter, version)]
    billed = said.number("previous_billed")
    if len(made.phases) > 1 and (partly := prices.while_it_runs(version)) != version:
        made.phases[0].prices = [made.price("price", meter, partly)]
        made.phases[-1].prices = [made.price("price", meter, version)]
    elif billed and len(made.phases) == 1:
        _billed_before(made, meter, version, billed, usage or ZERO)


def _billed_before(made: Trial, meter: str, version: dict[str, Any], billed: Decimal, usage: Decimal) -> None:
    """An amount that was billed, of no usage that is said: the price was that amount then, and is corrected."""
    made.ends = None
    before = {"model": "graduated", "tiers": [{"flat_amount": billed}]}
    made.phases = [
        Phase(prices=[made.price("price", meter, before)]),
        Phase(prices=[made.price("price", meter, version)]),
    ]
    if usage:
        made.event("usage", made.about[0] + HOUR, usage)


def _event_values(said: Said, usage: Decimal, version: Mapping[str, Any]) -> list[Decimal] | None:
    """What each event brought: as listed, or as far as the running total and the number of events tell.

    What comes after the running total comes with the next event. None where nothing tells events apart, and nothing
    needs them apart.
    """
    values, running, count = said.take("event_values"), said.take("running_total"), said.number("events_count")
    if values is not None:
        return [number(value) for value in values]
    if not {"free_events", "free_amount", "minimum_per_event", "maximum_per_event", "fixed_per_event"} & set(version):
        return None
    if running and not usage:
        return []  # a running total of no usage is of nothing
    totals = [number(value) for value in running or []]
    found = [total - before for total, before in zip(totals, [ZERO, *totals], strict=False)]
    rest = usage - (totals[-1] if totals else ZERO)
    missing = int(count) - len(found) if count is not None else int(bool(rest))
    if missing < 0 or (rest and not missing):
        raise NotApplicable("the running total doesn't lead to the usage")
    return found + ([rest] + [ZERO] * (missing - 1) if missing else [])


def _in_two_steps(made: Trial, said: Said, usage: Decimal) -> None:
    """Usage that was billed before, and the line that comes next: what came late about a period that was final."""
    made.ends = None
    before = said.number("pre_line_usage") or ZERO
    if before:
        made.event("usage", made.about[0] + HOUR, before)
    made.phases.append(Phase())
    if usage:
        made.event("usage", made.about[0] + 2 * HOUR, usage)


def _dated(made: Trial, said: Said, now: datetime) -> None:
    """Events on days, in a period of days, moved on by leap years where they are too old to land."""
    said_events, period = said.take("events"), said.fields.get("period")
    days = [date.fromisoformat(str(event["date"])) for event in said_events]
    if isinstance(period, list) and len(period) == 2:
        start, end = (date.fromisoformat(str(day)) for day in period)
    else:
        start, end = min(days).replace(day=1), max(days) + timedelta(days=1)
    years = leap_years(start, now)
    made.starts, made.ends = moved(start, years), moved(end, years)
    made.anchor_day = start.day
    made.about = (midnight(made.starts), midnight(made.ends))
    for event, day in zip(said_events, days, strict=True):
        made.event("usage", midnight(moved(day, years)), number(event["value"]))


def leap_years(day: date, now: datetime) -> int:
    """By how many years, a multiple of four, days are moved on so that landing takes them: the calendar is the same."""
    years = 0
    while midnight(moved(day, years)) < now - OLDEST:
        years += 4
    return years


def moved(day: date, years: int) -> date:
    """A day some years later."""
    return day.replace(year=day.year + years)


def _units(made: Trial, said: Said, case: Case, words: Words) -> None:
    """Several units, each with a meter and a price of its own, on one bill."""
    made.phases[0].prices = []
    for place, unit in enumerate(said.take("units")):
        whole = {name: value for name, value in said.fields.items() if name != "units"}
        own = Said({**whole, **unit}, " of a unit", set(said.taken))
        own.take("unit"), own.take("tiers")
        tiers = unit.get("tiers") or prices.normalized(case.said)
        usage = own.number("usage") or ZERO
        version = prices.version(prices.base_model(words, own, tiers), own, tiers, words)
        _over_all(made, version)
        own.refuse_rest()
        said.taken |= own.taken
        if usage:
            made.event(f"unit-{place}", made.about[0] + HOUR, usage)
        made.phases[0].prices.append(made.price(f"unit-{place}", made.meter(f"unit-{place}"), version))


def _filters(made: Trial, said: Said, case: Case, words: Words) -> None:
    """Prices for some values of dimensions, and one for all others."""
    tiers = prices.normalized(case.said)
    listed = said.take("filters")
    rest = number(case.said.get("usage", "0"))
    dimensions: list[str] = []
    parts: list[dict[str, Any]] = []
    common = {name: value for name, value in said.fields.items() if name != "filters"}
    for place, part in enumerate(listed):
        own = Said({**common, **part}, " of a filter", set(said.taken))
        usage = own.number("usage") or ZERO
        match = {
            name: value for name, value in part.items() if name not in ("usage", "amount") and name not in PARAMETERS
        }
        if any(isinstance(value, list | dict) or value is None for value in match.values()):
            raise NotApplicable("a price is for one value of a dimension, or for all that no other is for")
        match = {name: str(value) for name, value in match.items()}
        for name in (*match, "tiers", "amount", "default_unit_price"):
            own.take(name)
        own_tiers = part.get("tiers") or tiers
        version = prices.version(prices.base_model(words, own, own_tiers), own, own_tiers, words)
        _over_all(made, version)
        own.refuse_rest()
        said.taken |= own.taken
        dimensions += [name for name in match if name not in dimensions]
        rest -= usage
        if usage:
            made.event("usage", made.about[0] + HOUR + timedelta(seconds=place), usage, properties=match)
        parts.append(made.price(f"filter-{place}", f"{made.key}/usage", version, match=match))
    if said.has("default_unit_price") or rest:
        version = prices.version(prices.base_model(words, said, tiers), said, tiers, words)
        _over_all(made, version)
        parts.append(made.price("others", f"{made.key}/usage", version))
        if rest:
            made.event("usage", made.about[0] + HOUR, rest)
    made.meter("usage", dimensions=dimensions)
    made.phases[0].prices = parts


def _groups(made: Trial, said: Said, case: Case, words: Words) -> None:
    """Usage of each group is priced by itself."""
    tiers = prices.normalized(case.said)
    dimensions = [str(name) for name in said.take("group_by") or []]
    groups = said.take("groups")
    dimensions = dimensions or sorted({name for group in groups for name in group if name not in ("usage", "amount")})
    version = {**prices.version(prices.base_model(words, said, tiers), said, tiers, words), "group_by": dimensions}
    for place, group in enumerate(groups):
        own = Said(dict(group), " of a group")
        properties = {name: str(own.take(name)) for name in dimensions if group.get(name) is not None}
        usage = own.number("usage") or ZERO
        own.take("amount")
        own.refuse_rest()
        made.event("usage", made.about[0] + HOUR + timedelta(seconds=place), usage, properties=properties)
    meter = made.meter("usage", dimensions=dimensions)
    made.phases[0].prices = [made.price("price", meter, version)]


def _over_all(made: Trial, version: dict[str, Any]) -> None:
    """What stands around several prices together stands around their plan."""
    for name in ("commitment_units", "free_units"):
        if name in version:
            raise NotApplicable(f"{name} over several prices together are not offered")
    if "commitment_amount" in version:
        for name in ("commitment_amount", "overage_factor", "true_up"):
            made.terms[name] = version.pop(name)
    for name in ("minimum_amount", "maximum_amount"):
        if name in version:
            made.terms[name] = version.pop(name)


def _trued_up(made: Trial, said: Said) -> None:
    """A fee, or usage that came to an amount, and a minimum: what is missing is a line of its own, prorated by day."""
    minor = Decimal(1).scaleb(-EXPONENTS[made.currency])
    said.take("rounding")  # each component is rounded by itself, as the product does
    if said.has("commitment_cents"):
        commitment = (said.number("commitment_cents") or ZERO) * minor
        fee = (said.number("plan_fee_cents") or ZERO) * minor
        version: dict[str, Any] = {"model": "flat", "tiers": [{"flat_amount": fee}], "minimum_amount": commitment}
        meter = made.meter("usage")
    else:
        fees = said.number("usage_fee_cents")
        minimum = said.number("min_amount_cents")
        if fees is None or minimum is None:
            raise NotApplicable("nothing says what the usage came to, or what the minimum is")
        version = {"model": "dynamic", "minimum_amount": minimum * minor}
        meter = made.meter("usage")
        made.event("usage", made.about[0] + HOUR, fees * minor)
    made.phases[0].prices = [made.price("price", meter, version)]

"""Correction cases: usage that changes after it was billed, and what each change adds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

from metering.conformance import prices, pricing
from metering.conformance.cases import Case, NotApplicable, Said, number
from metering.conformance.prices import Words
from metering.conformance.trial import ZERO, Difference, Phase, Reading, Trial, month_before

HOUR = timedelta(hours=1)


def trial(case: Case, key: str, now: datetime) -> Trial:
    """What a correction case becomes; raises `NotApplicable` where the product doesn't offer what it asks for."""
    words = Words.of("standard" if case.model == "unit" else case.model)
    said = Said(dict(case.said.get("other") or {}))
    said.take("note")
    start, end = month_before(now)
    made = Trial(key=key, starts=start, ends=None, about=(start, end), currency=pricing.currency_of(case))
    if case.said.get("phases"):
        _phases(made, said, case, words)
    elif said.has("units"):
        _units(made, said, case, words)
    elif case.said.get("restated_cumulative"):
        _restated(made, said, case, words)
    elif case.said.get("events"):
        _periods(made, said, case, words, now)
    else:
        raise NotApplicable("the case has neither phases nor a restatement")
    said.refuse_rest()
    return made


def _phases(made: Trial, said: Said, case: Case, words: Words) -> None:
    """Cumulative usage, phase after phase; after each, the bill becomes final."""
    phases = [Said(dict(phase), " of a phase") for phase in case.said["phases"]]
    rounded = said.number("round_cumulative_to")
    version, first = _versions(said, case, words)
    meter = f"{made.key}/usage"
    usage: list[Decimal] = []
    expected: list[Decimal] = []
    for phase in phases:
        usage.append(phase.number("cumulative_usage") or ZERO)
        total, said_lines = phase.number("expected_delta_total"), phase.take("expected_lines") or []
        expected.append(_of_lines(said_lines) if total is None else total)
        phase.take("note")
        phase.refuse_rest()
    made.meter("usage")
    _usage(made, usage)
    made.phases[0].prices = [made.price("price", meter, first if len(phases) > 1 else version)]
    if first != version and len(phases) > 1:
        made.phases[-1].prices = [made.price("price", meter, version)]
    made.not_compared = ["expected_lines, where they split a difference otherwise"]
    lines = [list(phase.fields.get("expected_lines") or []) for phase in phases]
    if rounded is not None and rounded != 2:
        raise NotApplicable("amounts are rounded to the currency's minor unit")
    made.judge = _by_phase(expected, lines)


def _of_lines(lines: Sequence[Mapping[str, Any]]) -> Decimal:
    """What the lines of a phase come to, less their discounts."""
    return sum((number(line["amount"]) - number(line.get("discount") or 0) for line in lines), ZERO)


def _versions(said: Said, case: Case, words: Words) -> tuple[dict[str, Any], dict[str, Any]]:
    """The price, and the one before its final phase: a minimum that is due in the end only is not part of that."""
    only_final = said.flag("min_spend_only_on_final_phase")
    tiers = prices.normalized(case.said)
    version = prices.version(prices.base_model(words, said, tiers), said, tiers, words)
    return version, prices.while_it_runs(version) if only_final else version


def _usage(made: Trial, cumulative: Sequence[Decimal], name: str = "usage", at: int = 1) -> None:
    """Events by which usage comes to each of these, phase by phase: what is less is withdrawn and sent anew."""
    before = ZERO
    for place, total in enumerate(cumulative):
        if place >= len(made.phases):
            made.phases.append(Phase())
        phase = made.phases[place]
        if total < before:
            phase.withdraw_all = True
            before = ZERO
        if total > before:
            _event(made, phase, name, total - before, at)
        before = total


def _event(made: Trial, phase: Phase, name: str, quantity: Decimal, at: int) -> None:
    number_of = sum(len(known.events) for known in made.phases)
    moment = made.about[0] + at * HOUR
    phase.events.append(
        {
            "event": f"{made.key}/{name}",
            "time": moment.isoformat().replace("+00:00", "Z"),
            "quantity": quantity,
            "idempotency_key": f"{number_of}",
        }
    )


def _by_phase(
    expected: Sequence[Decimal], lines: Sequence[Sequence[Mapping[str, Any]]]
) -> Callable[[Sequence[Reading]], list[Difference]]:
    def judged(readings: Sequence[Reading]) -> list[Difference]:
        found: list[Difference] = []
        before = Reading()
        for place, (reading, total) in enumerate(zip(readings, expected, strict=True)):
            delta = reading.billed() - before.billed()
            if delta != total:
                found.append(Difference(f"phase {place + 1}", total, delta))
            found += _special_lines(place, lines[place], before, reading)
            before = reading
        return found

    return judged


def _special_lines(place: int, lines: Sequence[Mapping[str, Any]], before: Reading, after: Reading) -> list[Difference]:
    """What a case says to be a minimum's line is one; how else it splits a difference is its own way."""
    found = []
    for line in lines:
        if str(line.get("line", "")).split("#")[0] == "min-spend":
            got = after.billed(kind="minimum") - before.billed(kind="minimum")
            if not got:  # about a final bill it is an adjustment
                got = _of_line(after, "#minimum") - _of_line(before, "#minimum")
            if got != number(line["amount"]):
                found.append(Difference(f"phase {place + 1} minimum", number(line["amount"]), got))
    return found


def _of_line(reading: Reading, ending: str) -> Decimal:
    return sum((line["amount"] for line in reading.lines if line["line_key"].endswith(ending)), ZERO)


def _restated(made: Trial, said: Said, case: Case, words: Words) -> None:
    """Usage that was billed, then restated: together it is priced otherwise."""
    billed = [Said(dict(one), " of what was billed") for one in case.said.get("already_billed") or []]
    before = sum((one.number("usage") or ZERO for one in billed), ZERO)
    amount = sum((one.number("amount") or ZERO for one in billed), ZERO)
    after = number(case.said["restated_cumulative"][-1]["usage"])
    version, _ = _versions(said, case, words)
    _usage(made, [before, after])
    made.phases[0].prices = [made.price("price", made.meter("usage"), version)]
    total = sum((number(line["amount"]) for line in case.said["expected"]), ZERO)
    made.judge = _by_phase([amount, total], [[], []])
    made.not_compared = ["expected: how the difference is split by period"]


def _units(made: Trial, said: Said, case: Case, words: Words) -> None:
    """Several units, part of whose usage was billed."""
    listed = [Said(dict(unit), " of a unit") for unit in said.take("units")]
    made.phases = [Phase(prices=[]), Phase()]
    names: dict[str, str] = {}
    for place, unit in enumerate(listed):
        name = f"unit-{place}"
        names[str(unit.take("unit"))] = name
        tiers = unit.take("tiers") or prices.normalized(case.said)
        before, after = unit.number("already_billed_usage") or ZERO, unit.number("usage") or ZERO
        version = prices.version(prices.base_model(words, unit, tiers), unit, tiers, words)
        unit.refuse_rest()
        _usage(made, [before, after], name)
        assert made.phases[0].prices is not None
        made.phases[0].prices.append(made.price(name, made.meter(name), version))
    billed = sum((number(one["amount"]) for one in case.said.get("already_billed") or []), ZERO)
    expected = {str(line["line"]): number(line["delta"]) for line in case.said["expected"]}
    made.judge = _by_tier(made.key, billed, expected, names)


def _by_tier(
    key: str, billed: Decimal, expected: Mapping[str, Decimal], names: Mapping[str, str]
) -> Callable[[Sequence[Reading]], list[Difference]]:
    """Lines such as `FOO tier2`, each the difference of a rated tier, and `total`."""

    def judged(readings: Sequence[Reading]) -> list[Difference]:
        before, after = readings[0], readings[-1]
        found = [] if before.billed() == billed else [Difference("billed before", billed, before.billed())]
        for line, delta in expected.items():
            if line == "total":
                got = after.billed() - before.billed()
            else:
                unit, _, tier = line.partition(" tier")
                got = _tier(after, f"{key}/{names[unit]}", int(tier)) - _tier(before, f"{key}/{names[unit]}", int(tier))
            if got != delta:
                found.append(Difference(line, delta, got))
        return found

    return judged


def _tier(reading: Reading, price: str, tier: int) -> Decimal:
    return sum(
        (
            row["usage_amount"] + row["fixed_amount"]
            for row in reading.tiers
            if row["price"] == price and row["tier"] == tier
        ),
        ZERO,
    )


def _periods(made: Trial, said: Said, case: Case, words: Words, now: datetime) -> None:
    """Periods that were billed at some amount, and late usage about them.

    Only the amount that was billed is known, so the price was another then: that amount in each period, whatever the
    usage, which is corrected when the usage arrives.
    """
    billed = {str(one["period"]): number(one["amount"]) for one in case.said.get("already_billed") or []}
    periods = sorted(
        tuple(date.fromisoformat(day) for day in str(one["period"]).split("/")) for one in case.said["expected"]
    )
    if any(one[1] != other[0] for one, other in pairwise(periods)):
        raise NotApplicable("the periods don't follow one another")
    years = pricing.leap_years(periods[0][0], now)
    made.starts = pricing.moved(periods[0][0], years)
    made.anchor_day = periods[0][1].day
    made.about = (pricing.midnight(made.starts), pricing.midnight(pricing.moved(periods[-1][1], years)))
    meter = made.meter("usage")
    version, _ = _versions(said, case, words)
    versions: list[dict[str, Any]] = [
        {
            "model": "graduated",
            "effective_from": pricing.midnight(pricing.moved(start, years)).isoformat(),
            "tiers": [{"flat_amount": billed.get(f"{start}/{end}", ZERO)}],
        }
        for start, end in periods
    ]
    corrected = [{**version, "effective_from": one["effective_from"]} for one in versions]
    made.phases.append(Phase(prices=[_price_of(made, meter, versions)]))
    made.phases.append(Phase(prices=[_price_of(made, meter, corrected)]))
    for event in case.said["events"]:
        made.event(
            "usage",
            pricing.midnight(pricing.moved(date.fromisoformat(str(event["date"])), years)),
            number(event["value"]),
        )
    expected = {
        pricing.midnight(pricing.moved(date.fromisoformat(str(one["period"]).split("/")[0]), years)): one
        for one in case.said["expected"]
    }
    made.judge = _by_period(expected)


def _price_of(made: Trial, meter: str, versions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    price = made.price("price", meter, {})
    return {**price, "versions": [{"charge_unit": "unit", **version} for version in versions]}


def _by_period(expected: Mapping[datetime, Mapping[str, Any]]) -> Callable[[Sequence[Reading]], list[Difference]]:
    def judged(readings: Sequence[Reading]) -> list[Difference]:
        before, after = readings[0], readings[-1]
        found: list[Difference] = []
        for start, one in expected.items():
            was = sum((line["amount"] for line in before.lines if line["about"] == start), ZERO)
            comes_to = sum((line["amount"] for line in after.lines if line["about"] == start), ZERO)
            if "full_amount" in one and comes_to != number(one["full_amount"]):
                found.append(Difference(f"{one['period']} full amount", number(one["full_amount"]), comes_to))
            if comes_to - was != number(one["delta"]):
                found.append(Difference(f"{one['period']} delta", number(one["delta"]), comes_to - was))
        return found

    return judged

"""Each kind of mistake in meters, prices, terms and overrides is named by file, line and reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from metering.catalog import Catalog
from metering.errors import BillingError

CATALOG = """\
meters:
  - {meter: calls, name: Calls, event: call, aggregation: sum, unit: call, dimensions: [region]}
  - {meter: level, name: Level, event: level, aggregation: weighted_sum, unit: GB}
  - {meter: peak, name: Peak, event: peak, aggregation: bucketed_max, bucket: day, unit: GB}
  - {meter: users, name: Users, event: call, aggregation: unique_count, value_property: user, unit: user, dimensions: [region]}
plans:
  - plan: p
    name: P
    terms:
      - {effective_from: 2026-01-01T00:00:00Z, currency: EUR, commitment_amount: 5}
    prices:
      - price: p/calls
        name: Calls
        meter: calls
        currency: EUR
        versions:
          - effective_from: 2026-01-01T00:00:00Z
            model: graduated
            charge_unit: call
            tiers:
              - {up_to: 10, unit_amount: 1}
              - {unit_amount: 0.5}
teams:
  - team: t
    name: T
    time_zone: UTC
    overrides:
      - price: p/calls
        versions: [{effective_from: 2026-01-01T00:00:00Z, model: per_unit, charge_unit: call, tiers: [{unit_amount: 1}]}]
    subscription: {plan: p, currency: EUR, starts: 2026-01-01}
"""  # noqa: E501  # a line of a file is what is named
TIERS = "            tiers:\n              - {up_to: 10, unit_amount: 1}\n              - {unit_amount: 0.5}\n"
MODEL = "            model: graduated\n"
CHARGED = "            charge_unit: call\n"


def one_tier(model: str, tier: str, more: str = "") -> tuple[str, str]:
    """The version of the small catalog, as another model with one tier."""
    old = MODEL + CHARGED + TIERS
    return old, f"            model: {model}\n{CHARGED}{more}            tiers: [{tier}]\n"


def said(more: str) -> tuple[str, str]:
    """The same version, with one more field."""
    return CHARGED, f"{CHARGED}            {more}\n"


MISTAKES = [
    # Meters.
    ("aggregation: sum", "aggregation: count, value_property: size", "2", "a count takes no value"),
    (
        "dimensions: [region]}\n  - {meter: level",
        "dimensions: [region, region]}\n  - {meter: level",
        "2",
        "stands here twice",
    ),
    ("aggregation: sum", "aggregation: sum, multiplier: 0", "2", "times nothing would be nothing"),
    ("aggregation: sum", "aggregation: max, keep_events: true", "2", "only a sum keeps its events apart"),
    ("aggregation: sum", "aggregation: sum, keep_events: true, rounding: up", "2", "is not rounded"),
    ("aggregation: sum", "aggregation: sum, operation_property: op", "2", "only a unique_count adds and removes"),
    ("bucket: day, ", "", "4", "a bucketed meter says hour or day"),
    ("value_property: user", "value_property: user, multiplier: 2", "5", "has no value to multiply"),
    # What a price is for.
    ("price: p/calls\n        name", "price: p/cal ls\n        name", "12", "holds a space, an @ or a #"),
    ("        meter: calls\n", "        meter: call\n", "14", "there is no meter call"),
    ("        currency: EUR\n", "        currency: EUX\n", "15", "EUX is no currency that is known here"),
    (
        "        currency: EUR\n",
        "        currency: EUR\n        match: {size: big}\n",
        "16",
        "size is no dimension of the meter",
    ),
    (
        "        currency: EUR\n",
        "        currency: EUR\n        match: {region: true}\n",
        "16",
        "it is True: write it with quotes",
    ),
    (
        "        currency: EUR\n",
        "        currency: EUR\n        hours: [{since: 20:00, until: 8 o'clock}]\n",
        "16",
        "is no time of day on a quarter of an hour",
    ),
    (
        "        currency: EUR\n",
        "        currency: EUR\n        hours: [{since: '08:05', until: '09:00'}]\n",
        "16",
        "quarter",
    ),
    (
        "        currency: EUR\n",
        "        currency: EUR\n        hours: [{since: '08:00', until: '10:00'}, {since: '09:00', until: '12:00'}]\n",
        "16",
        "the same hour stands here twice",
    ),
    (
        "        currency: EUR\n",
        "        currency: EUR\n        hours: [{since: '08:00', until: '08:00'}]\n",
        "16",
        "begin and end at the same time",
    ),
    (
        "        currency: EUR\n",
        "        currency: EUR\n        hours: [{days: [monday], since: '08:00', until: '09:00'}]\n",
        "16",
        "'mon', 'tue'",
    ),
    (
        "        currency: EUR\n",
        "        currency: EUR\n        match: {region: [eu, us]}\n",
        "16",
        "should be a text, and it is ['eu', 'us']",
    ),
    (
        "meter: calls\n        currency: EUR\n",
        "meter: level\n        currency: EUR\n        hours: [{since: '08:00', until: '10:00'}]\n",
        "16",
        "has no hours",
    ),
    # A version.
    ("effective_from: 2026-01-01T00:00:00Z\n", "effective_from: 2026-01-01\n", "17", "has no time zone"),
    ("effective_from: 2026-01-01T00:00:00Z\n", "effective_from: 2026-01-01T00:10:00Z\n", "17", "quarter of an hour"),
    (MODEL, "            model: tiered\n", "18", "tiered is no price model"),
    (*said("unit_divisor: 0"), "20", "must be above zero"),
    (*said("limited_by: region"), "20", "a graduated price has none: it is of capacity"),
    (*said("fixed_per_event: 1"), "20", "a graduated price has none: it is of percentage"),
    (*said("block_rounding: up"), "20", "no tier has a block_size"),
    (*said("overage_factor: 2"), "20", "there is no commitment that it could be about"),
    (*said("commitment_units: 5\n            commitment_amount: 5"), "21", "in units or an amount, not both"),
    (*said("minimum_amount: 5\n            maximum_amount: 4.5"), "21", "is below the minimum_amount, 5"),
    (*said("discount_percent: 101"), "20", "less than or equal to 100"),
    (*said("group_by: [size]"), "20", "size is no dimension of the meter calls"),
    (TIERS, "", "17", "a graduated price needs tiers"),
    ("up_to: 10, unit_amount: 1", "up_to: 10, unit_amount: -1", "21", "an amount is below zero"),
    ("up_to: 10, unit_amount: 1", "up_to: 0, unit_amount: 1", "21", "is empty: the tier begins over 0 and"),
    ("- {unit_amount: 0.5}", "- {over: 9, unit_amount: 0.5}", "22", "overlaps: the tier before goes up to 10"),
    (
        "- {unit_amount: 0.5}",
        "- {over: 11, unit_amount: 0.5}",
        "22",
        "leaves a gap: usage over 10 up to 11 has no tier",
    ),
    ("- {unit_amount: 0.5}", "- {up_to: 20, unit_amount: 0.5}", "22", "leaves a gap: usage over 20 has no tier"),
    ("- {unit_amount: 0.5}", "- {rate_percent: 5}", "22", "has a unit_amount and no rate_percent"),
    ("- {unit_amount: 0.5}", "- {limits: {a: 1}}", "22", "only the tiers of a capacity price have limits"),
    ("- {unit_amount: 0.5}", "- {unit_amount: 0.5, block_size: 0}", "22", "greater than 0"),
    (*one_tier("flat", "{unit_amount: 1}"), "20", "a flat price has a flat_amount only"),
    (*one_tier("per_unit", "{unit_amount: 1, flat_amount: 2}"), "20", "use graduated for both"),
    (*one_tier("per_unit", "{unit_amount: 1, block_size: 2}"), "20", "a per_unit price has no blocks"),
    (*one_tier("package", "{unit_amount: 1}"), "20", "how many units a package holds: block_size"),
    (*one_tier("percentage", "{unit_amount: 1}"), "20", "a percentage price has a rate_percent"),
    (
        *one_tier("percentage", "{rate_percent: 1, unit_amount: 1}"),
        "20",
        "a tier with a rate_percent has no unit_amount",
    ),
    (*one_tier("dynamic", "{unit_amount: 1}"), "20", "a dynamic price has no tiers"),
    (*one_tier("capacity", "{flat_amount: 1}"), "17", "a capacity price says which dimension's values"),
    (
        *one_tier("capacity", "{limits: {a: 1}, flat_amount: 1}", "            limited_by: region\n"),
        "21",
        "leaves a gap",
    ),
    (
        *one_tier(
            "capacity", "{limits: {a: 2}}, {limits: {a: 1}}, {flat_amount: 1}", "            limited_by: region\n"
        ),
        "21",
        "overlaps: the tier before reaches 2",
    ),
    (*one_tier("percentage", "{rate_percent: 1}", "            free_events: 2\n"), "17", "doesn't keep them apart"),
    (
        *one_tier(
            "percentage", "{rate_percent: 1}", "            minimum_per_event: 2\n            maximum_per_event: 1\n"
        ),
        "21",
        "is below the minimum_per_event, 2",
    ),
    # Terms of a plan, and prices of a team's own.
    ("commitment_amount: 5", "overage_factor: 5", "10", "there is no commitment"),
    ("commitment_amount: 5", "commitment_units: 5", "10", "terms stand around several prices"),
    ("commitment_amount: 5", "free_units: 5", "10", "terms stand around several prices"),
    ("currency: EUR, commitment_amount", "currency: EUX, commitment_amount", "10", "EUX is no currency"),
    (
        "      - price: p/calls\n        versions",
        "      - price: p/call\n        versions",
        "28",
        "there is no price p/call",
    ),
    # What is no number, date or list.
    ("unit_amount: 0.5", "unit_amount: 0,5", "22", "is not a field that is known here"),
    ("unit_amount: 0.5", "unit_amount: '0,5'", "22", "should be a number, and it is '0,5'"),
    ("unit_amount: 0.5", "unit_amount: 0x10", "22", "should be a number, and it is '0x10'"),
    ("unit_amount: 0.5", "unit_amount: [1]", "22", "should be a number, and it is ['1']"),
    (
        "effective_from: 2026-01-01T00:00:00Z\n",
        "effective_from: 2026-02-30T00:00:00Z\n",
        "17",
        "is no date: day is out of",
    ),
    ("effective_from: 2026-01-01T00:00:00Z\n", "effective_from: yesterday\n", "17", "yesterday is no moment, such as"),
    ("starts: 2026-01-01", "starts: soon", "30", "soon is no date or moment, such as"),
    ("dimensions: [region]}\n  - {meter: level", "dimensions: region}\n  - {meter: level", "2", "should be a list"),
    ("unit_amount: 0.5", "unit_amount: $0.5", "22", "should be a number, and it is '$0.5'"),
    ("unit_amount: 0.5", "unit_amount: 0.5 EUR", "22", "should be a number, and it is '0.5 EUR'"),
    ("unit_amount: 0.5", "unit_amount: 0.0000000000001", "22", "has more than 12 decimals"),
    ("unit_amount: 0.5", "unit_amount: 1e30", "22", "no more than 26 digits before the decimal point"),
    ("unit_amount: 0.5", "unit_amount: .nan", "22", "should be a number, and it is '.nan'"),
    ("unit_amount: 0.5", "unit_amount: 0.5, unit_amount: 0.7", "22", "unit_amount stands here twice"),
    ("- {unit_amount: 0.5}", "- {up_to: 5, unit_amount: 1}\n              - {unit_amount: 2}", "22", "overlaps: 5 is"),
    ("{up_to: 10, unit_amount: 1}", "{over: 5, up_to: 10, unit_amount: 1}", "21", "usage over 0 up to 5 has no tier"),
    (TIERS, "            tiers: {unit_amount: 1}\n", "20", "should be a list"),
    (*said("commitment_amount: 5\n            true_up: maybe"), "21", "should be true or false, and it is 'maybe'"),
    (*said("group_by: region"), "20", "should be a list, and it is 'region'"),
    (*said("each: week"), "20", "should be 'hour' or 'day', and it is 'week'"),
    (*said("free_units: -1"), "20", "greater than or equal to 0"),
    (
        "event: call, aggregation: sum",
        "event: call, aggregation: summ",
        "2",
        "summ is no aggregation: use one of count",
    ),
    ("event: call, aggregation: sum", "event: call, aggregation: sum, filters: {ok: yes}", "2", "should be a list"),
    ("event: call, aggregation: sum", "event: call, aggregation: sum, filters: {ok: []}", "2", "needs at least one"),
    (
        "event: call, aggregation: sum",
        "event: call, aggregation: sum, precision: 2",
        "2",
        "a precision needs a rounding",
    ),
    (MODEL, "            model: Graduated\n", "18", "Graduated is no price model: use one of flat, per_unit"),
    # Who is billed.
    ("time_zone: UTC", "time_zone: UTC+2", "26", "UTC+2 is no time zone (use an IANA name"),
    ("starts: 2026-01-01", "starts: 01/02/2026", "30", "01/02/2026 is no date or moment"),
    ("starts: 2026-01-01", "starts: 2026-01-01T00:00:00", "30", "has no time zone: end it with Z"),
    ("starts: 2026-01-01", "starts: 2026-01-01, ends: 2026-01-01", "30", "ends at 2026-01-01 00:00Z, before it starts"),
    ("starts: 2026-01-01", "starts: 2026-01-01, anchor_day: last", "30", "should be a number, and it is 'last'"),
    (
        "starts: 2026-01-01",
        "starts: 2026-01-01, anchor_day: 5, cycle: {days: 7, counted_from: 2026-01-01}",
        "30",
        "periods of so many days have none",
    ),
    (
        "plan: p, currency: EUR, starts: 2026-01-01",
        "plans: [{plan: p}, {plan: p, since: 2027-01-01}], currency: EUR, starts: 2026-01-01, ends: 2026-06-01",
        "30",
        "begins when the subscription is over",
    ),
    (
        "    overrides:",
        "    alerts: [{alert: a, amount: 5, channels: [{webhook: nowhere}]}]\n    overrides:",
        "27",
        "should be log, or {webhook: URL}",
    ),
    (
        "    overrides:",
        "    alerts: [{alert: a, amount: 5, channels: [email]}]\n    overrides:",
        "27",
        "should be log, or",
    ),
    ("starts: 2026-01-01", "starts: 2026-01-01, ends: 2025-12-31", "30", "before it starts"),
    ("plan: p, currency", "plan: q, currency", "30", "there is no plan q"),
    ("plan: p, currency: EUR", "plan: p, currency: USD", "30", "the plan p has no price in USD"),
    ("starts: 2026-01-01", "starts: 2026-01-01, anchor_day: 0", "30", "greater than or equal to 1"),
]


@pytest.mark.parametrize(("old", "new", "line", "reason"), MISTAKES)
def test_each_mistake_is_named_by_its_line(tmp_path: Path, old: str, new: str, line: str, reason: str) -> None:
    file = tmp_path / "prices.yaml"
    assert old in CATALOG
    file.write_text(CATALOG.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(BillingError) as raised:
        Catalog.load(file)
    # Each in a sentence of its own: what follows from it may be named beside it.
    named = [sentence for sentence in raised.value.message.splitlines() if reason in sentence]
    assert named, raised.value.message
    assert re.search(rf"prices\.yaml, line {line}\b", named[0]), raised.value.message
    assert raised.value.remedy


def test_numbers_are_what_was_written(tmp_path: Path) -> None:
    """Not what YAML makes of them: eight of 010, 1,200 of 20:00."""
    file = tmp_path / "prices.yaml"
    text = CATALOG.replace("up_to: 10,", "up_to: 010,").replace(
        "        currency: EUR\n", "        currency: EUR\n        hours: [{since: 20:00, until: 08:00}]\n", 1
    )
    file.write_text(text, encoding="utf-8")
    price = Catalog.load(file).plans[0].prices[0]
    assert price.versions[0].tiers[0].up_to == 10
    assert price.hours is not None and (price.hours[0].since, price.hours[0].until) == ("20:00", "08:00")


@pytest.mark.parametrize("text", ["", "# nothing yet\n"])
def test_an_empty_file_is_no_catalog(tmp_path: Path, text: str) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BillingError, match=r"prices\.yaml is empty: a catalog has meters, plans and teams"):
        Catalog.load(file)


def test_a_version_is_named_by_its_moment(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(CATALOG.replace("unit_amount: 0.5", "unit_amount: x"), encoding="utf-8")
    with pytest.raises(BillingError, match="versions → 2026-01-01T00:00Z → tiers → number 2 → unit_amount"):
        Catalog.load(file)


def test_the_small_catalog_has_no_mistake(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(CATALOG, encoding="utf-8")
    assert Catalog.load(file).plans[0].terms

"""A catalog file is read exactly, and each mistake in it is named by file, line, place and reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from metering.catalog import Catalog
from metering.errors import BillingError

Edit = Callable[[str, str], Path]


def test_a_number_without_quotes_stays_the_decimal_that_was_written(file: Path) -> None:
    tiers = Catalog.load(file).plans[0].prices[0].versions[0].tiers
    assert [(tier.up_to, tier.unit_amount) for tier in tiers] == [
        (Decimal(10000), Decimal(0)),
        (Decimal(100000), Decimal("0.001")),
        (None, Decimal("0.0008")),
    ]


def test_a_date_is_the_midnight_with_which_it_begins_where_the_team_is(file: Path) -> None:
    acme = Catalog.load(file).teams[0]
    assert acme.subscription is not None
    assert acme.moment(acme.subscription.starts, acme.subscription) == datetime(2026, 8, 31, 18, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("old", "new", "place", "reason"),
    [
        (
            "aggregation: sum",
            "aggregation: bucketed_max",
            "meters → api_calls → bucket",
            "a bucketed meter says hour or day",
        ),
        ("aggregation: sum", "aggregation: total", "meters → api_calls → aggregation", "total is no aggregation"),
        ("aggregation: sum", "aggregation: unique_count", "meters → api_calls", "names the property whose values"),
        ("aggregation: sum", "aggregation: sum, precision: 2", "meters → api_calls → precision", "needs a rounding"),
        (
            "model: graduated",
            "model: package",
            "plans → standard → prices → standard/search",
            "a package price has one tier, without up_to",
        ),
        ("up_to: 100000", "up_to: 9000", "", "overlaps: 9000 is below 10000"),
        ("{up_to: 100000,", "{over: 9999, up_to: 100000,", "", "overlaps: the tier before goes up to 10000"),
        (
            "{up_to: 100000,",
            "{over: 10001, up_to: 100000,",
            "",
            "leaves a gap: usage over 10000 up to 10001 has no tier",
        ),
        (
            '{unit_amount: "0.0008",',
            '{up_to: 200000, unit_amount: "0.0008",',
            "",
            "leaves a gap: usage over 200000",
        ),
        ("{up_to: 10000, unit_amount: 0}", "{unit_amount: 0}", "", "stands after a tier without up_to"),
        ("currency: USD", "currency: USX", "standard/search → currency", "USX is no currency that is known here"),
        (
            "meter: api_calls\n",
            "meter: api_call\n",
            "standard/search → meter",
            "there is no meter api_call in this file",
        ),
        (
            "match: {endpoint: search}",
            "match: {region: eu}",
            "match → region",
            "region is no dimension of the meter api_calls",
        ),
        ("ends: 2026-12-15", "ends: 2026-09-14", "teams → hook → subscription → ends", "before it starts"),
        ("Asia/Kathmandu", "Asia/Katmandoo", "teams → acme → time_zone", "Asia/Katmandoo is no time zone"),
        (
            "starts: 2026-09-01",
            "starts: 2026-09-01T00:07:00Z",
            "acme → subscription → starts",
            "not on a quarter of an hour",
        ),
        ("starts: 2026-09-01", "starts: 2026-09-01T00:00:00", "acme → subscription → starts", "has no time zone"),
        (
            "plan: standard, currency: USD, starts",
            "plan: gold, currency: USD, starts",
            "acme",
            "no plan gold in this file",
        ),
        (
            "plan: standard, currency: USD, starts",
            "plan: standard, currency: JPY, starts",
            "acme",
            "has no price in JPY",
        ),
        ("anchor_day: 15", "anchor_day: 32", "hook → subscription → anchor_day", "less than or equal to 31"),
        ("charge_unit: request", "charge_units: request", "charge_units", "is not a field that is known here"),
        ("            charge_unit: request\n", "", "charge_unit", "is missing"),
        ("unit_amount: 0.001", "unit_amount: nought", "", "'nought'"),
        ("unit_amount: 0.001", "unit_amount: 0.0000000000001", "", "more than 12 decimals"),
        ("team: hook", "team: acme", "teams", "another team is called acme already"),
        ("name: Acme", "name: Acme\n    name: Acme", "", "name stands here twice"),
        ("meters:", "meters: [", "prices.yaml, line", "expected"),
    ],
)
def test_a_mistake_is_named_by_file_line_place_and_reason(
    file: Path, edit: Edit, old: str, new: str, place: str, reason: str
) -> None:
    with pytest.raises(BillingError) as raised:
        Catalog.load(edit(old, new))
    assert re.search(r"prices\.yaml, line \d+", raised.value.message)
    assert place in raised.value.message
    assert reason in raised.value.message
    assert raised.value.remedy


def test_the_line_named_is_the_line_where_the_mistake_stands(file: Path, edit: Edit) -> None:
    edit("up_to: 100000", "up_to: 9000")
    lines = file.read_text(encoding="utf-8").splitlines()
    line = 1 + next(number for number, text in enumerate(lines) if "up_to: 9000" in text)
    with pytest.raises(BillingError, match=f"prices.yaml, line {line}, plans → standard → prices → standard/search"):
        Catalog.load(file)


def test_all_mistakes_are_named_at_once(file: Path, edit: Edit) -> None:
    edit("currency: USD", "currency: USX")
    edit("Asia/Kathmandu", "Mars/Olympus")
    with pytest.raises(BillingError, match="has 2 mistakes"):
        Catalog.load(file)


def test_two_prices_that_could_take_the_same_usage_are_a_mistake(file: Path, edit: Edit) -> None:
    edit("dimensions: [endpoint]", "dimensions: [endpoint, region]")
    edit("price: standard/storage", "price: standard/eu")
    edit("        meter: storage\n", "        meter: api_calls\n        match: {region: eu}\n")
    with pytest.raises(BillingError, match="the same usage would take the price standard/search too"):
        Catalog.load(file)


def test_a_file_that_is_not_there_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(BillingError, match="can't be read: No such file"):
        Catalog.load(tmp_path / "none.yaml")

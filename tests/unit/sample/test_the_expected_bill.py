"""The oracle against prices that somebody else worked out."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from metering.sample.expected import Usage, expected_bills, owes, rounded

STRIPE = [
    {"up_to": "5", "unit_amount": "5", "flat_amount": "10"},
    {"up_to": "10", "unit_amount": "4", "flat_amount": "20"},
    {"up_to": "15", "unit_amount": "3", "flat_amount": "30"},
    {"up_to": "20", "unit_amount": "2", "flat_amount": "40"},
    {"unit_amount": "1", "flat_amount": "50"},
]
API = [{"up_to": "10000", "unit_amount": "0"}, {"up_to": "100000", "unit_amount": "0.001"}, {"unit_amount": "0.0008"}]


@pytest.mark.parametrize(
    ("model", "tiers", "quantity", "total"),
    [
        # Stripe's documented tiers.
        ("volume", STRIPE, "12", "66"),
        ("graduated", STRIPE, "12", "111"),
        ("volume", STRIPE, "0", "10"),
        ("graduated", STRIPE, "0", "10"),
        ("volume", STRIPE, "5", "35"),
        ("volume", STRIPE, "5.000001", "40.000004"),
        ("graduated", STRIPE, "25", "225"),
        # The product's own worked prices.
        ("graduated", API, "10000", "0"),
        ("graduated", API, "10001", "0.001"),
        ("graduated", API, "100000", "90"),
        ("graduated", API, "150000", "130"),
        ("per_unit", [{"unit_amount": "0.05"}], "1234.5", "61.725"),
        ("flat", [{"flat_amount": "25"}], "0", "25"),
        ("flat", [{"flat_amount": "25"}], "1000000", "25"),
    ],
)
def test_a_quantity_costs_what_was_worked_out(
    model: str, tiers: list[dict[str, str]], quantity: str, total: str
) -> None:
    assert owes({"model": model, "tiers": tiers}, Decimal(quantity)) == Decimal(total)


def test_gb_hours_become_gb_months_by_the_hours_of_the_month() -> None:
    version = {"model": "per_unit", "tiers": [{"unit_amount": "0.10"}], "per_period_hour": True}
    assert owes(version, Decimal(744 * 100), Decimal(744)) == 10
    assert owes(version, Decimal(745), Decimal(745)) == Decimal("0.1")


@pytest.mark.parametrize(
    ("amount", "exponent", "whole"), [("0.005", 2, "0.01"), ("-0.005", 2, "-0.01"), ("0.5", 0, "1"), ("2.4999", 0, "2")]
)
def test_a_half_is_rounded_away_from_zero(amount: str, exponent: int, whole: str) -> None:
    assert rounded(Decimal(amount), exponent) == Decimal(whole)


def _catalog(**subscription: Any) -> dict[str, Any]:
    prices = [
        {"price": "api", "meter": "calls", "currency": "USD", "match": {}, "versions": [
            {"effective_from": datetime(2020, 1, 1, tzinfo=UTC), "model": "graduated", "tiers": API},
            {"effective_from": datetime(2026, 10, 15, tzinfo=UTC), "model": "graduated", "tiers": API}]},
        {"price": "search", "meter": "calls", "currency": "USD", "match": {"endpoint": "search"}, "versions": [
            {"effective_from": datetime(2020, 1, 1, tzinfo=UTC), "model": "per_unit", "tiers": [
                {"unit_amount": "1"}]}]},
        {"price": "fee", "meter": "jobs", "currency": "USD", "match": {}, "versions": [
            {"effective_from": datetime(2020, 1, 1, tzinfo=UTC), "model": "flat", "tiers": [{"flat_amount": "31"}]}]},
    ]  # fmt: skip
    given = {"plan": "p", "currency": "USD", "starts": "2026-10-01", **subscription}
    return {
        "plans": [{"plan": "p", "prices": prices}],
        "teams": [{"team": "t", "time_zone": "UTC", "subscription": given}],
    }


def test_where_a_price_changes_tiers_start_again_and_usage_takes_the_price_that_names_it() -> None:
    usage = [
        Usage("t", "calls", {}, datetime(2026, 10, 14, 23, 59, 59, tzinfo=UTC), Decimal(20_000)),
        Usage("t", "calls", {"endpoint": "other"}, datetime(2026, 10, 15, tzinfo=UTC), Decimal(20_000)),
        Usage("t", "calls", {"endpoint": "search"}, datetime(2026, 10, 31, 23, tzinfo=UTC), Decimal(7)),
        Usage("t", "calls", {"endpoint": "search"}, datetime(2026, 11, 1, tzinfo=UTC), Decimal(5)),
    ]
    bills = expected_bills(_catalog(), usage, datetime(2026, 11, 2, tzinfo=UTC))
    assert [(bill.period, bill.total) for bill in bills] == [
        ("2026-10", Decimal("58.00")),
        ("2026-11", Decimal("36.00")),
    ]


def test_a_part_of_a_month_owes_its_days_of_the_fee_and_is_labelled_by_its_first_day() -> None:
    bills = expected_bills(_catalog(starts="2026-10-22", ends="2026-11-16"), [], datetime(2026, 12, 24, tzinfo=UTC))
    assert [(bill.period, bill.total) for bill in bills] == [
        ("2026-10-22", Decimal("10.00")),
        ("2026-11", Decimal("15.50")),
    ]

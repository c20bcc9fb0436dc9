"""Assumptions 39 to 43: what a quantity costs."""

from __future__ import annotations

from decimal import Decimal

import pytest

from metering.stripe_emulator import pricing

from .billed import EXAMPLE_TIERS, Billed


def dollars(emulator, mode: str, units: str) -> Decimal:
    line = Billed(emulator).bill(units, billing_scheme="tiered", tiers_mode=mode, tiers=EXAMPLE_TIERS)
    return Decimal(line.amount) / 100


def test_a39_volume_prices_all_units_by_the_tier_of_the_whole(emulator) -> None:
    assert dollars(emulator, "volume", "12") == Decimal("66.00")


def test_a40_graduated_prices_each_unit_by_its_own_tier(emulator) -> None:
    assert dollars(emulator, "graduated", "12") == Decimal("111.00")


@pytest.mark.parametrize("mode", ["graduated", "volume"])
def test_a41_nothing_used_bills_the_first_flat_fee(emulator, mode: str) -> None:
    assert dollars(emulator, mode, "") == Decimal("10.00")


TIERS = [
    {
        "up_to": one["up_to"] if one["up_to"] != "inf" else None,
        "unit_amount_decimal": str(one["unit_amount"]),
        "flat_amount_decimal": str(one["flat_amount"]),
    }
    for one in EXAMPLE_TIERS
]


@pytest.mark.parametrize(
    ("mode", "units", "cents"),
    [
        ("volume", "5", 3500),
        ("volume", "5.000000000001", 4000),
        ("volume", "20", 8000),
        ("volume", "21", 7100),
        ("graduated", "5", 3500),
        ("graduated", "5.5", 3500 + 2000 + 200),
        ("graduated", "20", 3500 + 4000 + 4500 + 5000),
        ("graduated", "21", 3500 + 4000 + 4500 + 5000 + 5100),
        ("graduated", "1000000", 3500 + 4000 + 4500 + 5000 + 5000 + 99998000),
    ],
)
def test_a_tier_reaches_up_to_and_including_its_bound(mode: str, units: str, cents: int) -> None:
    price = {"currency": "usd", "tiers_mode": mode, "transform_quantity": None}
    assert pricing.amount(price, TIERS, Decimal(units)) == cents


@pytest.mark.parametrize(
    ("way", "units", "cents"),
    [("up", "0", 0), ("up", "0.1", 500), ("up", "100", 500), ("up", "101", 1000), ("down", "199.9", 500)],
)
def test_a42_packages_round_the_quantity_and_not_the_amount(way: str, units: str, cents: int) -> None:
    transform = {"divide_by": 100, "round": way}
    price = {"currency": "usd", "unit_amount_decimal": "500", "transform_quantity": transform, "tiers_mode": None}
    assert pricing.amount(price, None, Decimal(units)) == cents


@pytest.mark.parametrize(
    ("currency", "exact", "amount"),
    [
        ("usd", "0.5", 1),
        ("usd", "1.499999999999", 1),
        ("usd", "-0.5", -1),
        ("jpy", "2.5", 3),
        ("kwd", "1234.9", 1230),
        ("kwd", "1235", 1240),
        ("isk", "149", 100),
        ("isk", "150", 200),
    ],
)
def test_a43_a_line_is_rounded_once_half_away_from_zero(currency: str, exact: str, amount: int) -> None:
    assert pricing.rounded(Decimal(exact), currency) == amount


def test_a43_decimals_are_kept_until_the_line_is_rounded(emulator) -> None:
    line = Billed(emulator).bill("12.5", unit_amount_decimal="0.123456789012")
    assert (line.amount, line.quantity, line.quantity_decimal) == (2, 12, Decimal("12.5"))
    assert line.pricing.unit_amount_decimal == Decimal("0.123456789012")


def test_tiers_are_shown_where_they_are_expanded(emulator) -> None:
    account = Billed(emulator)
    price = account.metered(billing_scheme="tiered", tiers_mode="graduated", tiers=EXAMPLE_TIERS)
    assert "tiers" not in price
    shown = account.client.v1.prices.retrieve(price.id, {"expand": ["tiers"]})
    assert [tier.up_to for tier in shown.tiers] == [5, 10, 15, 20, None]
    assert shown.tiers[0].flat_amount_decimal == Decimal(1000)
    listed = account.client.v1.prices.list({"expand": ["data.tiers"], "product": account.product})
    assert [len(one.tiers) if "tiers" in one else None for one in listed.data] == [5, None]


def test_a_lookup_key_is_of_one_price_and_can_be_taken_over(emulator, refusal) -> None:
    account = Billed(emulator)
    first = account.metered(lookup_key="tokens")
    assert refusal(account.metered, lookup_key="tokens").param == "lookup_key"
    second = account.metered(lookup_key="tokens", transfer_lookup_key=True)
    assert [one.id for one in account.client.v1.prices.list({"lookup_keys": ["tokens"]}).data] == [second.id]
    assert account.client.v1.prices.retrieve(first.id).lookup_key is None


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"unit_amount_decimal": "0.1234567890123"}, "unit_amount_decimal"),
        ({"recurring": {"interval": "month", "usage_type": "metered"}}, "recurring[meter]"),
        ({"billing_scheme": "tiered", "tiers_mode": "volume", "tiers": EXAMPLE_TIERS[:2]}, "tiers"),
        ({"billing_scheme": "tiered", "tiers_mode": "volume", "tiers": EXAMPLE_TIERS[::-1]}, "tiers[1][up_to]"),
        ({"product": "prod_none"}, "product"),
        ({"unit_amount": 5}, "unit_amount_decimal"),
    ],
)
def test_a_price_that_stripe_would_refuse_is_refused(emulator, refusal, wrong, param: str) -> None:
    error = refusal(Billed(emulator).metered, **wrong)
    assert (error.http_status, error.param) == (400, param)


def test_a_meter_that_is_inactive_takes_no_price(emulator, refusal) -> None:
    account = Billed(emulator)
    account.client.v1.billing.meters.deactivate(account.meter)
    assert refusal(account.metered).param == "recurring[meter]"


def test_products_and_prices_can_be_changed_and_found(emulator) -> None:
    account = Billed(emulator)
    products, prices = account.client.v1.products, account.client.v1.prices
    own = products.create({"id": "seats", "name": "Seats", "metadata": {"key": "a"}})
    changed = products.update("seats", {"active": False, "metadata": {"key": "", "other": "b"}})
    assert (own.id, changed.active, changed.metadata.to_dict()) == ("seats", False, {"other": "b"})
    assert [one.id for one in products.list({"active": True}).data] == [account.product]
    assert prices.update(account.price, {"active": False, "nickname": "old"}).nickname == "old"
    assert prices.list({"active": True}).data == []

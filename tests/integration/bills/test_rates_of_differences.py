"""A difference in the currency of reports: rates are causes of their own, and what it comes to is what reports say."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from typer.testing import CliRunner

from metering.bills import known
from metering.bills.difference import Cause, difference
from metering.cli.app import app
from metering.errors import BillingError

from ..metering.conftest import House


def _rate(house: House, currency: str, quoted_at: datetime, per_euro: str, source: str = "ECB") -> None:
    with house.connection.transaction():
        house.query(
            "insert into billing.exchange_rates values (%s, %s, landing.record_now(), %s, %s) returning 1",
            currency, quoted_at, per_euro, source,
        )  # fmt: skip


def test_rates_move_what_a_bill_is_worth_and_never_the_bill(
    house: House, monkeypatch: pytest.MonkeyPatch, deployed_database_url: str
) -> None:
    end = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    day = (end - timedelta(days=10)).date()
    period = f"{day:%Y-%m}"
    plan = house.plan("standard")
    for key, amount in (("calls", "0.333"), ("bytes", "0.01")):
        price = house.price(f"standard/{key}", plan, house.meter(key, key))
        house.version(price, "2020-01-01Z", "per_unit", [("0", None, amount, "0")])
    house.team("acme", plan, f"{day.replace(day=1)}")
    house.event("acme", "one", "calls", f"{day}T12:00Z", "7")
    house.aggregate()

    def now() -> datetime:
        return known.moment(house.connection, None)

    first = now()
    house.event("acme", "two", "bytes", f"{day}T13:00Z", "150")  # worth nothing in euros as yet
    _rate(house, "USD", end - timedelta(days=2), "1.25")
    house.event("acme", "three", "calls", f"{day}T14:00Z", "10")
    _rate(house, "USD", end + timedelta(hours=1), "9")  # after the period, so of no effect on it
    _rate(house, "USD", end - timedelta(days=1), "1.1")
    _rate(house, "USD", end - timedelta(days=1), "1.2", "corrected")
    second = now()

    told = difference(house.connection, "acme", period, first, second, currency="EUR")
    assert told.worth is not None
    usage = [cause for cause in told.causes if cause.kind == "usage"]
    moved = [cause for cause in told.causes if cause.kind == "exchange rate"]
    # 2.33 and 1.50 at 1.25, then 5.66 and 1.50 at 1.25, 1.1 and 1.2: each line rounded once.
    assert [(cause.key, cause.amount, cause.converted) for cause in usage if cause.amount] == [
        ("bytes", Decimal("1.50"), 0), ("calls", Decimal("3.33"), Decimal("2.67")),
    ]  # fmt: skip
    assert [cause.converted for cause in moved] == [
        Decimal("1.86") + Decimal("1.20"), Decimal("5.15") + Decimal("1.36") - Decimal("5.73"),
        Decimal("4.72") + Decimal("1.25") - Decimal("6.51"),
    ]  # fmt: skip
    assert "1 USD = 0.8 EUR (ECB" in str(moved[0].detail) and "no rate of USD" in str(moved[0].detail)
    assert "corrected" in str(moved[2].detail)
    assert all(cause.amount == 0 for cause in moved)
    _adds_up(told.causes, told.difference, told.worth.difference)
    assert (told.worth.before, told.worth.after) == (Decimal(0), Decimal("5.97"))

    # Reports of that moment say the same, the period that runs included.
    house.aggregate(finance=True)
    for label in (period, f"{end:%Y-%m}"):
        reported = house.value(
            "select coalesce(sum(converted_amount), 0) from marts.fct_revenue where period_label = %s", label
        )
        now_worth = difference(house.connection, "acme", label, first, currency="EUR").worth
        assert now_worth is not None and now_worth.after == reported
    plain = difference(house.connection, "acme", period, first, second)
    assert plain.worth is None and not [cause for cause in plain.causes if cause.kind == "exchange rate"]
    with pytest.raises(BillingError, match="'XXX' is no currency"):
        difference(house.connection, "acme", period, first, second, currency="XXX")

    monkeypatch.setenv("DATABASE_URL", deployed_database_url)

    def run(*more: str) -> str:
        asked = ("diff", "acme", period, "--from", first.isoformat(), "--to", second.isoformat(), "--currency", "eur")
        done = CliRunner().invoke(app, [*asked, *more], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    assert "worth (EUR)" in run() and "+5.97" in run()
    assert json.loads(run("--format", "json"))["worth"]["difference"] == "5.97"
    rows = run("--format", "csv").splitlines()
    assert rows[0].startswith("team,period,kind") and len(rows) == len(told.causes) + 1


def _adds_up(causes: list[Cause], amount: Decimal, converted: Decimal) -> None:
    assert sum((cause.amount for cause in causes), Decimal(0)) == amount
    assert sum((cause.converted or Decimal(0) for cause in causes), Decimal(0)) == converted

"""From catalog files to bills: presets, corrections, conversions, plans that change, subscriptions that are over."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from metering import catalog, closing, rates
from metering.catalog import Catalog, presets

OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)
RATES = """\
Date,USD,JPY,CYP,
2026-11-02,1.2500,200.00,N/A,
2026-10-30,1.1000,180.50,N/A,
2026-10-29,1.0900,N/A,N/A,
"""


def applied(house: Any, content: Any, **options: Any) -> catalog.Changes:
    """Apply a catalog, and know its teams."""
    found = Catalog.load(content) if isinstance(content, Path) else Catalog.read(content)
    changes = catalog.apply(house.connection, found, **options)
    house.teams = {
        row["team_key"]: row["team_id"] for row in house.query("select team_key, team_id from billing.teams")
    }
    return changes


def lines(house: Any, period: str) -> dict[tuple[str, str], Decimal]:
    return {
        (row["team_key"], row["line_key"]): row["amount"].normalize() + 0
        for row in house.query(
            "select team_key, line_key, amount from marts.fct_bill_lines where period_label = %s", period
        )
    }


def current(house: Any) -> str:
    return house.value("select to_char(now() at time zone 'UTC', 'YYYY-MM')")


def test_presets_rate_and_a_correction_of_the_past_is_an_adjustment_and_reports_convert(
    house: Any, tmp_path: Path
) -> None:
    for name in presets.NAMES:
        presets.write(name, tmp_path, now=OCTOBER)
    planned = applied(house, tmp_path, dry_run=True)
    assert applied(house, tmp_path) == planned

    used = [
        ("example-api", "api_request", "120000", {"endpoint": "/v1/items"}),
        ("example-api", "api_request", "10", {"endpoint": "/v1/export"}),
        ("example-storage", "storage", "74400", {"region": "eu"}),
        ("example-storage", "storage", "7440", {"region": "ap"}),
        ("example-storage", "bandwidth", "20", {"direction": "egress"}),
        ("example-storage", "bandwidth", "500", {"direction": "ingress"}),
        ("example-storage-peak", "storage_level", "100", {}),
        ("example-storage-peak", "storage_level", "310", {}),
        ("example-compute", "compute", "7200", {"instance_type": "small"}),
        ("example-compute", "compute", "36000", {"instance_type": "small", "spot": "true"}),
        ("example-compute", "compute", "1800", {"instance_type": "gpu", "spot": "false"}),
    ]
    for number, (team, event, quantity, properties) in enumerate(used):
        house.event(team, f"event-{number}", event, "2026-10-07T10:00:00Z", quantity, **properties)
    house.event("example-storage-peak", "next-day", "storage_level", "2026-10-08T10:00:00Z", "310")
    house.aggregate()
    bills = {team: total for (team, period), total in house.bills().items() if period == "2026-10"}
    assert bills == {
        "example-api": Decimal("106.1"),  # 90,000 at 0.001, 20,000 at 0.0008, 10 exports at 0.01
        "example-storage": Decimal("12.2"),  # 100 and 10 GB-months, 20 GB out
        "example-storage-peak": Decimal("1.6"),  # two days of 310 GB, of 31
        "example-compute": Decimal("1.5"),  # 2 hours at 0.05, 10 at 0.015, half of one at 2.50
    }
    closing.close_periods(house.connection)

    # What has billed is not rewritten: on purpose only, after a look at what becomes of it.
    file = tmp_path / "api.yaml"
    file.write_text(
        file.read_text(encoding="utf-8").replace("unit_amount: 0.001}", "unit_amount: 0.002}"), encoding="utf-8"
    )
    looked = applied(house, tmp_path, dry_run=True)
    assert looked.refusal is not None and "api.yaml, line 21" in looked.refusal.message
    (difference,) = looked.differences
    assert (difference.team_key, difference.period_label, difference.kind, difference.about_label) == (
        "example-api", current(house), "adjustment", "2026-10",
    )  # fmt: skip
    assert (difference.before, difference.after) == (0, 90)
    applied(house, tmp_path, correction="a digit was wrong", made_by="fay")
    house.aggregate()
    assert house.bills()["example-api", "2026-10"] == Decimal("106.1")
    adjustments = {key: amount for key, amount in lines(house, current(house)).items() if "adjustment" in key[1]}
    assert adjustments == {("example-api", "adjustment 2026-10 api/calls@2026-10-01T00:00Z"): 90}

    # Each line is converted by the last rate before its period ended, or says why it is not.
    revenue = "select *, why_not_converted as why from marts.fct_revenue where line_key like 'api/calls@2026-10%'"
    (unknown,) = house.query(revenue)
    assert (unknown["converted_amount"], unknown["why"]) == (
        None,
        "no rate of USD in the week before 2026-11-01 00:00Z",
    )
    (tmp_path / "rates.csv").write_text(RATES, encoding="utf-8")
    quotes = rates.read(tmp_path / "rates.csv")
    loaded = rates.load(house.connection, quotes, "ECB")
    assert (loaded.read, loaded.added, loaded.passed_over) == (5, 5, ())
    (known,) = house.query(revenue)
    assert (known["amount"], known["currency"], known["reporting_currency"]) == (106, "USD", "EUR")
    assert known["converted_amount"] == Decimal("96.36")  # 106 / 1.1
    assert (known["rate"], known["rate_source"]) == (Decimal("0.909090909090909091"), "ECB")
    assert known["rate_time"] == datetime(2026, 10, 30, 15, tzinfo=UTC)
    assert known["why"] is None
    # The present month is too far from the last rate for more than a guess.
    stale = "select from marts.fct_revenue where period_label = %s and converted_amount is not null"
    assert house.query(stale, current(house)) == []


def _price(key: str, model: str, tier: dict[str, str]) -> dict[str, Any]:
    version = {"effective_from": "2020-01-01T00:00:00Z", "model": model, "charge_unit": "call", "tiers": [tier]}
    return {"price": key, "name": key, "meter": "calls", "currency": "USD", "versions": [version]}


def _content(**subscriptions: dict[str, Any]) -> dict[str, Any]:
    return {
        "meters": [
            {"meter": "calls", "name": "Calls", "event": "call", "aggregation": "sum", "unit": "call"},
            {"meter": "seats", "name": "Seats", "event": "seat", "aggregation": "sum", "unit": "seat"},
        ],
        "plans": [
            {
                "plan": plan,
                "name": plan,
                "prices": [
                    _price(f"{plan}/calls", "per_unit", {"unit_amount": amount}),
                    {**_price(f"{plan}/fee", "flat", {"flat_amount": fee}), "meter": "seats"},
                ],
            }
            for plan, amount, fee in (("basic", "1", "31"), ("pro", "0.5", "62"))
        ],
        "teams": [
            {"team": team, "name": team, "time_zone": "UTC", "subscription": {"currency": "USD", **subscription}}
            for team, subscription in subscriptions.items()
        ],
    }


def test_plans_split_lines_and_a_subscription_that_is_over_still_settles_what_comes_late(house: Any) -> None:
    history = [{"plan": "basic"}, {"plan": "pro", "since": "2026-10-11"}]
    content = _content(
        split={"plans": history, "starts": "2026-10-01"},
        gone={"plan": "basic", "starts": "2026-09-01", "ends": "2026-10-16"},
        cut={"plan": "basic", "starts": "2026-09-01"},
        february={"plan": "basic", "starts": "2026-01-31", "ends": "2026-04-01", "anchor_day": 31},
    )
    applied(house, content)
    for team in ("split", "gone", "cut"):
        house.event(team, f"{team}-1", "call", "2026-10-10T23:45:00Z", "10")
        house.event(team, f"{team}-2", "call", "2026-10-11T00:00:00Z", "10")
    house.aggregate()
    assert {key[1]: amount for key, amount in lines(house, "2026-10").items() if key[0] == "split"} == {
        "basic/calls@2026-10-01T00:00Z": 10,
        "basic/fee@2026-10-01T00:00Z": 10,  # 10 of 31 days
        "pro/calls@2026-10-11T00:00Z": 5,
        "pro/fee@2026-10-11T00:00Z": 42,  # 21 of 31 days
    }
    # Anchor day 31: the last day of February, and of March; the last period is a single day.
    assert {period for team, period in house.bills() if team == "february"} == {
        "2026-01-31",
        "2026-02-28",
        "2026-03-31",
    }
    closing.close_periods(house.connection)
    assert house.bills()["gone", "2026-10"] == 35  # 20 calls, 15 of 31 days
    assert not house.query("select from billing.billing_periods where not takes_usage")

    # Late usage of a subscription that is over has a bill to stand on, as long as anything is due.
    house.event("gone", "late", "call", "2026-10-12T12:00:00Z", "7")
    # Usage after the end is billed by nobody, and is shown.
    house.event("gone", "after", "call", "2026-11-12T12:00:00Z", "5")
    house.aggregate(finance=True)
    label = f"{current(house)}-closing"
    assert lines(house, label) == {("gone", "adjustment 2026-10 basic/calls@2026-10-01T00:00Z"): 7}
    assert house.bills()["gone", label] == 7
    unpriced = house.query("select reason, quantity from intermediate.int_usage_unpriced")
    assert [(row["reason"], row["quantity"]) for row in unpriced] == [("no billing period", 5)]
    differences = house.query(
        "select * from marts.fct_reconciliation where landed_minus_metered <> 0 or metered_minus_rated <> 0"
        " or rated_minus_billed <> 0 or rated_minus_billed_amount <> 0"
    )
    assert differences == []

    # Withdrawn, nothing is due; what is empty goes away, and no empty bill becomes final.
    house.connection.execute(
        "insert into landing.event_withdrawals (team_id, key_digest, occurred_at, recorded_at, reason)"
        " select team_id, key_digest, occurred_at, landing.record_now(), 'by mistake'"
        " from landing.usage_events where event_key = 'late'"
    )
    house.aggregate()
    assert ("gone", label) not in house.bills()
    closing.close_periods(house.connection)
    assert not house.query("select from billing.billing_periods where not takes_usage")

    # An end that is moved to before bills that are final gives them back, on the period that was open.
    content["teams"][2]["subscription"]["ends"] = "2026-10-01"
    applied(house, content, correction="they had cancelled in time")
    house.aggregate()
    bills = house.bills()
    assert bills["cut", "2026-10"] == 51  # as it was
    assert bills["cut", label] < 0  # all that came after September
    assert sum(total for (team, _), total in bills.items() if team == "cut") == 31  # September


def test_presets_are_written_over_only_when_asked(tmp_path: Path) -> None:
    import pytest

    from metering.errors import BillingError

    path = presets.write("api", tmp_path, now=OCTOBER)
    assert presets.write("api", tmp_path, now=OCTOBER) == path
    path.write_text("meters: []\n", encoding="utf-8")
    with pytest.raises(BillingError, match="is there already"):
        presets.write("api", tmp_path, now=OCTOBER)
    assert path.read_text(encoding="utf-8") == "meters: []\n"
    presets.write("api", tmp_path, now=OCTOBER, overwrite=True)
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=catalog.schema.json\n")
    assert (tmp_path / "catalog.schema.json").is_file()
    assert yaml.safe_load(text)["teams"][0]["subscription"]["starts"].isoformat() == "2026-10-01"

"""Months in which much happens at once: plans and prices that change on one day, clocks, credits, missing values."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from metering import catalog, credits

METERS = [
    {"meter": "calls", "name": "calls", "event": "call", "aggregation": "sum", "unit": "call",
     "dimensions": ["region", "type"]},
    {"meter": "space", "name": "space", "event": "space", "aggregation": "sum", "unit": "GB-hour"},
    {"meter": "fee", "name": "fee", "event": "never", "aggregation": "count", "unit": "month"},
]  # fmt: skip
LONG_AGO, DAY = "2020-01-01T00:00:00Z", "2026-10-11T00:00:00Z"


def per_unit(amount: str, since: str = LONG_AGO, **more: Any) -> dict[str, Any]:
    return {
        "effective_from": since,
        "model": "per_unit",
        "charge_unit": "call",
        "tiers": [{"unit_amount": amount}],
        **more,
    }


def flat(amount: str, since: str = LONG_AGO) -> dict[str, Any]:
    return {"effective_from": since, "model": "flat", "charge_unit": "month", "tiers": [{"flat_amount": amount}]}


def price(
    key: str, *versions: dict[str, Any], meter: str = "calls", currency: str = "USD", **more: Any
) -> dict[str, Any]:
    return {"price": key, "name": key, "meter": meter, "currency": currency, "versions": [*versions], **more}


def plan(key: str, *prices: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"plan": key, "name": key, "prices": [*prices], **more}


def team(key: str, zone: str = "UTC", currency: str = "USD", **subscription: Any) -> dict[str, Any]:
    return {"team": key, "name": key, "time_zone": zone, "subscription": {"currency": currency, **subscription}}


def lines(house: Any, team_key: str, label: str) -> dict[str, Decimal]:
    """The lines of a bill that are not nothing, by key."""
    return {
        row["line_key"]: row["amount"].normalize() + 0
        for row in house.query(
            "select line_key, amount from marts.fct_bill_lines where team_key = %s and period_label = %s",
            team_key,
            label,
        )
        if row["amount"]
    }


def test_months_in_which_much_happens_at_once(house: Any) -> None:
    content = {
        "meters": METERS,
        "plans": [
            plan("basic", price("basic/calls", per_unit("1")), price("basic/fee", flat("31"), meter="fee")),
            plan(
                "pro",
                # Its price changes with the day on which the plan does, and again at noon.
                price("pro/calls", per_unit("0.5"), per_unit("0.25", DAY), per_unit("2", "2026-10-11T12:00:00Z")),
                price("pro/fee", flat("62"), flat("93", DAY), flat("124", "2026-10-21T12:00:00Z"), meter="fee"),
            ),
            plan("late", price("late/calls", per_unit("1", "2026-10-15T00:00:00Z"))),
            plan(
                "matrix",
                price("matrix/eu", per_unit("1"), match={"region": "eu"}),
                price("matrix/eu-gpu", per_unit("10"), match={"region": "eu", "type": "gpu"}),
                price("matrix/us-gpu", per_unit("100"), match={"region": "us", "type": "gpu"}),
            ),
            plan("yen", price("yen/fee", flat("1000"), meter="fee", currency="JPY")),
            plan("space", price("space/fee", flat("31"), meter="fee"), price(
                "space/space", per_unit("31", per_period_hour=True), meter="space")),
        ],
        "teams": [
            team("sameday", plans=[{"plan": "basic"}, {"plan": "pro", "since": "2026-10-11"}], starts="2026-10-01"),
            team("late", plan="late", starts="2026-10-01"),
            team("matrix", plan="matrix", starts="2026-10-01"),
            team("prepaid", plan="basic", starts="2026-10-01", ends="2026-12-01"),
            # 28 days of February belong to the cycle from the 31st of January; 7 of them are billed.
            team("february", plan="yen", currency="JPY", anchor_day=31, starts="2026-02-21", ends="2026-04-01"),
            # The first day of the cycle has 23 hours, and begins at one o'clock: 30 days of 719 hours.
            team("cairo", "Africa/Cairo", plan="space", anchor_day=24, starts="2026-04-24", ends="2026-05-24"),
            # November begins with an hour that is repeated, and one day of it has 25.
            team("havana", "America/Havana", plan="space", starts="2026-10-17", ends="2026-12-01"),
        ],
    }  # fmt: skip
    found = catalog.Catalog.read(content)
    catalog.apply(house.connection, found)
    house.teams = {
        row["team_key"]: row["team_id"] for row in house.query("select team_key, team_id from billing.teams")
    }
    for number, (team_key, event, at, quantity, properties) in enumerate(
        [
            ("sameday", "call", "2026-10-10T23:59:59.999999Z", "8", {}),
            ("sameday", "call", "2026-10-11T00:00:00Z", "8", {}),
            ("sameday", "call", "2026-10-11T11:59:59.999999Z", "8", {}),
            ("sameday", "call", "2026-10-11T12:00:00Z", "8", {}),
            ("late", "call", "2026-10-14T23:59:59Z", "5", {}),
            ("late", "call", "2026-10-15T00:00:00Z", "6", {}),
            ("matrix", "call", "2026-10-02T00:00:00Z", "1", {"region": "eu", "type": "gpu"}),
            ("matrix", "call", "2026-10-02T00:00:00Z", "2", {"region": "eu", "type": "cpu"}),
            ("matrix", "call", "2026-10-02T00:00:00Z", "3", {"region": "eu"}),
            ("matrix", "call", "2026-10-02T00:00:00Z", "4", {"type": "gpu"}),
            ("matrix", "call", "2026-10-02T00:00:00Z", "5", {"region": "us", "type": "gpu"}),
            ("matrix", "call", "2026-10-02T00:00:00Z", "6", {}),
            ("prepaid", "call", "2026-10-02T00:00:00Z", "9", {}),
            ("prepaid", "call", "2026-11-02T00:00:00Z", "9", {}),
            # The instant before the period in Cairo, its first, and its last.
            ("cairo", "space", "2026-04-23T21:59:59Z", "1000", {}),
            ("cairo", "space", "2026-04-23T22:00:00Z", "719", {}),
            ("cairo", "space", "2026-05-23T20:59:59Z", "719", {}),
            ("cairo", "space", "2026-05-23T21:00:00Z", "1000", {}),
            # Midnight in Havana comes twice: the first is that of November.
            ("havana", "space", "2026-11-01T03:59:59Z", "744", {}),
            ("havana", "space", "2026-11-01T04:00:00Z", "721", {}),
        ]
    ):
        house.event(team_key, f"{number}", event, at, quantity, **properties)
    for key, amount, since, until in (
        ("within", 10, datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 10, 15, tzinfo=UTC)),
        ("over", 99, datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC)),
        ("from-then", 50, datetime(2026, 10, 31, 23, 45, tzinfo=UTC), None),
    ):
        grant = credits.Grant("prepaid", key, "USD", Decimal(amount), "bought", since, until)
        credits.grant(house.connection, grant, "tests")
    house.aggregate(finance=True)

    assert lines(house, "sameday", "2026-10") == {
        "basic/calls@2026-10-01T00:00Z": 8,
        "basic/fee@2026-10-01T00:00Z": 10,  # 10 of 31 days
        "pro/calls@2026-10-11T00:00Z": 4,
        "pro/calls@2026-10-11T12:00Z": 16,
        "pro/fee@2026-10-11T00:00Z": 30,  # 10 of 31 days
        "pro/fee@2026-10-21T12:00Z": 44,  # the day on which it changes, and 10 more
    }
    assert lines(house, "late", "2026-10") == {"late/calls@2026-10-15T00:00Z": 6}
    assert lines(house, "matrix", "2026-10") == {
        "matrix/eu@2026-10-01T00:00Z": 5,
        "matrix/eu-gpu@2026-10-01T00:00Z": 10,
        "matrix/us-gpu@2026-10-01T00:00Z": 500,
    }
    # What no bill holds is shown, with the reason.
    assert house.query(
        "select team_key, dimensions, trim_scale(quantity) as quantity, reason from intermediate.int_usage_unpriced"
        " join billing.teams using (team_id) where team_key in ('late', 'matrix') order by team_key, quantity"
    ) == [
        {"team_key": "late", "dimensions": {}, "quantity": 5, "reason": "no price at that time"},
        {"team_key": "matrix", "dimensions": {"type": "gpu"}, "quantity": 4, "reason": "no price for these dimensions"},
        {"team_key": "matrix", "dimensions": {}, "quantity": 6, "reason": "no price for these dimensions"},
    ]
    # 40 are due in October: the credit that expires within it pays first, then the one that came on its last day.
    assert lines(house, "prepaid", "2026-10") == {
        "basic/calls@2026-10-01T00:00Z": 9, "basic/fee@2026-10-01T00:00Z": 31,
        "credit@within": -10, "credit@from-then": -30,
    }  # fmt: skip
    assert lines(house, "prepaid", "2026-11") == {
        "basic/calls@2026-11-01T00:00Z": 9, "basic/fee@2026-11-01T00:00Z": 31, "credit@from-then": -20,
    }  # fmt: skip
    # 7 of 28 days, 31 days from the last of February, and one of 30 days.
    bills = {period: total for (team_key, period), total in house.bills().items() if team_key == "february"}
    assert bills == {"2026-02-21": 250, "2026-02-28": 1000, "2026-03-31": 33}
    assert lines(house, "cairo", "2026-04-24") == {
        "space/fee@2026-04-23T22:00Z": 31, "space/space@2026-04-23T22:00Z": 62,
    }  # fmt: skip
    # October's cycle in Havana has 744 hours, and 15 of its 31 days are billed; November's has 721.
    assert lines(house, "havana", "2026-10-17") == {
        "space/fee@2026-10-17T04:00Z": 15, "space/space@2026-10-17T04:00Z": 31,
    }  # fmt: skip
    assert lines(house, "havana", "2026-11") == {
        "space/fee@2026-11-01T04:00Z": 31, "space/space@2026-11-01T04:00Z": 31,
    }  # fmt: skip

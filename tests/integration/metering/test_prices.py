"""Prices as catalogs say them, through events to bills: many teams in few runs."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from metering import catalog, closing, credits

START = "2026-09-01T00:00:00Z"
TIERS = [
    {"up_to": 10, "unit_amount": "0.30", "flat_amount": "1"},
    {"up_to": 25, "unit_amount": "0.2"},
    {"unit_amount": "0.07"},
]
CENTURY = "2000-01-01T00:00:00Z"


def price(key: str, meter: str, version: dict, currency: str = "USD", **more) -> dict:
    return {
        "price": key, "name": key, "meter": meter, "currency": currency,
        "versions": [{"effective_from": CENTURY, "charge_unit": "unit", **version}], **more,
    }  # fmt: skip


def team(key: str, plan: str, currency: str = "USD", zone: str = "UTC", **more) -> dict:
    subscription = {"plan": plan, "currency": currency, "starts": "2026-09-01"}
    return {"team": key, "name": key, "time_zone": zone, "subscription": subscription, **more}


def apply(house, content: dict, **more) -> None:
    found = catalog.Catalog.read(content)
    catalog.apply(house.connection, found, **more)
    rows = house.query("select team_key, team_id from billing.teams")
    house.teams |= {row["team_key"]: row["team_id"] for row in rows}


def lines(house, team_key: str, label: str = "2026-09") -> dict[str, Decimal]:
    """The lines of one bill by the price (or plan, or credit) and their kind."""
    found = house.query(
        "select line_key, kind, amount from marts.fct_bill_lines where team_key = %s and period_label = %s",
        team_key,
        label,
    )
    return {
        f"{row['line_key'].split('@')[0]} {row['kind']}": row["amount"].normalize() + 0
        for row in found
        if row["amount"]
    }


def test_hours_overrides_terms_of_plans_and_credits(house):
    """Peak hours on the team's clock, a price of one team's own, what stands around a plan, and prepaid credits."""
    meter = {"meter": "calls", "name": "calls", "event": "call", "aggregation": "sum", "unit": "unit"}
    peak = [{"days": ["mon", "tue", "wed", "thu", "fri"], "since": "08:00", "until": "20:00"}]
    per_unit = {"model": "per_unit", "tiers": [{"unit_amount": "0.1"}]}
    content = {
        "meters": [meter],
        "plans": [
            {"plan": "plain", "name": "plain", "prices": [price("plain", "calls", per_unit)]},
            {
                "plan": "hours", "name": "hours",
                "prices": [
                    price("night", "calls", per_unit),
                    price("peak", "calls", {"model": "per_unit", "tiers": [{"unit_amount": 1}]}, hours=peak),
                ],
            },
            {
                "plan": "committed", "name": "committed", "prices": [price("committed", "calls", per_unit)],
                "terms": [
                    {"effective_from": CENTURY, "currency": "USD", "commitment_amount": 50, "overage_factor": 2,
                     "discount_percent": 10, "maximum_amount": 80},
                ],
            },
        ],
        "teams": [
            team("hours", "hours", zone="Asia/Kathmandu"),
            team("own", "plain", overrides=[{
                "price": "plain",
                "versions": [{"effective_from": "2026-09-16T00:00:00Z", "charge_unit": "unit", "model": "per_unit",
                              "tiers": [{"unit_amount": "0.05"}]}]}]),
            team("usual", "plain"), team("prepaid", "plain"), team("below", "committed"),
            team("beyond", "committed"), team("capped", "committed"),
        ],
    }  # fmt: skip
    apply(house, content)
    # Thursday 3 September: 02:15 UTC is 08:00 in Kathmandu; and Saturday is never peak.
    for number, (at, quantity) in enumerate(
        [
            ("2026-09-03T02:14:59Z", "10"),
            ("2026-09-03T02:15:00Z", "3"),
            ("2026-09-03T14:15:00Z", "20"),
            ("2026-09-05T06:00:00Z", "40"),
        ]
    ):
        house.event("hours", f"h{number}", "call", at, quantity)
    for key in ("own", "usual"):
        house.event(key, "a", "call", "2026-09-02T00:00:00Z", "100")
        house.event(key, "b", "call", "2026-09-20T00:00:00Z", "100")
    for key, quantity in (("below", "200"), ("beyond", "600"), ("capped", "1000"), ("prepaid", "300")):
        house.event(key, "a", "call", "2026-09-02T00:00:00Z", quantity)
    house.event("prepaid", "b", "call", "2026-10-02T00:00:00Z", "400")
    moment = datetime(2026, 9, 1, tzinfo=UTC)
    for key, amount, expires in (("later", 50, None), ("first", 20, moment + timedelta(days=20)), ("gone", 99, moment)):
        credits.grant(
            house.connection,
            credits.Grant("prepaid", key, "USD", Decimal(amount), "bought", moment - timedelta(days=90), expires),
            "tests",
        )
    house.aggregate(finance=True)

    assert lines(house, "hours") == {"night usage": 7, "peak usage": 3}
    assert lines(house, "usual") == {"plain usage": 20}
    own = house.query(
        "select amount from marts.fct_bill_lines where team_key = 'own' and quantity > 0 order by line_key"
    )
    assert [row["amount"] for row in own] == [10, 5]
    # 20 of the 50 that are committed, trued up, less 10 %.
    assert lines(house, "below") == {"committed usage": 20, "committed true_up": 30, "committed discount": -5}
    # 10 beyond the commitment at twice the price: (60 + 10) less 10 %.
    assert lines(house, "beyond") == {"committed usage": 60, "committed overage": 10, "committed discount": -7}
    assert lines(house, "capped")["committed maximum"] == -55
    assert house.bills()["capped", "2026-09"] == 80
    # 30 in September take the 20 that expire first; October's 40 take what is left.
    drawn = house.query(
        "select period_label, line_key, amount from marts.fct_bill_lines where kind = 'credit' order by 1, 2"
    )
    assert [(row["period_label"], row["line_key"], row["amount"]) for row in drawn] == [
        ("2026-09", "credit@first", -20), ("2026-09", "credit@later", -10), ("2026-10", "credit@later", -40)
    ]  # fmt: skip
    assert house.bills()["prepaid", "2026-09"] == 0
    assert house.bills()["prepaid", "2026-10"] == 0
    left = {row["grant_key"]: row["is_left"] for row in credits.left(house.connection, "prepaid")}
    assert left == {"gone": 99, "first": 0, "later": 0}

    # Final bills keep what they drew; usage that comes late is an adjustment, and nothing is drawn twice.
    closing.close_periods(house.connection)
    house.event("prepaid", "late", "call", "2026-09-02T00:00:00Z", "100")
    house.event("below", "late", "call", "2026-09-02T00:00:00Z", "400")
    house.aggregate(finance=True)
    current = house.value("select max(period_label) from billing.billing_periods")
    assert house.bills()["prepaid", "2026-09"] == 0
    assert house.bills()["prepaid", current] == 10
    adjusted = house.query(
        "select line_key, amount from marts.fct_bill_lines where team_key = 'below' and kind = 'adjustment'"
        " order by line_key"
    )
    # 60 of usage now: 40 more, 10 of overage, no true-up, 2 more of discount.
    assert [(row["line_key"].partition("#")[2], row["amount"]) for row in adjusted] == [
        ("", 40), ("discount", -2), ("overage", 10), ("true_up", -30)
    ]  # fmt: skip
    differences = house.query(
        "select * from marts.fct_reconciliation where landed_minus_metered <> 0 or metered_minus_rated <> 0"
        " or rated_minus_billed <> 0 or rated_minus_billed_amount <> 0"
    )
    assert differences == []


def test_tiers_are_monotone_continuous_and_add_up_whatever_the_split_and_the_order(house):
    """Generated teams: usage in any number of events, order and run; currencies of 0, 2 and 3 decimals; up to 10^15."""
    chance = random.Random(20260901)
    meter = {"meter": "calls", "name": "calls", "event": "call", "aggregation": "sum", "unit": "unit"}
    currencies = {"JPY": 0, "USD": 2, "KWD": 3}
    plans, teams = [], []
    for currency in currencies:
        for model in ("graduated", "volume"):
            version = {"model": model, "charge_zero_flat": False, "tiers": TIERS}
            plans.append(
                {
                    "plan": f"{model}-{currency}",
                    "name": model,
                    "prices": [price(f"{model}-{currency}", "calls", version, currency)],
                }
            )
    around = [Decimal(10), Decimal(25)]
    totals = sorted(
        {
            bound + step
            for bound in around
            for step in map(Decimal, ("-1", "-0.000000000001", "0", "0.000000000001", "1"))
        }
        | {Decimal(10) ** 15, Decimal("999999999999999.123456789012"), Decimal("0.5"), Decimal(1)}
        | {Decimal(chance.randrange(1, 60_000)) / 1000 for _ in range(5)}
    )
    ways = {}
    for currency in currencies:
        for model in ("graduated", "volume"):
            for number, total in enumerate(totals):
                for way in ("once", "split"):
                    key = f"{model}-{currency}-{number}-{way}"
                    teams.append(team(key, f"{model}-{currency}", currency))
                    ways[key] = (model, currency, total)
    apply(house, {"meters": [meter], "plans": plans, "teams": teams})

    parts: list[tuple[str, str, str]] = []
    for key, (_, _, total) in ways.items():
        pieces = [total]
        if key.endswith("split"):
            cut = (total * chance.randrange(1, 9) / 10).quantize(Decimal("1e-12"))
            pieces = [total - cut, cut / 2 if cut / 2 == (cut / 2).quantize(Decimal("1e-12")) else cut]
            pieces.append(total - sum(pieces))
        parts += [(key, f"e{place}", format(piece, "f")) for place, piece in enumerate(pieces) if piece]
    chance.shuffle(parts)
    for run in (parts[::2], parts[1::2]):
        land(house, run, chance)
        house.aggregate()
    # Once more over everything: nothing moves.
    before = house.bills()
    house.aggregate(datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC))
    assert house.bills() == before

    rated = {
        row["team_key"]: row
        for row in house.query(
            "select team_key, sum(exact_amount) as exact, sum(amount) as amount, sum(charge_quantity) as quantity,"
            " max(tiers.quantity) as in_tiers from marts.fct_bill_lines as lines"
            " join (select team_id, line_key, sum(tier_quantity) as quantity from marts.fct_rated_usage group by 1, 2)"
            " as tiers using (team_id, line_key) where period_label = '2026-09' group by team_key"
        )
    }
    assert len(rated) == len(ways)
    for key, (model, currency, total) in ways.items():
        row = rated[key]
        assert row["quantity"] == row["in_tiers"] == total
        unit = Decimal(1).scaleb(-currencies[currency])
        assert abs(row["amount"] - row["exact"]) <= unit / 2 and row["amount"] % unit == 0
        if key.endswith("split"):
            assert row["exact"] == rated[key.replace("split", "once")]["exact"]
        if model == "graduated":
            assert row["exact"] == worth(total)
    for currency in currencies:
        amounts = [rated[f"graduated-{currency}-{number}-once"]["exact"] for number in range(len(totals))]
        assert amounts == sorted(amounts)
        for bound in around:
            at, beyond = (amounts[totals.index(bound + step)] for step in (Decimal(0), Decimal("0.000000000001")))
            assert 0 < beyond - at < Decimal("1e-11")


def worth(total: Decimal) -> Decimal:
    """What the tiers of this file make of a usage above zero: 1 and 3 for the first ten, 3 for the next 15."""
    if total <= 10:
        return 1 + total * Decimal("0.3")
    if total <= 25:
        return 4 + (total - 10) * Decimal("0.2")
    return 7 + (total - 25) * Decimal("0.07")


def land(house, parts: list[tuple[str, str, str]], chance: random.Random) -> None:
    for key, event, quantity in parts:
        at = datetime(2026, 9, 1, tzinfo=UTC) + timedelta(seconds=chance.randrange(30 * 86400))
        house.event(key, event, "call", at.isoformat(), quantity)

"""Usage, withdrawals, prices, plans, ends, credits, final bills in any order: runs leave what one build makes."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from metering import catalog, closing, credits, transform

LONG_AGO = "2020-01-01T00:00:00Z"
ZONES = ("America/New_York", "Africa/Cairo", "America/Havana", "Australia/Lord_Howe", "Asia/Kathmandu")
METERS: list[tuple[str, dict[str, Any]]] = [
    ("sum", {}), ("max", {}), ("latest", {}), ("average", {}), ("weighted_sum", {"event": "level"}),
    ("unique_count", {"value_property": "user", "operation_property": "operation"}),
    ("bucketed_max", {"bucket": "day"}), ("sum", {"keep_events": True}),
]  # fmt: skip
MARTS = (
    "fct_usage_hourly",
    "fct_usage_daily",
    "fct_usage_monthly",
    "fct_stripe_usage",
    "fct_rated_usage",
    "fct_bill_lines",
)
ROUNDS = 2


class Story:
    """A catalog, and what happens to it by chance in ten weeks up to now; the seed says what."""

    def __init__(self, house: Any, seed: int) -> None:
        self.house, self.chance, self.events = house, random.Random(seed), 0
        self.now = datetime.now(UTC)
        self.since = self.now - timedelta(days=70)
        self.meters = [
            {"meter": f"m{number}", "name": "m", "event": "call", "aggregation": aggregation, "unit": "unit",
             "dimensions": ["region"], "allow_negative": True, **more}
            for number, (aggregation, more) in enumerate(METERS)
        ]  # fmt: skip
        self.plans = [self.plan(number) for number in range(3)]
        self.plans[2]["terms"] = [
            {"effective_from": LONG_AGO, "currency": "USD", "minimum_amount": 30, "discount_percent": 5}
        ]
        # So low that bills meet it on whatever day this runs.
        self.plans[1]["terms"] = [{"effective_from": LONG_AGO, "currency": "USD", "maximum_amount": 5}]
        self.teams = [self.team(number) for number in range(len(ZONES))]
        self.apply()

    def apply(self) -> None:
        content = {"meters": self.meters, "plans": self.plans, "teams": self.teams}
        catalog.apply(self.house.connection, catalog.Catalog.read(content), correction="by chance")
        known = self.house.query("select team_key, team_id from billing.teams")
        self.house.teams = {row["team_key"]: row["team_id"] for row in known}

    def moment(self) -> str:
        """On a quarter-hour of the last ten weeks."""
        moment = self.since + timedelta(minutes=15 * self.chance.randrange(69 * 96))
        return f"{moment.replace(minute=moment.minute // 15 * 15):%Y-%m-%dT%H:%M:00Z}"

    def day(self, first: int) -> str:
        return str((self.since + timedelta(days=self.chance.randrange(first, 69))).date())

    def version(self, meter: int, since: str = LONG_AGO) -> dict[str, Any]:
        pick, number = self.chance.choice, self.chance.randrange
        said: dict[str, Any] = {"effective_from": since, "charge_unit": "unit"}
        if METERS[meter][1].get("keep_events"):
            said |= {"model": "percentage", "tiers": [{"rate_percent": number(1, 9)}], "free_events": number(1, 4),
                     "fixed_per_event": "0.5", "maximum_per_event": 20}  # fmt: skip
        else:
            tiers = [{"up_to": number(2, 40), "unit_amount": "0.31", "flat_amount": 2}, {"unit_amount": "0.17"}]
            package = {"tiers": [{"unit_amount": "1.5", "block_size": number(2, 9)}], "free_units": number(6)}
            said |= pick([{"model": pick(["graduated", "volume"]), "tiers": tiers}, {"model": "package", **package}])
        for more in (
            {"commitment_amount": number(5, 40), "overage_factor": "1.5"}, {"discount_percent": number(1, 50)},
            {"minimum_amount": number(1, 20)}, {"maximum_amount": number(20, 60)}, {"group_by": ["region"]},
            {"each": "day"} if METERS[meter][0] != "weighted_sum" else {},
        ):  # fmt: skip
            said |= more if self.chance.random() < 0.2 else {}
        return said

    def plan(self, number: int) -> dict[str, Any]:
        prices = [
            {"price": f"p{number}/m{meter}{region}", "name": "p", "meter": f"m{meter}", "currency": "USD",
             "match": {"region": region} if region else {}, "versions": [self.version(meter)]}
            for meter in range(len(METERS)) for region in ("", "eu") if self.chance.random() < (0.4 if region else 0.9)
        ]  # fmt: skip
        return {"plan": f"p{number}", "name": "p", "prices": prices}

    def team(self, number: int) -> dict[str, Any]:
        starts = str((self.since + timedelta(days=self.chance.randrange(30))).date())
        subscription: dict[str, Any] = {"plans": [{"plan": f"p{number % 3}"}], "currency": "USD", "starts": starts}
        subscription["anchor_day"] = self.chance.choice([1, 15, 31])
        if number == 1:
            subscription["time_zone"] = "America/New_York"  # whose days are not the team's
        if number == len(ZONES) - 1:
            del subscription["anchor_day"]
            subscription["cycle"] = {"days": 10, "counted_from": date(2026, 1, 1)}
        return {"team": f"t{number}", "name": "t", "time_zone": ZONES[number], "subscription": subscription}

    def happens(self) -> None:
        """Usage at any time since, and some of what may happen beside it."""
        pick, house = self.chance.choice, self.house
        for _ in range(25):
            self.events += 1
            at = self.since + (self.now - self.since) * self.chance.random()
            said = {"user": pick("vwxyz"), "operation": pick(["add", "add", "remove"])}
            said |= {"region": pick(["eu", "us"])} if self.chance.random() < 0.7 else {}
            name, least = pick([("call", 0), ("call", 0), ("level", -20)])
            quantity = str(self.chance.randrange(least, 40))
            house.event(pick(self.teams)["team"], f"e{self.events}", name, at.isoformat(), quantity, **said)
        house.connection.execute(
            "insert into landing.event_withdrawals (team_id, key_digest, occurred_at, recorded_at, reason)"
            " select team_id, key_digest, occurred_at, landing.record_now(), 'by chance' from landing.usage_events"
            " where event_key = %s on conflict do nothing",
            (f"e{self.chance.randrange(1, self.events)}",),
        )
        plan, team = pick(self.plans), pick(self.teams)
        price, own = pick(plan["prices"]), pick(pick(self.plans)["prices"])
        price["versions"].append(self.version(int(price["meter"][1:]), self.moment()))
        plan.setdefault("terms", []).append({"effective_from": self.moment(), "currency": "USD", "maximum_amount": 90})
        overrides = team.setdefault("overrides", [])
        if own["price"] not in {said["price"] for said in overrides}:
            overrides.append({"price": own["price"], "versions": [self.version(int(own["meter"][1:]), self.moment())]})
        changed, subscription = self.day(31), pick(self.teams)["subscription"]
        if "ends" not in subscription and changed > subscription["plans"][-1].get("since", ""):
            subscription["plans"].append({"plan": pick(self.plans)["plan"], "since": changed})
        ended, subscription = self.day(45), pick(self.teams)["subscription"]
        if ended > subscription["plans"][-1].get("since", "") and self.chance.random() < 0.5:
            subscription["ends"] = ended
        since = self.now - timedelta(days=self.chance.randrange(90))
        amount, until = Decimal(self.chance.randrange(5, 80)), pick([None, since + timedelta(days=45)])
        grant = credits.Grant(team["team"], f"g{self.events}", "USD", amount, "by chance", since, until)
        credits.grant(house.connection, grant, "tests")
        self.apply()


def test_runs_leave_what_a_build_from_nothing_makes_whatever_happened(house: Any) -> None:
    story = Story(house, 20261122)
    for _ in range(ROUNDS):
        story.happens()
        house.aggregate()
        closing.close_periods(house.connection, timedelta(0))
    story.happens()
    house.aggregate(finance=True)
    differences = house.query(
        "select * from marts.fct_reconciliation where landed_minus_metered <> 0 or rated_minus_billed <> 0"
        " or rated_minus_billed_amount <> 0"
    )
    assert differences == []

    def rows() -> dict[str, set[str]]:
        return {
            mart: {row["said"] for row in house.query(f"select mart::text as said from marts.{mart} as mart")}
            for mart in MARTS
        }

    made = rows()
    for mart in MARTS:
        house.connection.execute(f"drop table marts.{mart} cascade")
    # And the views that fell with them.
    transform.build(" ".join(f"{mart}+" for mart in MARTS), house.settings, command="run")
    again = rows()
    for mart in MARTS:
        assert made[mart] == again[mart], mart
    kinds = house.query("select distinct kind from marts.fct_bill_lines order by kind")
    assert {row["kind"] for row in kinds} >= {
        "usage",
        "adjustment",
        "credit",
        "discount",
        "minimum",
        "maximum",
        "true_up",
    }

"""Bills as of any moment: rebuilt they are the same, two differ by what is told, and all are what they should be."""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from metering import closing
from metering.bills import Bill, bill, verification
from metering.bills.difference import difference
from metering.errors import BillingError

from ..metering.conftest import House
from . import oracle

TEAMS = 6
ZONES = ["UTC", "Asia/Kathmandu", "America/New_York", "Australia/Lord_Howe", "Pacific/Chatham", "Asia/Tokyo"]
KINDS = {"calls": "sum", "peak": "max"}
HISTORIES = int(os.environ.get("TEST_HISTORIES", "2"))
"""So many random histories; a night's worth of them is a number to give."""
MODELS = ["per_unit", "graduated", "volume", "flat"]


class History:
    """Teams, and what is recorded about them one after the other; the oracle is told, too."""

    def __init__(self, house: House, seed: int) -> None:
        self.house, self.dice = house, random.Random(seed)
        self.meters = {name: house.meter(f"{name}-{seed}", f"{name}-{seed}", kind) for name, kind in KINDS.items()}
        self.names = {name: f"{name}-{seed}" for name in self.meters}
        self.plans = {name: house.plan(f"{name}-{seed}") for name in ("small", "large")}
        self.prices: dict[tuple[str, str, str], int] = {}
        self.facts: dict[str, oracle.Facts] = {}
        self.currency: dict[str, str] = {}
        today = datetime.now(UTC).date().replace(day=1)
        self.start = (today - timedelta(days=40)).replace(day=1)
        for plan in self.plans:
            for meter in self.meters:
                for currency in ("USD", "JPY"):
                    key = (plan, meter, currency)
                    self.prices[key] = house.price(
                        "/".join((*key, str(seed))), self.plans[plan], self.meters[meter], currency
                    )
        for number in range(TEAMS):
            team = f"team-{seed}-{number}"
            self.currency[team] = self.dice.choice(["USD", "JPY"])
            house.team(team, self.plans["small"], self.start.isoformat(), ZONES[number], self.currency[team])
            facts = self.facts[team] = oracle.Facts(ZONES[number], kinds=KINDS)
            facts.plans.append(
                {"plan": "small", "effective": datetime(2000, 1, 1, tzinfo=UTC), "recorded": self.start_of_time}
            )
        for key in self.prices:
            self.new_version(key, datetime(2020, 1, 1, tzinfo=UTC))
        self.bills: list[Bill] = []
        self.taken = 0

    start_of_time = datetime(1990, 1, 1, tzinfo=UTC)

    def recorded(self, table: str) -> datetime:
        """When the row was recorded that was added last."""
        found: datetime = self.house.value(f"select max(recorded_at) from {table}")
        return found

    def new_version(self, key: tuple[str, str, str], effective: datetime) -> None:
        model = self.dice.choice(MODELS)
        amounts = [Decimal(self.dice.randrange(1, 10**6)).scaleb(-5) for _ in range(6)]
        bounds: list[Decimal | None] = [
            Decimal(self.dice.randrange(1, 50)),
            Decimal(self.dice.randrange(50, 400)),
            None,
        ]
        if model in ("per_unit", "flat"):
            bounds = [None]
        tiers = [
            (
                up_to,
                Decimal(0) if model == "flat" else amounts[n],
                amounts[3 + n] if model != "per_unit" else Decimal(0),
            )
            for n, up_to in enumerate(bounds)
        ]
        rows = [
            (str(bounds[n - 1] if n else 0), str(up_to) if up_to is not None else None, str(unit), str(flat))
            for n, (up_to, unit, flat) in enumerate(tiers)
        ]
        self.house.version(self.prices[key], effective.isoformat(), model, rows)
        plan, meter, currency = key
        recorded = self.recorded("billing.price_versions")
        for team, facts in self.facts.items():
            if self.currency[team] == currency:
                facts.versions.append(
                    {
                        "plan": plan,
                        "price": meter,
                        "effective": effective,
                        "recorded": recorded,
                        "model": model,
                        "tiers": tiers,
                    }
                )

    def moment(self) -> datetime:
        """A quarter-hour of the last months."""
        begin = datetime(self.start.year, self.start.month, self.start.day, tzinfo=UTC)
        quarters = int((datetime.now(UTC) - begin) / timedelta(minutes=15))
        return begin + timedelta(minutes=15) * self.dice.randrange(quarters)

    def step(self, kind: str, number: int) -> None:
        team = self.dice.choice(list(self.facts))
        facts = self.facts[team]
        if kind == "events":
            for n in range(self.dice.randrange(1, 6)):
                price, at = (
                    self.dice.choice(list(self.meters)),
                    self.moment() + timedelta(seconds=self.dice.randrange(900)),
                )
                quantity = Decimal(self.dice.randrange(1, 10**5)).scaleb(-self.dice.randrange(4))
                self.house.event(team, f"{number}-{n}", self.names[price], at.isoformat(), str(quantity))
                recorded = self.recorded("landing.batches")
                facts.events.append(
                    {"price": price, "at": at, "quantity": quantity, "recorded": recorded, "withdrawn": None,
                     "key": f"{number}-{n}"}
                )  # fmt: skip
        elif kind == "withdraw" and (standing := [event for event in facts.events if not event["withdrawn"]]):
            event = self.dice.choice(standing)
            with self.house.connection.transaction():
                self.house.query(
                    "insert into landing.event_withdrawals (team_id, key_digest, occurred_at, recorded_at, reason)"
                    " select team_id, key_digest, occurred_at, landing.record_now(), 'test' from landing.usage_events"
                    " where team_id = %s and event_key = %s returning 1",
                    self.house.teams[team], event["key"],
                )  # fmt: skip
            event["withdrawn"] = self.recorded("landing.event_withdrawals")
        elif kind == "version":
            self.new_version(self.dice.choice(list(self.prices)), self.moment())
        elif kind == "plan":
            plan, effective = self.dice.choice(list(self.plans)), self.moment()
            self.house.connection.execute(
                "insert into billing.subscription_plans (team_id, effective_from, plan_id) values (%s, %s, %s)",
                (self.house.teams[team], effective, self.plans[plan]),
            )
            facts.plans.append(
                {"plan": plan, "effective": effective, "recorded": self.recorded("billing.subscription_plans")}
            )
        elif kind == "close":
            closing.close_periods(self.house.connection, timedelta(hours=self.dice.choice([0, 300])))
            self.learn()
        elif kind == "run":
            self.house.aggregate()
        self.learn()
        self.take()

    def learn(self) -> None:
        """Tell the oracle of periods and of what became final."""
        for team, facts in self.facts.items():
            facts.periods = [
                (row["period_label"], row["period_start"], row["period_end"])
                for row in self.house.query(
                    "select * from billing.billing_periods where team_id = %s order by period_start",
                    self.house.teams[team],
                )
            ]
            facts.finals = [
                {"label": row["period_label"], "at": row["finalized_at"], "as_of": row["as_of"]}
                for row in self.house.query(
                    "select period_label, bills.finalized_at, as_of from billing.finalized_bills as bills"
                    " join billing.billing_periods using (team_id, subscription_key, period_start)"
                    " where team_id = %s order by bills.finalized_at, period_start", self.house.teams[team],
                )
            ]  # fmt: skip

    def take(self) -> None:
        """Keep a bill as it stands now, of any team and period."""
        team = self.dice.choice(list(self.facts))
        if self.facts[team].periods and self.house.value("select count(*) from landing.batches"):
            label, *_ = self.dice.choice(self.facts[team].periods)
            self.bills.append(bill(self.house.connection, team, label))


def same(one: Bill, other: Bill) -> bool:
    """Whether two bills say the same but for the moment."""
    return [(line.line, line.quantity, line.amount, line.tiers) for line in one.lines] == [
        (line.line, line.quantity, line.amount, line.tiers) for line in other.lines
    ]


@settings(max_examples=HISTORIES, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 2**30),
    kinds=st.lists(st.sampled_from(["events", "events", "withdraw", "version", "plan"]), min_size=24, max_size=30),
)
def test_bills_of_any_history_are_rebuilt_explained_and_right(house: House, seed: int, kinds: list[str]) -> None:
    history = History(house, seed)
    for place, kind in ((5, "run"), (12, "run"), (13, "close"), (20, "run"), (21, "close")):
        kinds.insert(place, kind)
    for number, kind in enumerate(["events", *kinds]):
        history.step(kind, number)

    by_bill: dict[tuple[str, str], list[Bill]] = {}
    for kept in history.bills:
        again = bill(house.connection, kept.team, kept.period, as_of=kept.as_of)
        assert again == kept
        cents = 2 if kept.currency == "USD" else 0
        assert kept.total == oracle.total(history.facts[kept.team], kept.period, kept.as_of, cents), kept
        by_bill.setdefault((kept.team, kept.period), []).append(kept)
    for (team, period), taken in by_bill.items():
        if len(taken) > 1:
            told = difference(house.connection, team, period, taken[0].as_of, taken[-1].as_of)
            assert (told.before, told.after) == (taken[0], taken[-1])
            assert sum((cause.amount for cause in told.causes), Decimal(0)) == taken[-1].total - taken[0].total
            for cause in told.causes:
                assert cause.amount == sum((line.after - line.before for line in cause.lines), Decimal(0))
                assert not cause.lines or cause.kind != "usage" or cause.events_came or cause.events_withdrawn
    finals = house.value("select count(*) from billing.finalized_bills")
    told_of: dict[str, Any] = verification.verify(house.connection, history.start_of_time, 0, "any")
    assert finals and told_of == {"rebuilt": finals, "equal": finals}


def test_a_moment_a_team_or_a_period_that_is_none_is_said_in_a_sentence(house: House) -> None:
    connection, now = house.connection, datetime.now(UTC)
    with pytest.raises(BillingError, match=r"No usage had been recorded as of .* nothing is yet"):
        bill(connection, "acme", "2026-09", as_of=now)
    calls = house.meter("calls", "call")
    plan = house.plan("standard")
    house.version(house.price("standard/calls", plan, calls), "2020-01-01Z", "per_unit", [("0", None, "1", "0")])
    house.team("acme", plan, "2026-09-01")
    house.event("acme", "one", "call", "2026-09-10T12:00Z", "3")
    house.aggregate()
    assert bill(connection, "acme", "2026-09").total == 3
    for as_of, said in (
        (datetime.now(UTC) + timedelta(minutes=1), "is in the future"),
        (now, "the first usage was recorded at"),
    ):
        with pytest.raises(BillingError, match=said):
            bill(connection, "acme", "2026-09", as_of=as_of)
    with pytest.raises(BillingError, match="There is no team 'nobody'"):
        bill(connection, "nobody", "2026-09")
    with pytest.raises(BillingError, match="acme had no billing period '1999-09'"):
        bill(connection, "acme", "1999-09")
    with pytest.raises(BillingError, match="is not after"):
        difference(connection, "acme", "2026-09", datetime.now(UTC), now + timedelta(seconds=1))


def test_a_kept_bill_that_does_not_come_out_again_is_named(house: House) -> None:
    calls = house.meter("calls", "call")
    plan = house.plan("standard")
    house.version(house.price("standard/calls", plan, calls), "2020-01-01Z", "per_unit", [("0", None, "1", "0")])
    house.team("acme", plan, "2026-09-01")
    house.event("acme", "one", "call", "2026-09-10T12:00Z", "3")
    house.aggregate()
    since = datetime.now(UTC)
    assert closing.close_periods(house.connection)["finalized"]
    assert verification.verify(house.connection, since, 0, "any")["equal"]
    for change, back, said in (
        ("landing.usage_events set quantity = 4", "landing.usage_events set quantity = 3", None),
        ("intermediate.int_usage_buckets set quantity = 4", "intermediate.int_usage_buckets set quantity = 3",
         r"acme 2026-09 \(3 USD was kept, 4 comes out as of"),
        ("billing.finalized_bill_lines set amount = 5 where amount = 3",
         "billing.finalized_bill_lines set amount = 3 where amount = 5",
         r"acme 2026-09 \(3 USD was kept, 5 is the sum of the lines that stand for it\)"),
        ("billing.finalized_bills set total = 6 where total = 3",
         "billing.finalized_bills set total = 3 where total = 6",
         r"acme 2026-09 \(6 USD was kept, 3 is the sum"),
        ("billing.price_tiers set unit_amount = 2", "billing.price_tiers set unit_amount = 1", r"6 comes out as of"),
    ):  # fmt: skip
        house.connection.execute(f"update {change}")
        if said:
            with pytest.raises(verification.DigestError, match=said):
                verification.verify(house.connection, since, 0, "any", period="2026-09")
            assert verification.verify(house.connection, since, 0, "any", period="2026-10")["equal"]
        house.connection.execute(f"update {back}")
    assert verification.verify(house.connection, since, 0, "any")["equal"]

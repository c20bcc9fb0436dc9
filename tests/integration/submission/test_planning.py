"""What Stripe should have becomes targets and signed differences."""

from __future__ import annotations

import threading
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from metering.database import connect
from metering.errors import BillingError
from metering.submission import planner

from .conftest import NOON, TODAY, Billing, Emulator


def _held(billing: Billing) -> list[dict[str, Any]]:
    return billing.fetch(
        "SELECT held_code, held_reason, team_id FROM billing.stripe_windows WHERE held_code IS NOT NULL"
    )


def test_a_correction_up_or_down_sends_the_difference(billing: Billing) -> None:
    billing.teams(1)
    billing.use(1, "100.25")
    billing.all()
    billing.use(1, "130.5")
    billing.all()
    billing.use(1, "7.000000000001")
    billing.all()
    quantities = billing.fetch("SELECT quantity FROM billing.stripe_submissions ORDER BY sequence")
    assert [row["quantity"] for row in quantities] == [
        Decimal("100.25"),
        Decimal("30.25"),
        Decimal("-123.499999999999"),
    ]
    assert billing.at_stripe() == billing.targets()
    assert billing.fetch("SELECT max(revision) AS n FROM billing.stripe_targets") == [{"n": 3}]


def test_a_window_that_left_the_mart_gets_target_zero(billing: Billing) -> None:
    billing.teams(2)
    billing.use(1, "10")
    billing.use(2, "20")
    billing.all()
    billing.connection.execute("UPDATE marts.fct_stripe_usage SET quantity = 0 WHERE team_id = 1")
    billing.all()
    assert billing.at_stripe() == billing.targets()
    billing.use(1, "5")
    billing.all()
    billing.connection.execute("DELETE FROM marts.fct_stripe_usage WHERE team_id = 1")
    billing.all()
    total = billing.fetch(
        "SELECT sum(quantity) AS q FROM billing.stripe_submissions WHERE team_id = 1 AND state = 'confirmed'"
    )
    assert total == [{"q": 0}]
    assert billing.emulator.events == 5


def test_a_period_cut_anew_moves_usage_to_the_new_windows(billing: Billing) -> None:
    billing.teams(1)
    billing.use(1, "24", day=2)
    billing.all()
    start = TODAY - timedelta(days=2)
    billing.connection.execute("DELETE FROM marts.fct_stripe_usage")
    for begin, end, quantity in ((0, 6, 5), (6, 24, 19)):
        billing.connection.execute(
            "INSERT INTO marts.fct_stripe_usage VALUES (1, 1, '{}', %s, %s, 'main', %s, %s)",
            (start + timedelta(hours=begin), start + timedelta(hours=end), TODAY - timedelta(days=20), quantity),
        )
    billing.all()
    assert billing.at_stripe() == billing.targets()
    assert billing.emulator.events == 4
    assert billing.reconcile()["equal"] == 1


def test_usage_before_its_moment_waits_and_usage_too_old_is_held_and_shown(
    billing: Billing, emulator: Emulator
) -> None:
    billing.teams(1)
    billing.use(1, "1", day=40)
    billing.use(1, "2", day=10)
    billing.use(1, "3", day=0)
    billing.prepare()
    emulator.set_clock(NOON - timedelta(days=5))
    counts = billing.plan()
    assert (counts["planned"], counts["not_yet"], counts["held"]) == (1, 1, 1)
    emulator.set_clock(NOON)
    counts = billing.plan()
    assert (counts["planned"], counts["held"]) == (1, 1)
    assert [row["held_code"] for row in _held(billing)] == ["too_old"]
    # The emulator's clock, unlike Stripe's, can go back: then it is not too old any more.
    emulator.set_clock(NOON - timedelta(days=20))
    assert billing.plan()["planned"] == 1
    assert _held(billing) == []


def test_what_was_planned_and_became_too_old_unsent_is_withdrawn_and_held(billing: Billing, emulator: Emulator) -> None:
    billing.teams(1)
    billing.use(1, "9", day=3)
    billing.prepare()
    billing.plan()
    emulator.set_clock(NOON + timedelta(days=40))
    assert billing.plan()["held"] == 1
    assert billing.states() == {"cancelled": 1}
    assert billing.submit()["sent"] == 0


def test_quantities_beyond_15_digits_and_below_zero_are_held(billing: Billing) -> None:
    billing.teams(4)
    billing.use(1, "1234.567890123456")
    billing.use(2, "100000000000000.5")
    billing.use(3, "-4")
    billing.use(4, "123.456789012345")
    billing.prepare()
    assert billing.plan()["planned"] == 1
    held = {row["team_id"]: row["held_code"] for row in _held(billing)}
    assert held == {1: "too_many_digits", 2: "too_many_digits", 3: "negative"}
    billing.use(3, "4")
    assert billing.plan()["planned"] == 1


def test_a_team_on_hold_is_left_out_and_resumes(billing: Billing) -> None:
    billing.teams(2)
    billing.use_everywhere(2)
    billing.prepare()
    billing.plan()
    billing.connection.execute("INSERT INTO billing.holds (team_id, hold_key, gate, reason) VALUES (1, 'g', 'g', 'r')")
    billing.use_everywhere(2, plus="1")
    assert billing.submit()["accepted"] == 4
    assert billing.plan()["planned"] == 4
    billing.connection.execute("UPDATE billing.holds SET released_at = now()")
    billing.all()
    billing.all()
    assert billing.at_stripe() == billing.targets()


def test_no_usage_needs_nothing(billing: Billing) -> None:
    billing.teams(2)
    billing.use(1, "0")
    assert billing.prepare() == {"customers": 0, "meters": 2}
    assert billing.plan()["windows"] == 0
    assert billing.submit()["sent"] == 0
    assert billing.reconcile()["periods"] == 0


def test_planning_twice_or_twice_at_once_plans_once(billing: Billing, database_url: str) -> None:
    billing.teams(5)
    billing.use_everywhere(10)
    billing.prepare()

    def plan() -> None:
        with connect(database_url) as own:
            planner.plan(own, NOON)

    threads = [threading.Thread(target=plan) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert billing.states() == {"pending": 100}
    assert billing.plan()["planned"] == 0


def test_before_usage_was_ever_rated_a_sentence_says_so(billing: Billing) -> None:
    billing.connection.execute("DROP TABLE marts.fct_stripe_usage")
    for task in (billing.prepare, billing.plan):
        with pytest.raises(BillingError, match="never rated"):
            task()


def test_a_preview_keeps_nothing(billing: Billing) -> None:
    billing.teams(2)
    billing.use_everywhere(3)
    counts, by_team = planner.preview(billing.connection, NOON)
    assert counts["planned"] == 12 and len(by_team) == 4
    assert by_team[0]["submissions"] == 3
    assert billing.states() == {}
    assert billing.fetch("SELECT FROM billing.stripe_customers") == []


def test_a_preview_says_what_it_is_worth_by_currency(billing: Billing) -> None:
    billing.teams(2)
    billing.use(1, "30", day=1)
    billing.use(1, "70", day=2)
    billing.use(2, "4", meter=2)
    billing.connection.execute(
        "CREATE TABLE marts.fct_bill_lines (team_id integer, meter_id integer, subscription_key text,"
        " about_period_start timestamptz, kind text, currency text, exact_amount numeric)"
    )
    billing.connection.execute(
        "INSERT INTO marts.fct_bill_lines SELECT team, meter, 'main', %s, kind, currency, amount FROM (VALUES"
        " (1, 1, 'usage', 'USD', 12.345), (1, 1, 'minimum', 'USD', 99), (2, 2, 'usage', 'JPY', 1000.5)"
        ") AS line (team, meter, kind, currency, amount)",
        (TODAY - timedelta(days=20),),
    )
    _, by_team = planner.preview(billing.connection, NOON)
    assert [row["values"] for row in by_team] == [{"USD": Decimal("12.35")}, {"JPY": Decimal(1001)}]
    billing.all()
    billing.use(1, "40", day=1)
    billing.connection.execute(
        "UPDATE marts.fct_bill_lines SET exact_amount = 11 WHERE meter_id = 1 AND kind = 'usage'"
    )
    _, by_team = planner.preview(billing.connection, NOON)
    assert [(row["quantity"], row["values"]) for row in by_team] == [(10, {"USD": Decimal("1.00")})]

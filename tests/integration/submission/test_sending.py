"""Each submission reaches Stripe once, through any fault, crash and company."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from metering import submission
from metering.database import connect
from metering.errors import BillingError
from metering.settings import Settings
from metering.submission import client, planner, sender

from .conftest import NOON, ROOT, Billing, Emulator, slow_to_retry


def _planned(billing: Billing, teams: int = 4, days: int = 10) -> int:
    billing.teams(teams)
    billing.use_everywhere(days)
    billing.prepare()
    return int(billing.plan()["planned"])


def _check(billing: Billing, emulator: Emulator, events: int) -> None:
    """Both sides are equal, nothing was counted twice, and running everything again sends nothing."""
    emulator.clear_faults()
    billing.resolve()
    assert billing.at_stripe() == billing.targets()
    assert emulator.events == events
    assert billing.all()["sent"] == 0
    assert billing.states() == {"confirmed": events}
    assert billing.fetch("SELECT FROM billing.stripe_attempts WHERE finished_at IS NULL AND outcome IS NOT NULL") == []


def test_everything_arrives_and_again_sends_nothing(billing: Billing, emulator: Emulator) -> None:
    events = _planned(billing)
    assert billing.submit()["accepted"] == events == 80
    _check(billing, emulator, events)
    assert billing.reconcile() == {"periods": 8, "unread": 0, "equal": 8}


@pytest.mark.parametrize(
    "kind",
    [
        "error_500_before",
        "error_500_after",
        "reset_before",
        "reset_after",
        "cut_body",
        "rate_limited_429",
        "rate_limited_429_retry",
        "conflict_409",
    ],
)
def test_a_third_of_the_posts_fail_and_everything_arrives_once(billing: Billing, emulator: Emulator, kind: str) -> None:
    events = _planned(billing, days=3)
    emulator.fault(kind, times=None, chance=0.33, seed=7)
    counts = billing.submit()
    assert counts["accepted"] == events and counts["retried"] > 0
    if kind == "error_500_after":
        assert counts["duplicates"] > 0
    _check(billing, emulator, events)


def test_a_hanging_reply_is_given_up_and_asked_again(billing: Billing, emulator: Emulator, settings: Settings) -> None:
    events = _planned(billing, teams=2, days=3)
    emulator.fault("hang", times=3, seconds=5)
    brisk = Settings(settings.home, {**settings.values, "BILLING_STRIPE_TIMEOUT": "0.3"})
    assert submission.submit(billing.connection, brisk)["retried"] == 3
    _check(billing, emulator, events)


def test_all_faults_at_once(billing: Billing, emulator: Emulator) -> None:
    events = _planned(billing, days=6)
    for seed, kind in enumerate(("error_500_before", "error_500_after", "reset_before", "reset_after", "cut_body")):
        emulator.fault(kind, times=None, chance=0.1, seed=seed)
    emulator.fault("rate_limited_429", times=2, skip=9, retry_after=1)
    billing.submit()
    _check(billing, emulator, events)


def test_only_a_server_error_changes_the_idempotency_key(billing: Billing, emulator: Emulator) -> None:
    _planned(billing, teams=1, days=1)
    match = {"event_name": "billing_api_calls", "path": "/v?/billing/meter_events"}
    for kind in ("reset_after", "rate_limited_429", "error_500_before"):
        emulator.fault(kind, match=match)
    billing.submit()
    keys = billing.fetch(
        "SELECT right(idempotency_key, 3) AS k, outcome FROM billing.stripe_attempts"
        " JOIN billing.stripe_submissions USING (team_id, identifier) WHERE meter_id = 1 ORDER BY attempt"
    )
    assert keys[0] == {"k": ":k0", "outcome": "no_reply"}
    assert {row["k"] for row in keys} <= {":k0", ":k1"}
    assert billing.states() == {"accepted": 2}


def test_a_rate_limit_makes_no_old_attempt_of_what_was_not_executed(billing: Billing, emulator: Emulator) -> None:
    _planned(billing, teams=1, days=1)
    emulator.fault("rate_limited_429", times=None, retry_after=300)
    with pytest.raises(BillingError, match="2 submissions"):
        _send(billing, patience=1000, stop_after=0.5)
    assert billing.fetch("SELECT DISTINCT state, first_attempt_at FROM billing.stripe_submissions") == [
        {"state": "pending", "first_attempt_at": None}
    ]
    # Two days later it is still as good as new.
    emulator.clear_faults()
    emulator.set_clock(NOON + timedelta(days=2))
    billing.connection.execute("UPDATE billing.stripe_submissions SET not_before = NULL")
    _send(billing)
    _check(billing, emulator, 2)


def _send(billing: Billing, *, patience: float = 90, stop_after: float | None = None) -> dict[str, int]:
    server = client.connect(billing.settings)
    if stop_after is None:
        return sender.send(billing.connection, server, patience=patience)
    impatient = sender._Sender(billing.connection, server, patience)
    impatient._due = 2
    impatient._progress = time.monotonic() - patience + stop_after
    return impatient.run()


def test_a_refused_window_holds_only_itself_until_released(billing: Billing, emulator: Emulator) -> None:
    emulator.post("settings", {"v1_meter_errors": "synchronous"})
    _planned(billing, teams=3, days=2)
    stripe = client.connect(billing.settings).api
    customer = billing.fetch("SELECT stripe_customer_id AS id FROM billing.stripe_customers WHERE team_id = 2")[0]["id"]
    stripe.v1.customers.delete(customer)
    counts = billing.submit()
    assert (counts["accepted"], counts["refused"]) == (8, 4)
    held = billing.fetch(
        "SELECT DISTINCT team_id, held_code, held_reason FROM billing.stripe_windows WHERE held_code = 'refused'"
    )
    assert len(held) == 1 and held[0]["team_id"] == 2 and customer in held[0]["held_reason"]
    billing.use_everywhere(2, plus="1")
    billing.all()
    assert billing.states() == {"confirmed": 16, "rejected": 4}
    assert billing.reconcile() == {"periods": 6, "unread": 0, "equal": 4, "refused": 2}
    assert planner.release(billing.connection, "t2") == 4
    # Released, but the customer is still gone: planning sees that by itself.
    assert billing.plan()["held"] == 4


def test_a_refusal_after_an_unknown_outcome_is_left_to_the_summary(billing: Billing, emulator: Emulator) -> None:
    emulator.post("settings", {"v1_meter_errors": "synchronous"})
    billing.teams(1)
    billing.use(1, "5")
    billing.prepare()
    billing.plan()
    # The first attempt may have arrived; before the second the meter is deactivated.
    emulator.fault("reset_before")
    server = client.connect(slow_to_retry(billing.settings))
    assert sender.send(billing.connection, server, patience=0)["later"] == 1
    meter = billing.fetch("SELECT stripe_meter_id AS id FROM billing.stripe_meters WHERE meter_id = 1")[0]["id"]
    server.api.v1.billing.meters.deactivate(meter)
    billing.connection.execute("UPDATE billing.stripe_submissions SET not_before = NULL")
    assert sender.send(billing.connection, server)["later"] == 1
    assert billing.states() == {"uncertain": 1}
    assert billing.fetch("SELECT held_code FROM billing.stripe_windows") == [{"held_code": None}]
    server.api.v1.billing.meters.reactivate(meter)
    # Nothing is sent after 20 hours. Its absence must hold for a day; then it goes out anew.
    emulator.set_clock(NOON + timedelta(hours=21))
    assert billing.submit()["undecided"] == 1
    assert billing.resolve()["undecided"]["undecided"] == 1
    emulator.set_clock(NOON + timedelta(hours=46))
    assert billing.resolve()["undecided"]["missing"] == 1
    assert billing.all()["accepted"] == 1
    assert billing.at_stripe() == billing.targets()
    assert billing.states() == {"missing": 1, "confirmed": 1}


def test_what_arrived_without_a_reply_is_confirmed_by_the_summary_after_20_hours(
    billing: Billing, emulator: Emulator
) -> None:
    billing.teams(1)
    billing.use(1, "5", day=1)
    billing.use(1, "6")
    billing.prepare()
    billing.plan()
    emulator.fault("reset_after", times=2)
    patient = client.connect(slow_to_retry(billing.settings))
    assert sender.send(billing.connection, patient, patience=0)["later"] == 2
    emulator.set_clock(NOON + timedelta(hours=30))
    assert billing.submit()["sent"] == 0
    assert billing.resolve()["undecided"]["confirmed"] == 2
    assert billing.at_stripe() == billing.targets()
    assert billing.all()["sent"] == 0


def test_two_submitters_at_once_send_everything_once(billing: Billing, emulator: Emulator, database_url: str) -> None:
    events = _planned(billing, teams=6, days=12)
    emulator.post("settings", {"latency_seconds": 0.002})
    counts: list[dict[str, int]] = []

    def submit() -> None:
        with connect(database_url) as own:
            counts.append(submission.submit(own, billing.settings))

    threads = [threading.Thread(target=submit) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(count["accepted"] for count in counts) == events
    assert sum(count["duplicates"] + count["retried"] for count in counts) == 0
    _check(billing, emulator, events)


_SUBMIT = """
import sys
from pathlib import Path
from metering import submission
from metering.database import connect
from metering.settings import Settings
with connect(sys.argv[1]) as connection:
    settings = {"BILLING_STRIPE_URL": sys.argv[2], "BILLING_STRIPE_RATE": "400"}
    submission.submit(connection, Settings(Path("."), settings))
"""


def test_submitters_killed_at_any_moment_leave_nothing_twice_and_nothing_out(
    billing: Billing, emulator: Emulator, database_url: str
) -> None:
    events = _planned(billing, teams=10, days=20)
    emulator.fault("reset_after", times=None, chance=0.02, seed=3)
    for arrived in (1, 60, 200):
        process = subprocess.Popen(
            [sys.executable, "-c", _SUBMIT, database_url, emulator.url],
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT / "include")},
        )
        while emulator.events < arrived and process.poll() is None:
            time.sleep(0.02)
        process.kill()
        assert process.wait(10) == -signal.SIGKILL
    assert emulator.events < events
    _wait_until_gone(billing.connection)
    billing.submit()
    _check(billing, emulator, events)


def _wait_until_gone(connection: psycopg.Connection[dict[str, object]]) -> None:
    """A server notices a killed client within a moment."""
    query = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    for _ in range(100):
        if not connection.execute(query).fetchall():
            return
        time.sleep(0.05)


@pytest.mark.parametrize("arrived", [False, True])
def test_a_crash_between_any_two_steps_is_made_good(
    billing: Billing, emulator: Emulator, database_url: str, arrived: bool
) -> None:
    """Claimed and not posted; posted and not written: the session that did it is gone."""
    events = _planned(billing, teams=2, days=3)
    with connect(database_url) as own:
        crashed = sender._Sender(own, client.connect(billing.settings), 90)
        lanes = crashed._claim(500)
        if arrived:
            for lane in lanes:
                crashed._send_lane(lane)
    assert emulator.events == (events if arrived else 0)
    assert billing.states() == {"in_flight": events}
    _wait_until_gone(billing.connection)
    assert billing.submit()["accepted"] == events
    _check(billing, emulator, events)


def test_what_another_session_has_in_flight_is_left_to_it(billing: Billing, database_url: str) -> None:
    events = _planned(billing, teams=2, days=2)
    with connect(database_url) as own:
        first = sender._Sender(own, client.connect(billing.settings), 90)
        assert sum(len(lane.submissions) for lane in first._claim(500)) == events
        second = sender._Sender(billing.connection, client.connect(billing.settings), 0)
        assert second._claim(500) == []


def test_an_unreachable_server_and_a_wrong_key_are_sentences_and_lose_nothing(
    billing: Billing, tmp_path: Path, emulator: Emulator
) -> None:
    events = _planned(billing, teams=1, days=2)
    nobody = Settings(tmp_path, {"BILLING_STRIPE_URL": "http://127.0.0.1:9"})
    with pytest.raises(BillingError, match="can't be reached"):
        submission.submit(billing.connection, nobody)
    wrong = Settings(tmp_path, {"BILLING_STRIPE_URL": emulator.url, "STRIPE_API_KEY": "rk_test_wrong"})
    with pytest.raises(BillingError, match="does not accept the API key"):
        submission.submit(billing.connection, wrong)
    with pytest.raises(BillingError, match="live key"):
        submission.submit(billing.connection, Settings(tmp_path, {"STRIPE_API_KEY": "sk_live_1"}))
    assert billing.states() == {"pending": events}


def test_a_server_that_goes_away_midway_stops_the_run_with_a_sentence(billing: Billing, emulator: Emulator) -> None:
    events = _planned(billing, teams=4, days=6)
    emulator.fault("reset_before", times=None, skip=10)
    with pytest.raises(BillingError, match="does not answer"):
        billing.submit()
    emulator.clear_faults()
    billing.submit()
    _check(billing, emulator, events)

"""How fast usage is planned for Stripe, and how fast one worker sends it, against the emulator."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil

from metering import statements, submission
from metering.bench.emulator import Emulator
from metering.bench.house import House
from metering.bench.rating import Result
from metering.database import one
from metering.errors import BillingError
from metering.settings import Settings

SQL = statements.beside(__file__, "submitting")

DAYS = 10
METERS = 10
RATE = 1_000
"""Requests a second that Stripe takes of a live account."""
WANTED = 950
PLANNING = 10.0
"""Seconds."""

_WORK = """
import json, sys, time
from pathlib import Path
from metering import submission
from metering.database import connect
from metering.settings import Settings
with connect(sys.argv[1], application="billing-stripe") as connection:
    begun, used = time.perf_counter(), time.process_time()
    counts = submission.submit(connection, Settings(Path("."), json.loads(sys.argv[2])))
    print(json.dumps({**counts, "seconds": time.perf_counter() - begun, "processor": time.process_time() - used}))
"""


def measure(windows: int, submissions: int, told: Callable[[str], None]) -> list[Result]:
    """Plan so many windows, plan late usage in a tenth of them, and send so many submissions by one process."""
    with House(service=False) as house, Emulator(house.home, house.environment) as emulator:
        connection = house.connection
        teams = -(-windows // (METERS * DAYS))
        noon = datetime.now(UTC).replace(hour=13, minute=0, second=0, microsecond=0)
        today = noon.replace(hour=0)
        values = {"BILLING_STRIPE_URL": emulator.url, "BILLING_STRIPE_RATE": str(RATE)}
        settings = Settings(house.home, values)
        emulator.set_clock(noon)
        told(f"Making {teams:,} teams and {METERS} meters.")
        period = {"start": today - timedelta(days=20), "until": today + timedelta(days=10)}
        connection.execute(SQL["make_mart"])
        connection.execute(SQL["make_teams"], {"teams": teams})
        connection.execute(SQL["make_meters"], {"meters": METERS})
        connection.execute(SQL["make_periods"], period)
        days = {"first": today - timedelta(days=DAYS - 1), "last": today}
        connection.execute(SQL["make_usage"], {**period, **days})
        connection.execute(SQL["analyze"])
        submission.prepare(connection, settings)
        told(f"Planning {windows:,} windows.")
        planned, first = _timed(lambda: submission.plan(connection, settings))
        _hold("submissions planned", planned["planned"], teams * METERS * DAYS)
        connection.execute(SQL["keep_only"], {"submissions": submissions})
        connection.execute(SQL["vacuum"])
        told(f"Sending {submissions:,} of them.")
        before = psutil.Process(emulator.pid).cpu_times()
        sent = _work(house, values)
        after = psutil.Process(emulator.pid).cpu_times()
        _hold("submissions accepted", one(connection, SQL["accepted"])["submissions"], submissions)
        _hold("events at Stripe", emulator.get("state")["meter_events"], submissions)
        connection.execute(SQL["change_usage"], {"every": 10})
        told("Planning again, a tenth of the windows changed.")
        again, second = _timed(lambda: submission.plan(connection, settings))
    per_second = submissions / sent["seconds"]
    spent = sum(after[:2]) - sum(before[:2])
    steps = {"worker": sent["processor"] / submissions * 1e6, "emulator": spent / submissions * 1e6}
    costs = ", ".join(f"{who} {micros:.0f} µs" for who, micros in steps.items())
    name = f"{windows:,} windows planned"
    wanted = f"{PLANNING:g} s"
    return [
        Result(name, "all new", first, wanted, first < PLANNING, per_second=windows / first),
        Result(name, f"{again['targets']:,} changed", second, wanted, second < PLANNING, per_second=windows / second),
        Result(
            f"{submissions:,} sent by one worker",
            f"limit {RATE:,}/s; processor: {costs}",
            sent["seconds"],
            f"{WANTED}/s",
            per_second >= WANTED,
            per_second=per_second,
            steps=steps,
        ),
    ]


def _timed(work: Callable[[], dict[str, Any]]) -> tuple[dict[str, Any], float]:
    begun = time.perf_counter()
    return work(), time.perf_counter() - begun


def _work(house: House, values: dict[str, str]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _WORK, house.url, json.dumps(values)],
        env=house.environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise BillingError(f"Submitting failed: {done.stderr.strip()[-300:]}", "")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _hold(what: str, found: int, expected: int) -> None:
    if found != expected:
        raise BillingError(f"There are {found:,} {what}, and there should be {expected:,}.", "This is a defect.")

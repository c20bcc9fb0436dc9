"""The demo moves the emulator's clock while Airflow's own runs go on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from metering import submission
from metering.database import connect
from metering.demo.stripe_time import StripeTime
from metering.settings import Settings

from .conftest import NOON, Billing, Emulator


def test_the_clock_is_moved_when_what_is_on_its_way_has_arrived(
    billing: Billing, emulator: Emulator, settings: Settings, database_url: str
) -> None:
    billing.teams(4)
    billing.use_everywhere(10)
    billing.prepare()
    planned = billing.plan()["planned"]
    slow = Settings(settings.home, {**settings.values, "BILLING_STRIPE_RATE": "60"})

    def send() -> dict[str, int]:
        with connect(database_url) as connection:
            return submission.submit(connection, slow)

    with ThreadPoolExecutor(1) as pool, StripeTime(settings, billing.connection).travelling():
        sending = pool.submit(send)
        while not emulator.events:
            assert not sending.done()
        assert emulator.events < planned
        StripeTime(settings, billing.connection).move(NOON - timedelta(days=30))
        assert emulator.events == planned
        assert sending.result()["refused"] == 0


def test_what_became_too_old_on_the_way_is_not_sent_but_planned_anew(billing: Billing, emulator: Emulator) -> None:
    billing.teams(1)
    billing.use_everywhere(10)
    billing.prepare()
    planned = billing.plan()["planned"]
    emulator.set_clock(NOON + timedelta(days=29))  # the first days are 35 days ago
    counts = billing.submit()
    assert counts["refused"] == 0
    assert 0 < counts["accepted"] < planned
    assert billing.plan()["held"] == planned - counts["accepted"]
    emulator.set_clock(NOON)
    assert billing.all()["accepted"] == planned - counts["accepted"]
    assert billing.at_stripe() == billing.targets()

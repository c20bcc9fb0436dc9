"""The tests of sending that matter most, with meter events by v2."""

from __future__ import annotations

from pathlib import Path

import pytest

from metering import submission
from metering.errors import BillingError
from metering.settings import Settings
from metering.submission import client, sender

from .conftest import Billing, Emulator, billing_values, slow_to_retry
from .test_sending import (  # noqa: F401 - they are run here too, with the settings below
    test_a_crash_between_any_two_steps_is_made_good,
    test_a_hanging_reply_is_given_up_and_asked_again,
    test_a_third_of_the_posts_fail_and_everything_arrives_once,
    test_everything_arrives_and_again_sends_nothing,
    test_only_a_server_error_changes_the_idempotency_key,
    test_what_arrived_without_a_reply_is_confirmed_by_the_summary_after_20_hours,
)


@pytest.fixture
def settings(emulator: Emulator, tmp_path: Path) -> Settings:
    return Settings(tmp_path, {**billing_values(emulator), "BILLING_STRIPE_METER_EVENTS": "v2"})


def test_what_v2_refuses_at_once_is_held_with_its_reason(billing: Billing, emulator: Emulator) -> None:
    billing.teams(2)
    billing.use_everywhere(2)
    billing.prepare()
    billing.plan()
    meter = billing.fetch("SELECT stripe_meter_id AS id FROM billing.stripe_meters WHERE meter_id = 1")[0]["id"]
    client.connect(billing.settings).api.v1.billing.meters.deactivate(meter)
    counts = billing.submit()
    assert (counts["accepted"], counts["refused"]) == (4, 4)
    held = billing.fetch(
        "SELECT DISTINCT error_code, api_version FROM billing.stripe_submissions WHERE state = 'rejected'"
    )
    assert held == [{"error_code": "archived_meter", "api_version": "v2"}]
    assert billing.all()["sent"] == 0
    client.connect(billing.settings).api.v1.billing.meters.reactivate(meter)
    assert billing.all()["accepted"] == 4
    assert billing.at_stripe() == billing.targets()


def test_what_may_have_arrived_by_v1_is_not_sent_again_by_v2(billing: Billing, emulator: Emulator) -> None:
    billing.teams(1)
    billing.use(1, "5")
    billing.prepare()
    billing.plan()
    emulator.fault("reset_after")
    by_v1 = Settings(billing.settings.home, {**billing.settings.values, "BILLING_STRIPE_METER_EVENTS": "v1"})
    assert sender.send(billing.connection, client.connect(slow_to_retry(by_v1)), patience=0)["later"] == 1
    billing.connection.execute("UPDATE billing.stripe_submissions SET not_before = NULL")
    emulator.fault("error_500_before", match={"path": "/v2/billing/meter_events"}, times=None)
    assert billing.submit()["accepted"] == 1
    assert billing.at_stripe() == billing.targets()


def test_another_version_is_refused_with_a_sentence(billing: Billing) -> None:
    odd = Settings(billing.settings.home, {**billing.settings.values, "BILLING_STRIPE_METER_EVENTS": "v3"})
    with pytest.raises(BillingError, match="neither v1 nor v2"):
        submission.submit(billing.connection, odd)

"""What Stripe accepts and refuses afterwards leaves the ledger and holds its window until the cause is mended."""

from __future__ import annotations

from datetime import timedelta

from metering import submission
from metering.submission import client, error_reports

from .conftest import NOON, Billing, Emulator


def _held(billing: Billing) -> dict[str, int]:
    found = billing.fetch("SELECT held_code, count(*) AS n FROM billing.stripe_windows GROUP BY held_code")
    return {row["held_code"]: row["n"] for row in found if row["held_code"]}


def test_all_that_an_archived_meter_took_is_sent_again_not_only_the_samples(
    billing: Billing, emulator: Emulator
) -> None:
    billing.teams(2)
    billing.use_everywhere(8)
    billing.prepare()
    billing.plan()
    server = client.connect(billing.settings)
    meter = billing.fetch("SELECT stripe_meter_id AS id FROM billing.stripe_meters WHERE meter_id = 1")[0]["id"]
    server.api.v1.billing.meters.deactivate(meter)
    assert billing.submit()["accepted"] == 32
    emulator.set_clock(NOON + timedelta(minutes=1))
    reported = billing.resolve()["reported"]
    assert reported == {"waiting": 16, "refused": 0, "counted": 0}
    assert _held(billing) == {"reported": 5}  # the samples
    assert billing.plan()["planned"] == 0
    emulator.set_clock(NOON + timedelta(minutes=70))
    assert billing.resolve()["reported"]["refused"] == 16
    assert billing.states() == {"confirmed": 16, "rejected": 16}
    assert _held(billing) == {"meter_archived": 16}
    billing.all()
    assert billing.states() == {"confirmed": 16, "rejected": 16}
    assert billing.reconcile() == {"periods": 4, "unread": 0, "equal": 2, "held": 2}
    server.api.v1.billing.meters.reactivate(meter)
    assert billing.all()["accepted"] == 16
    assert billing.at_stripe() == billing.targets()
    assert _held(billing) == {}
    kept = billing.fetch("SELECT code, error_count, jsonb_array_length(samples) AS n FROM billing.stripe_error_reports")
    assert kept == [{"code": "archived_meter", "error_count": 16, "n": 5}]
    assert error_reports.fetch(billing.connection, server) == 0


def test_a_deleted_customer_holds_its_team_and_another_takes_its_place(billing: Billing, emulator: Emulator) -> None:
    billing.teams(2)
    billing.use_everywhere(2)
    billing.all()
    server = client.connect(billing.settings)
    old = billing.fetch("SELECT stripe_customer_id AS id FROM billing.stripe_customers WHERE team_id = 1")[0]["id"]
    billing.use_everywhere(2, plus="1")
    billing.prepare()
    billing.plan()
    server.api.v1.customers.delete(old)
    assert billing.submit()["accepted"] == 8
    emulator.set_clock(NOON + timedelta(minutes=70))
    assert billing.resolve()["reported"]["refused"] == 4
    assert _held(billing) == {"customer_missing": 4}
    billing.all()
    assert _held(billing) == {"customer_missing": 4}
    new, anew = submission.replace_customer(billing.connection, "t1", billing.settings)
    assert new != old and anew == 4
    assert billing.all()["accepted"] == 4
    assert billing.at_stripe() == billing.targets()
    assert _held(billing) == {}
    assert billing.reconcile()["equal"] == 4


def test_a_report_about_what_stripe_counts_changes_nothing(billing: Billing, emulator: Emulator) -> None:
    billing.teams(1)
    billing.use(1, "5")
    billing.prepare()
    billing.plan()
    billing.submit()
    row = billing.fetch("SELECT identifier FROM billing.stripe_submissions")[0]
    billing.connection.execute(
        "INSERT INTO billing.stripe_error_reports VALUES ('evt_1', 'meter_event_invalid_value', 'x', NULL, 1,"
        " jsonb_build_array(jsonb_build_object('message', 'm', 'idempotency_key', %s::text)), %s, %s, %s)",
        (f"{row['identifier']}:k0", NOON, NOON, NOON),
    )
    assert billing.resolve()["reported"]["waiting"] == 1
    assert _held(billing) == {"reported": 1}
    # Stripe's total has confirmed it in the same run: the next one ends the hold.
    assert billing.states() == {"confirmed": 1}
    billing.resolve()
    assert _held(billing) == {}

"""Customers and meters at Stripe are made once, found again, and missed when they are gone."""

from __future__ import annotations

from typing import Any

import pytest

from metering.errors import BillingError
from metering.submission import catalog_sync, client

from .conftest import Billing, Emulator


def _counts(emulator: Emulator) -> tuple[int, int]:
    state: dict[str, Any] = emulator.get("state")
    return state["customers"], state["meters"]


def test_preparing_again_changes_nothing(billing: Billing, emulator: Emulator) -> None:
    billing.teams(3)
    billing.use(1, "1")
    billing.use(3, "1")
    assert billing.prepare() == {"customers": 2, "meters": 2}
    assert billing.prepare() == {"customers": 0, "meters": 0}
    assert _counts(emulator) == (2, 2)


def test_a_lost_reply_or_a_lost_database_makes_no_second_customer(billing: Billing, emulator: Emulator) -> None:
    billing.teams(2)
    billing.use(1, "1")
    for path in ("/v1/billing/meters", "/v1/customers"):
        emulator.fault("reset_after", match={"method": "POST", "path": path})
    for _ in range(2):
        with pytest.raises(BillingError, match="can't be reached"):
            billing.prepare()
    billing.prepare()
    before = billing.fetch("SELECT stripe_customer_id FROM billing.stripe_customers")
    billing.connection.execute("DELETE FROM billing.stripe_customers")
    billing.connection.execute("DELETE FROM billing.stripe_meters")
    assert billing.prepare() == {"customers": 1, "meters": 2}
    assert billing.fetch("SELECT stripe_customer_id FROM billing.stripe_customers") == before
    assert _counts(emulator) == (1, 2)


def test_another_account_is_refused(billing: Billing, emulator: Emulator) -> None:
    billing.teams(1)
    billing.use(1, "1")
    billing.prepare()
    emulator.post("reset", {})
    with pytest.raises(BillingError, match="another account"):
        billing.prepare()
    assert _counts(emulator) == (0, 0)


def test_a_meter_with_our_name_that_adds_up_otherwise_is_refused(billing: Billing) -> None:
    server = client.connect(billing.settings)
    server.api.v1.billing.meters.create(
        {"display_name": "x", "event_name": "billing_api_calls", "default_aggregation": {"formula": "last"}}
    )
    with pytest.raises(BillingError, match="does not sum"):
        billing.prepare()


def test_a_deleted_customer_holds_that_team_and_an_archived_meter_its_windows(billing: Billing) -> None:
    billing.teams(2)
    billing.use(1, "1")
    billing.use(2, "2")
    billing.use(2, "3", meter=2)
    billing.prepare()
    server = client.connect(billing.settings).api.v1
    ids = billing.fetch("SELECT stripe_customer_id AS id FROM billing.stripe_customers ORDER BY team_id")
    server.customers.delete(ids[0]["id"])
    meter = billing.fetch("SELECT stripe_meter_id AS id FROM billing.stripe_meters WHERE meter_id = 2")[0]["id"]
    server.billing.meters.deactivate(meter)
    billing.prepare()
    counts = billing.plan()
    assert (counts["planned"], counts["held"]) == (1, 2)
    server.billing.meters.reactivate(meter)
    billing.prepare()
    counts = billing.plan()
    assert (counts["planned"], counts["held"]) == (1, 1)


def test_names_that_stripe_would_not_take_stay_distinct() -> None:
    names = [catalog_sync.event_name(key) for key in ("api_calls", "api calls", "api-calls", "x" * 120, "x" * 121)]
    assert names[0] == "billing_api_calls"
    assert len(set(names)) == 5 and max(map(len, names)) <= 100


def test_a_deactivated_meter_that_was_forgotten_is_found_again_and_no_second_is_made(billing: Billing) -> None:
    billing.teams(1)
    billing.use(1, "3")
    billing.all()
    known = "SELECT meter_id, stripe_meter_id AS id FROM billing.stripe_meters ORDER BY meter_id"
    before = billing.fetch(known)
    meters = client.connect(billing.settings).api.v1.billing.meters
    meters.deactivate(before[0]["id"])
    billing.connection.execute("DELETE FROM billing.stripe_meters")
    billing.prepare()
    assert before == billing.fetch(known)
    archived = billing.fetch("SELECT meter_id FROM billing.stripe_meters WHERE archived_since IS NOT NULL")
    assert archived == [{"meter_id": 1}]


def test_what_stripe_answered_with_500_is_made_under_another_key(billing: Billing, emulator: Emulator) -> None:
    billing.teams(2)
    billing.use_everywhere(1)
    for kind in ("error_500_before", "error_500_after"):
        for path in ("/v1/customers", "/v1/billing/meters"):
            emulator.fault(kind, match={"method": "POST", "path": path})
    assert billing.prepare() == {"customers": 2, "meters": 2}
    assert _counts(emulator) == (2, 2)

"""Assumptions 1 to 4: what the identifier of a meter event guards, and for how long."""

from __future__ import annotations

from decimal import Decimal

import stripe

DAY = 24 * 3600


def test_a01_duplicate_is_refused_by_v1_with_stripes_text_and_no_code(account, refusal) -> None:
    account.send("25", "e1")
    error = refusal(account.send, "25", "e1")
    assert isinstance(error, stripe.InvalidRequestError)
    assert error.http_status == 400
    assert error.json_body == {
        "error": {
            "type": "invalid_request_error",
            "message": f"An event already exists with identifier {account.named('e1')}.",
        }
    }
    assert error.code is None
    assert error.headers["stripe-should-retry"] == "false"
    assert account.total() == 25


def test_a02_duplicate_is_refused_by_v2_with_a_code(account, refusal) -> None:
    event = account.event("25", "e1") | {"timestamp": account.now_text}
    account.client.v2.billing.meter_events.create(event)
    error = refusal(account.client.v2.billing.meter_events.create, event)
    assert (error.http_status, error.code) == (400, "duplicate_meter_event")
    assert account.total() == 25


def test_a03_identifier_is_forgotten_after_24_hours(account, refusal) -> None:
    account.send("25", "e1")
    account.emulator.clock(account.now + DAY - 60)
    refusal(account.send, "25", "e1")
    account.emulator.clock(account.now + DAY + 60)
    account.send("25", "e1")
    assert account.total() == Decimal(50)


def test_a04_identifier_is_unique_in_the_account_not_in_the_meter(account, refusal) -> None:
    account.send("25", "e1")
    account.client.v1.billing.meters.create(
        {"display_name": "other", "event_name": "other", "default_aggregation": {"formula": "sum"}}
    )
    other = account.event("1", "e1") | {"event_name": "other"}
    assert "already exists" in str(refusal(account.client.v1.billing.meter_events.create, other))
    v2 = other | {"timestamp": account.now_text}
    assert refusal(account.client.v2.billing.meter_events.create, v2).code == "duplicate_meter_event"

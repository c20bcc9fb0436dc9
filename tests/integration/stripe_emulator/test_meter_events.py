"""Assumptions 13 to 17: the time and the value of a meter event."""

from __future__ import annotations

from decimal import Decimal

import pytest

PAST = 35 * 24 * 3600


def test_a13_more_than_35_days_back_is_refused_in_stripes_words(account, refusal) -> None:
    account.emulator.clock(account.now)
    account.send("1", "in time", at=account.now - PAST + 60)
    error = refusal(account.send, "1", "late", at=account.now - PAST - 60)
    assert error.http_status == 400
    stated, _, bound = str(error).rpartition(" ")
    assert stated.endswith(
        "The event timestamp cannot be more than 35 days in past. Expected a timestamp greater than or equal to"
    )
    assert 0 <= int(bound.rstrip(".")) - (account.now - PAST) < 60
    assert account.total() == 1


def test_a14_more_than_5_minutes_ahead_is_refused(account, refusal) -> None:
    account.emulator.clock(account.now)
    account.send("1", "in time", at=account.now + 290)
    error = refusal(account.send, "1", "early", at=account.now + 400)
    assert (error.http_status, error.param) == (400, "timestamp")


def test_a15_without_a_time_the_event_counts_when_it_is_received(account) -> None:
    account.emulator.clock(account.now)
    event = account.event("1", "e1")
    del event["timestamp"]
    created = account.client.v1.billing.meter_events.create(event)
    assert 0 <= created.timestamp - account.now < 60


def test_a16_a_value_has_at_most_15_significant_digits(account, refusal) -> None:
    account.send("123456789012345", "15 digits")
    account.send("0.000000000000001", "leading zeros are not significant")
    for value in ("1234567890123456", "1.000000000000000"):
        error = refusal(account.send, value, f"16 digits {value}")
        assert (error.http_status, error.param) == (400, "payload")
    v2 = account.event("1234567890123456", "e") | {"timestamp": account.now_text}
    assert refusal(account.client.v2.billing.meter_events.create, v2).code == "payload_invalid_value"


@pytest.mark.parametrize("value", ["1e3", "1E+22", "NaN", " 1", "+1", "1.", ".5", "1,5", "", "٣", "0x10"])
def test_a17_a_value_is_a_decimal_written_out(account, refusal, value: str) -> None:
    assert refusal(account.send, value, "e1").http_status == 400


def test_a17_decimals_add_up_exactly(account) -> None:
    for number, value in enumerate(["0.1", "0.2", "-0.05", "1000.000000001"]):
        account.send(value, f"e{number}")
    assert account.total() == Decimal("1000.250000001")


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({"value": "1"}, "payload_no_customer_defined"),
        ({"stripe_customer_id": "CUSTOMER"}, "payload_no_value_defined"),
        ({"stripe_customer_id": "CUSTOMER", "value": "one"}, "payload_invalid_value"),
    ],
)
def test_a_payload_that_lacks_something_is_refused_at_once(
    account, refusal, payload: dict[str, str], code: str
) -> None:
    payload = {name: text.replace("CUSTOMER", account.customer) for name, text in payload.items()}
    event = {"event_name": "tokens", "payload": payload}
    assert refusal(account.client.v2.billing.meter_events.create, event).code == code
    assert refusal(account.client.v1.billing.meter_events.create, event).http_status == 400


def test_the_sdks_float_is_refused_and_not_rounded(account, refusal) -> None:
    event = account.event("", "e1")
    event["payload"]["value"] = 0.1 + 0.2
    assert refusal(account.client.v1.billing.meter_events.create, event).http_status == 400

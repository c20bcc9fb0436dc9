"""Assumptions 25, 26 and 38, and every fault that can be ordered, as the SDK sees it."""

from __future__ import annotations

import threading
import time

import pytest
import stripe


def test_a25_one_call_at_a_time_for_a_customer_and_meter(account, refusal) -> None:
    account.emulator.fault("latency", seconds=0.6)
    slow = threading.Thread(target=account.send, args=("25", "e1"))
    slow.start()
    time.sleep(0.2)
    v1 = refusal(account.send, "1", "e2")
    v2_event = account.event("1", "e3") | {"timestamp": account.now_text}
    v2 = refusal(account.client.v2.billing.meter_events.create, v2_event)
    other = account.client.v1.customers.create({"name": "other"}).id
    account.send("1", "e4", customer=other)
    slow.join()
    assert v1.http_status == 409
    assert (v2.http_status, v2.json_body["error"]["code"]) == (409, "too_many_concurrent_requests")
    account.send("1", "e2")
    assert account.total() == 26


def test_a26_a_429_says_whether_to_try_again(account, refusal) -> None:
    account.emulator.fault("rate_limited_429", retry_after=2)
    limited = refusal(account.send, "25", "e1")
    assert isinstance(limited, stripe.RateLimitError)
    assert limited.headers["stripe-rate-limited-reason"] == "endpoint-rate"
    assert limited.headers["retry-after"] == "2"
    assert "stripe-should-retry" not in limited.headers
    account.emulator.fault("rate_limited_429_retry")
    locked = refusal(account.send, "25", "e1")
    assert locked.headers["stripe-should-retry"] == "true"
    assert "stripe-rate-limited-reason" not in locked.headers
    assert locked.json_body["error"]["code"] == "lock_timeout"
    assert account.total() == 0


@pytest.mark.parametrize(
    ("kind", "counted"), [("reset_before", 0), ("reset_after", 25), ("cut_body", 25), ("hang", 25)]
)
def test_a38_a_broken_connection_leaves_the_outcome_open(account, refusal, kind: str, counted: int) -> None:
    account.emulator.fault(kind, seconds=0.3)
    error = refusal(account.send, "25", "e1", key="k")
    assert isinstance(error, stripe.APIConnectionError)
    assert account.total() == counted
    account.send("25", "e1", key="k")
    assert account.total() == 25


def test_a38_a_client_that_stops_waiting_leaves_its_event_behind(account, refusal) -> None:
    impatient = account.emulator.client(read_timeout=0.2)
    account.emulator.fault("latency", seconds=0.5)
    event = account.event("25", "e1")
    error = refusal(impatient.v1.billing.meter_events.create, event, {"idempotency_key": "k"})
    assert isinstance(error, stripe.APIConnectionError)
    time.sleep(0.5)
    assert account.send("25", "e1", key="k").last_response.headers["idempotent-replayed"] == "true"
    assert account.total() == 25


def test_the_sdk_retries_a_reset_under_the_same_key(account) -> None:
    account.emulator.fault("reset_after")
    patient = account.emulator.client(retries=1)
    patient.v1.billing.meter_events.create(account.event("25", "e1"))
    assert account.total() == 25


def test_a_500_can_be_ordered_not_to_be_remembered(account, refusal) -> None:
    account.emulator.fault("error_500_before", saved=False)
    assert refusal(account.send, "25", "e1", key="k").http_status == 500
    account.send("25", "e1", key="k")
    assert account.total() == 25


def test_faults_match_skip_and_end(account, refusal) -> None:
    account.emulator.fault("conflict_409", times=2, skip=1, match={"identifier": "bad*", "method": "POST"})
    account.send("1", "good")
    account.send("1", "bad skipped")
    for _ in range(2):
        assert refusal(account.send, "1", "bad").http_status == 409
    assert account.emulator.admin("GET", "faults")[0]["fired"] == 2
    account.send("1", "bad")
    account.emulator.fault("conflict_409", times=None)
    account.emulator.admin("DELETE", "faults")
    account.send("1", "bad and cleared")
    assert account.total() == 4


def test_faults_fall_by_chance_repeatably(account) -> None:
    def fallen() -> list[str]:
        account.emulator.fault("conflict_409", times=None, chance=0.5, seed=7, match={"path": "/v1/customers"})
        found = []
        for number in range(20):
            try:
                account.client.v1.customers.list()
            except stripe.APIError:
                found.append(str(number))
        account.emulator.admin("DELETE", "faults")
        return found

    first = fallen()
    assert 3 < len(first) < 17
    assert fallen() == first


@pytest.mark.parametrize("wanted", [{"kind": "earthquake"}, {"kind": "hang", "match": {"colour": "red"}}, [1], "x"])
def test_a_fault_that_does_not_exist_cannot_be_ordered(emulator, wanted) -> None:
    reply = emulator.http.post("/emulator/faults", json=wanted)
    assert reply.status_code == 400
    assert emulator.admin("GET", "faults") == []

"""Assumptions 5 to 12: idempotency keys."""

from __future__ import annotations

import threading
import time

import pytest
import stripe

DAY = 24 * 3600


def test_a05_same_key_and_parameters_replay_status_and_body(account) -> None:
    first = account.send("25", "e1", key="k")
    again = account.send("25", "e1", key="k")
    assert again.last_response.body == first.last_response.body
    assert again.last_response.headers["idempotent-replayed"] == "true"
    assert again.last_response.headers["original-request"] == first.last_response.headers["request-id"]
    assert "idempotent-replayed" not in first.last_response.headers
    assert account.total() == 25


@pytest.mark.parametrize(("kind", "counted"), [("error_500_before", 0), ("error_500_after", 25)])
def test_a06_a_500_is_replayed_and_its_outcome_is_open(account, refusal, kind: str, counted: int) -> None:
    account.emulator.fault(kind)
    assert refusal(account.send, "25", "e1", key="k").http_status == 500
    again = refusal(account.send, "25", "e1", key="k")
    assert again.http_status == 500
    assert again.headers["idempotent-replayed"] == "true"
    assert account.total() == counted


def test_a07_a_key_is_refused_for_other_parameters_and_for_another_endpoint(account, refusal) -> None:
    account.send("25", "e1", key="k")
    error = refusal(account.send, "26", "e1", key="k")
    assert isinstance(error, stripe.IdempotencyError)
    assert error.http_status == 400
    assert error.json_body["error"]["type"] == "idempotency_error"
    elsewhere = refusal(account.client.v1.customers.create, {"name": "x"}, {"idempotency_key": account.named("k")})
    assert isinstance(elsewhere, stripe.IdempotencyError)
    assert "/v1/billing/meter_events" in str(elsewhere)


def test_a08_a_key_is_forgotten_after_24_hours(account) -> None:
    account.send("25", "e1", key="k")
    account.emulator.clock(account.now + DAY + 60)
    again = account.send("25", "e1", key="k")
    assert "idempotent-replayed" not in again.last_response.headers
    assert account.total() == 50


@pytest.mark.parametrize("kind", ["rate_limited_429", "rate_limited_429_retry", "conflict_409"])
def test_a09_refusals_before_execution_are_not_remembered(account, refusal, kind: str) -> None:
    account.emulator.fault(kind)
    refusal(account.send, "25", "e1", key="k")
    refusal(account.client.v1.billing.meter_events.create, {"event_name": "tokens"}, {"idempotency_key": "k"})
    refusal(account.emulator.client("sk_test_!").v1.customers.create, {}, {"idempotency_key": "k"})
    refusal(account.send, "x", "e1", key="k")
    assert "idempotent-replayed" not in account.send("25", "e1", key="k").last_response.headers
    assert account.total() == 25


def test_a10_a_key_that_is_still_executing_is_a_409(account, refusal) -> None:
    account.emulator.fault("latency", seconds=0.6)
    slow = threading.Thread(target=account.send, args=("25", "e1"), kwargs={"key": "k"})
    slow.start()
    time.sleep(0.2)
    error = refusal(account.send, "25", "e1", key="k")
    assert (error.http_status, error.json_body["error"]["code"]) == (409, "idempotency_key_in_use")
    slow.join()
    assert account.send("25", "e1", key="k").last_response.headers["idempotent-replayed"] == "true"
    assert account.total() == 25


def test_a11_v2_replays_success_and_runs_failures_again(account, refusal) -> None:
    events = account.client.v2.billing.meter_events
    event = account.event("25", "e1") | {"timestamp": account.now_text}
    account.emulator.fault("error_500_before")
    assert refusal(events.create, event, {"idempotency_key": "k"}).http_status == 500
    events.create(event, {"idempotency_key": "k"})
    account.emulator.clock(account.now + 29 * DAY)
    again = events.create(event, {"idempotency_key": "k"})
    assert again.last_response.headers["idempotent-replayed"] == "true"
    assert account.total() == 25


def test_a12_a_key_has_at_most_255_characters(account, refusal) -> None:
    longest = "k" * (255 - len(account.named("")))
    account.send("25", "e1", key=longest)
    assert "255" in str(refusal(account.send, "25", "e2", key=longest + "k"))

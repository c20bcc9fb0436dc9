"""What Stripe's answers mean for a submission: its own word on trying again is respected."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from metering.submission import outcomes
from metering.submission.pace import Brake


def _error(status: int, message: str = "no", code: str | None = None, **headers: str) -> stripe.StripeError:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    kinds: dict[int, Any] = {429: stripe.RateLimitError, 500: stripe.APIError, 409: stripe.APIError}
    body = {"error": {"message": message, "code": code}}
    if status in kinds:
        error: stripe.StripeError = kinds[status](message, http_status=status, json_body=body, headers=named)
        error.code = code
        return error
    return stripe.InvalidRequestError(message, None, code, http_status=status, json_body=body, headers=named)


def test_retry_after_is_waited_for_and_holds_the_others_for_a_breath_only() -> None:
    error = _error(429, code="rate_limit", Retry_After="120", Stripe_Rate_Limited_Reason="endpoint-rate")
    outcome = outcomes.of_error(error, attempt=1, ambiguous=False)
    assert (outcome.state, outcome.delay, outcome.forget_attempt) == ("pending", 120.0, True)
    assert 0 < outcome.slow_down <= 2


def test_a_lock_slows_nobody_else_down() -> None:
    outcome = outcomes.of_error(_error(429, code="lock_timeout", Stripe_Should_Retry="true"), attempt=1, ambiguous=True)
    assert (outcome.state, outcome.slow_down, outcome.forget_attempt) == ("uncertain", 0.0, False)
    assert outcome.delay is not None and outcome.delay < 1


@pytest.mark.parametrize("status", [409, 429, 500])
def test_where_stripe_says_not_to_try_again_the_next_run_does(status: int) -> None:
    outcome = outcomes.of_error(_error(status, Stripe_Should_Retry="false"), attempt=1, ambiguous=False)
    assert outcome.delay is not None and outcome.delay > 90
    assert outcome.state == ("uncertain" if status == 500 else "pending")


def test_a_refusal_that_stripe_says_to_try_again_is_none() -> None:
    assert outcomes.of_error(_error(400, Stripe_Should_Retry="true"), attempt=1, ambiguous=False).state == "pending"
    assert outcomes.of_error(_error(400), attempt=1, ambiguous=False).state == "rejected"
    assert outcomes.of_error(_error(400), attempt=2, ambiguous=True).state == "uncertain"


@pytest.mark.parametrize(
    "error",
    [
        _error(400, "An event already exists with identifier X.", Stripe_Should_Retry="false"),
        _error(400, "whatever", "duplicate_meter_event"),
    ],
)
def test_a_duplicate_is_success(error: stripe.StripeError) -> None:
    outcome = outcomes.of_error(error, attempt=2, ambiguous=True)
    assert (outcome.state, outcome.name) == ("accepted", "duplicate")


def test_only_a_server_error_asks_for_another_key() -> None:
    found = {status: outcomes.of_error(_error(status), attempt=1, ambiguous=True) for status in (400, 409, 429, 500)}
    assert {status for status, outcome in found.items() if outcome.server_error} == {500}
    lost = outcomes.of_error(stripe.APIConnectionError("reset"), attempt=1, ambiguous=False)
    assert (lost.state, lost.server_error) == ("uncertain", False)
    assert outcomes.of_error(RuntimeError("odd"), attempt=1, ambiguous=False).state == "uncertain"


def test_pauses_grow_from_the_first_and_end() -> None:
    delays = [outcomes.of_error(_error(500), attempt=n, ambiguous=True, first=0.01).delay or 0 for n in range(1, 30)]
    assert 0.005 <= delays[0] <= 0.01
    assert max(delays) <= 2.4


def test_a_brake_holds_as_long_as_the_longest_that_was_asked_for() -> None:
    brake = Brake()
    brake.wait()
    brake.hold(0.05)
    brake.hold(0.0)
    brake.wait()
    brake.wait()

"""What a reply from Stripe, or its absence, means for a submission."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import stripe

# Longer than Airflow's retries take: a refusal of what may have been counted before is not worth asking often.
_DISPUTED_DELAY = 3600.0
FIRST_DELAY = 0.25
_LONGEST = 240  # times as long
# Where Stripe says not to try again, the next run may: by then it is another attempt of its own.
_NOT_AGAIN_DELAY = 300.0
# How long nobody asks, where a limiter has refused and did not say how long, and at most: whoever was refused waits as
# long as it was told, but the next request of another may be one that the limiter lets through.
_BREATH, _LONGEST_BREATH = 0.1, 2.0


@dataclass(frozen=True)
class Outcome:
    """The state a submission goes to, and why. `delay` is in seconds until it may be sent again.

    `forget_attempt`: the attempt certainly had no effect, and no earlier one can have had any. `server_error`: the next
    attempt needs another idempotency key, because Stripe would answer this one with the same 5xx for a day. `stop`:
    nothing else can be sent either. `slow_down`: seconds for which nobody should ask anything, as all ask too fast.
    """

    state: str
    name: str
    http_status: int | None = None
    error_code: str | None = None
    error_message: str | None = None
    request_id: str | None = None
    delay: float | None = None
    forget_attempt: bool = False
    server_error: bool = False
    stop: bool = False
    slow_down: float = 0.0


ACCEPTED = "accepted"


def accepted(request_id: str | None) -> Outcome:
    """Stripe took it, now or when it was sent before."""
    return Outcome(ACCEPTED, "accepted", http_status=200, request_id=request_id)


def not_sent(*, ambiguous: bool) -> Outcome:
    """The request was not made after all."""
    return Outcome("uncertain" if ambiguous else "pending", "not_sent", forget_attempt=not ambiguous)


def of_error(error: Exception, *, attempt: int, ambiguous: bool, first: float = FIRST_DELAY) -> Outcome:
    """Classify a failed attempt. `ambiguous` says whether an earlier attempt may have been counted.

    `first` is the pause after the first attempt, in seconds; those after the next are twice as long each time.

    Sources of the rules: Stripe's error and idempotency documentation; a duplicate identifier is answered with a 400
    without a code in v1 and with `duplicate_meter_event` in v2, and means that the event is there.
    """
    if not isinstance(error, stripe.StripeError):
        # Whatever it was, the request may have reached Stripe.
        return Outcome(
            "uncertain",
            "unknown",
            error_message=f"{type(error).__name__}: {error}"[:500],
            delay=_backoff(attempt, first),
        )
    status = error.http_status
    code = error.code or (error.error.code if error.error is not None else None)
    message = error.user_message or str(error)
    about: dict[str, Any] = {
        "http_status": status,
        "error_code": code,
        "error_message": message,
        "request_id": error.request_id,
    }
    if status is None:
        return Outcome("uncertain", "no_reply", **about, delay=_backoff(attempt, first))
    if status == 400 and (
        code == "duplicate_meter_event" or message.startswith("An event already exists with identifier")
    ):
        return Outcome(ACCEPTED, "duplicate", **about)
    asked_to_retry = _header(error, "stripe-should-retry")
    delay = _NOT_AGAIN_DELAY if asked_to_retry == "false" else _retry_after(error) or _backoff(attempt, first)
    if status in (401, 403):
        return Outcome(
            "uncertain" if ambiguous else "pending", "not_allowed", **about, forget_attempt=not ambiguous, stop=True
        )
    if status in (409, 429) or (400 <= status < 500 and asked_to_retry == "true"):
        limited = status == 429 and _header(error, "stripe-rate-limited-reason") != ""
        return Outcome(
            "uncertain" if ambiguous else "pending",
            {409: "conflict", 429: "rate_limited"}.get(status, "not_now"),
            **about,
            delay=delay,
            forget_attempt=not ambiguous,
            slow_down=min(_retry_after(error) or _BREATH, _LONGEST_BREATH) if limited else 0.0,
        )
    if 400 <= status < 500 and not ambiguous:
        return Outcome("rejected", "refused", **about)
    if 400 <= status < 500:
        # Refused now, but an earlier attempt may have been counted: the summary decides.
        return Outcome("uncertain", "refused", **about, delay=_DISPUTED_DELAY)
    if status >= 500:
        return Outcome("uncertain", "server_error", **about, delay=delay, server_error=True)
    # A 2xx whose body could not be read, for one.
    return Outcome("uncertain", "unreadable", **about, delay=_backoff(attempt, first))


def _backoff(attempt: int, first: float) -> float:
    """Seconds before attempt + 1: the first pause, doubled each time up to 240 of it, half of it by chance."""
    longest = first * min(2.0 ** min(attempt - 1, 10), _LONGEST)
    return longest * (0.5 + random.random() / 2)  # noqa: S311 - spreads retries, keeps no secret


def _retry_after(error: stripe.StripeError) -> float | None:
    """The seconds that Stripe asks to wait, where it does; the SDK itself does not look."""
    text = _header(error, "retry-after")
    return min(float(text), 300.0) if text.isdigit() else None


def _header(error: stripe.StripeError, wanted: str) -> str:
    return next((str(value) for name, value in (error.headers or {}).items() if name.lower() == wanted), "")

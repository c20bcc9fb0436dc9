"""Rate limits: however it sends, a key gets in what its burst and its rate allow, and never has to give up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.ingestion.rates import Bucket, Rate
from metering.ingestion.replies import Refusal


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_comes_in_and_then_the_rate_holds() -> None:
    clock = Clock()
    bucket = Bucket(Rate(per_second=2, burst=3), clock)
    for _ in range(3):
        bucket.enter()
    with pytest.raises(Refusal) as caught:
        bucket.enter()
    assert (caught.value.status, caught.value.code, caught.value.headers["retry-after"]) == (429, "rate_limited", "1")
    clock.now += 0.5
    bucket.enter()
    with pytest.raises(Refusal):
        bucket.enter()


def test_a_batch_larger_than_the_burst_comes_in_and_is_waited_for() -> None:
    clock = Clock()
    bucket = Bucket(Rate(per_second=100, burst=10), clock)
    bucket.enter()
    bucket.take(1010)
    with pytest.raises(Refusal) as caught:
        bucket.enter()
    assert caught.value.headers["retry-after"] == "11"
    clock.now += 11
    bucket.enter()


def test_another_rate_takes_effect_and_what_is_owed_stays_owed() -> None:
    clock = Clock()
    bucket = Bucket(Rate(per_second=1, burst=1), clock)
    bucket.enter()
    bucket.take(101)
    bucket.follow(Rate(per_second=100, burst=1000))
    with pytest.raises(Refusal):
        bucket.enter()
    clock.now += 1.02
    bucket.enter()


@given(
    rate=st.floats(0.01, 1000),
    burst=st.integers(1, 1000),
    steps=st.lists(st.tuples(st.floats(0, 20), st.integers(1, 300)), max_size=60),
)
def test_nobody_sends_more_than_allowed_and_whoever_waits_as_told_comes_in(
    rate: float, burst: int, steps: list[tuple[float, int]]
) -> None:
    clock = Clock()
    bucket = Bucket(Rate(rate, burst), clock)
    began, sent = clock.now, 0
    for pause, events in steps:
        clock.now += pause
        try:
            bucket.enter()
        except Refusal as refusal:
            # Waiting as long as was said is enough.
            clock.now += int(refusal.headers["retry-after"])
            bucket.enter()
        # Only the request that is let in last may go beyond what has accrued.
        assert sent <= burst + (clock.now - began) * rate + 1e-6
        bucket.take(events)
        sent += events

"""Events reach the service once each, whatever the service and the network do meanwhile."""

from __future__ import annotations

import itertools
import signal
import statistics
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from metering.processes.ports import free_port
from usage_client import UsageClient, UsageClientError
from usage_client.retry import RetryPolicy

QUICK = RetryPolicy(first_wait=0.02, longest_wait=0.1, give_up_after=5)
Server = Any


def _client(url: str, **options: Any) -> UsageClient:
    return UsageClient(url, "bk_secret", **{"retry": QUICK, "flush_seconds": 0.05, "timeout": 1.0, **options})


def test_events_arrive_as_they_were_tracked(server: Server) -> None:
    with _client(server.url, team="acme") as usage:
        key = usage.track(
            "api_request",
            Decimal("1.50"),
            unit="request",
            time=datetime(2026, 10, 25, 2, 30, tzinfo=UTC),
            subject="user-7",
            properties={"endpoint": "search"},
            idempotency_key="k1",
        )
    assert key == "k1"
    assert server.kept["k1"] == {
        "team": "acme", "event": "api_request", "quantity": "1.50", "unit": "request", "idempotency_key": "k1",
        "time": "2026-10-25T02:30:00.000000Z", "subject": "user-7", "properties": {"endpoint": "search"},
    }  # fmt: skip
    assert server.headers[0]["authorization"] == "Bearer bk_secret"
    assert server.headers[0]["prefer"] == "return=minimal"


def test_batches_leave_when_they_are_full(server: Server) -> None:
    with _client(server.url, batch_size=100, flush_seconds=60) as usage:
        for number in range(250):
            usage.track("e", number, idempotency_key=str(number))
        deadline = time.monotonic() + 5
        while len(server.kept) < 200 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [len(batch) for batch in server.batches] == [100, 100]
        assert usage.flush(5)
        assert [len(batch) for batch in server.batches] == [100, 100, 50]
    assert usage.tally.tracked == usage.tally.accepted == usage.tally.sent == 250


def test_a_few_events_leave_when_they_are_old_enough(server: Server) -> None:
    with _client(server.url, flush_seconds=0.1) as usage:
        usage.track("e", idempotency_key="a")
        deadline = time.monotonic() + 3
        while not server.kept and time.monotonic() < deadline:
            time.sleep(0.01)
        assert set(server.kept) == {"a"}


@pytest.mark.parametrize(
    "failure",
    [
        500,
        502,
        503,
        504,
        429,
        408,
        "reset before the commit",
        "reset after the commit",
        "garbage after the commit",
        "hang",
    ],
)
def test_what_fails_for_a_moment_is_sent_again_and_counts_once(server: Server, failure: object) -> None:
    server.script = [failure, failure]
    with _client(server.url) as usage:
        for number in range(10):
            usage.track("e", number, idempotency_key=str(number))
        assert usage.flush(10)
    assert len(server.kept) == 10
    assert usage.tally.sent == 10
    assert usage.tally.retries == 2
    assert usage.tally.failed == usage.tally.dropped == 0


def test_events_that_break_the_service_are_kept_and_the_others_of_their_batch_arrive(server: Server) -> None:
    server.fails_at = {"3", "77"}
    with _client(server.url, batch_size=100) as usage:
        for number in range(150):
            usage.track("e", number, idempotency_key=str(number))
        assert usage.flush(10)
        kept = usage.failed_batches
        assert {event["idempotency_key"] for batch in kept for event in batch.events} == {"3", "77"}
        assert all(batch.reason.startswith("500") for batch in kept)
    assert len(server.kept) == usage.tally.accepted == 148


@pytest.mark.parametrize("status", [429, 503])
def test_nothing_is_sent_again_before_the_service_wants_it(server: Server, status: int) -> None:
    server.script = [(status, {"retry-after": "1"})]
    with _client(server.url) as usage:
        usage.track("e", idempotency_key="a")
        assert usage.flush(5)
    first, second = server.times
    assert second - first >= 1.0


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_what_can_never_succeed_is_kept_and_reported_and_nothing_raises(server: Server, status: int) -> None:
    server.script = [status]
    with _client(server.url) as usage:
        usage.track("e", idempotency_key="a")
        usage.flush(5)
        assert (usage.tally.failed, usage.tally.retries) == (1, 0)
        (failed,) = usage.failed_batches
        assert failed.events[0]["idempotency_key"] == "a"
        assert str(status) in failed.reason
        assert usage.retry_failed() == 1
        assert usage.flush(5)
    assert set(server.kept) == {"a"}
    assert (usage.tally.failed, usage.tally.accepted, usage.failed_batches) == (0, 1, ())


def test_a_batch_that_is_too_large_is_halved_until_it_fits(server: Server) -> None:
    server.limit = 30
    with _client(server.url, batch_size=100) as usage:
        for number in range(100):
            usage.track("e", number, idempotency_key=str(number))
        assert usage.flush(5)
    assert len(server.kept) == 100
    assert [len(batch) for batch in server.batches] == [100, 50, 25, 25, 50, 25, 25]


def test_duplicates_and_what_is_in_quarantine_are_told_apart(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    with _client(server.url) as usage:
        usage.track("e", 1, idempotency_key="a", time="2026-10-01T00:00:00Z")
        usage.track("e", 1, idempotency_key="a", time="2026-10-01T00:00:00Z")
        usage.track("e", 2, idempotency_key="a", time="2026-10-01T00:00:00Z")
        usage.track("unknown", 1, idempotency_key="b")
        assert usage.flush(5)
    tally = usage.tally
    assert (tally.tracked, tally.accepted, tally.duplicate, tally.quarantined) == (4, 1, 1, 2)
    assert [(r.event["idempotency_key"], r.reason) for r in usage.rejections] == [
        ("a", "conflict"),
        ("b", "unknown_event"),
    ]
    assert "the service can't count 2 usage events, such as 'unknown' (unknown_event" in caplog.text


class Patient(RetryPolicy):
    """Waits long after a failure."""

    def wait(self, attempt: int, retry_after: str | None = None) -> float:
        return 60.0


@pytest.mark.parametrize("spooled", [False, True])
def test_who_waits_shortens_the_wait_but_never_the_services_own(
    server: Server, tmp_path: Path, spooled: bool, until: Callable[..., None]
) -> None:
    server.script = [503, (503, {"retry-after": "60"})]
    spool = tmp_path if spooled else None
    with _client(server.url, retry=Patient(first_wait=0.02), spool=spool) as usage:
        usage.track("e", idempotency_key="a")
        until(lambda: usage.tally.retries == 1)
        assert not usage.flush(0.5)
        assert usage.tally.retries == 2
        assert not usage.flush(0.5)
        assert len(server.batches) == 2
        usage.close(0.1)
    assert usage.tally.failed + usage.tally.spooled - usage.tally.recovered == 1


def test_a_handler_of_a_signal_may_track(server: Server) -> None:
    with _client(server.url) as usage:
        numbers = itertools.count()
        before = signal.signal(
            signal.SIGALRM, lambda *_: usage.track("e", idempotency_key=f"of the signal {next(numbers)}")
        )
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
            for number in range(3000):
                usage.track("e", number, idempotency_key=str(number))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert usage.flush(30)
    assert len(server.kept) == usage.tally.tracked == 3000 + next(numbers)


def test_with_the_service_down_the_application_goes_on_and_what_is_left_is_kept() -> None:
    usage = _client(f"http://127.0.0.1:{free_port()}", batch_size=10)
    for number in range(25):
        assert usage.track("e", number, idempotency_key=str(number))
    assert not usage.flush(0.3)
    began = time.monotonic()
    tally = usage.close(timeout=0.2)
    assert time.monotonic() - began < 20
    assert (tally.tracked, tally.failed, usage.pending) == (25, 25, 0)
    assert {event["idempotency_key"] for batch in usage.failed_batches for event in batch.events} == set(
        map(str, range(25))
    )


def test_a_service_that_stays_away_is_given_up_after_a_while() -> None:
    policy = RetryPolicy(first_wait=0.02, longest_wait=0.05, give_up_after=0.3)
    with _client(f"http://127.0.0.1:{free_port()}", retry=policy) as usage:
        usage.track("e", idempotency_key="a")
        assert usage.flush(5)
        assert usage.tally.failed == 1
        assert "given up after" in usage.failed_batches[0].reason


def test_a_call_costs_next_to_nothing_with_the_service_down() -> None:
    usage = _client(f"http://127.0.0.1:{free_port()}", max_pending=3000)
    usage.track("e", idempotency_key="first")
    costs = []
    for number in range(10_000):
        began = time.perf_counter()
        usage.track("e", number, idempotency_key=str(number), time="2026-10-01T00:00:00Z")
        costs.append(time.perf_counter() - began)
    tally = usage.close(timeout=0)
    assert statistics.median(costs) < 50e-6
    assert tally.tracked == 3000
    assert tally.dropped == 7001
    assert tally.failed == 3000


def test_who_asks_for_it_waits_for_room_instead_of_losing_events(server: Server) -> None:
    with _client(server.url, batch_size=10, max_pending=20, wait_for_room=True) as usage:
        for number in range(500):
            usage.track("e", number, idempotency_key=str(number))
        assert usage.flush(5)
    assert usage.tally.dropped == 0
    assert len(server.kept) == 500


def test_who_asks_for_it_is_told_by_an_exception(server: Server) -> None:
    server.script = [401]
    usage = _client(server.url, raise_errors=True)
    with pytest.raises(TypeError, match="float"):
        usage.track("e", 0.1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no time zone"):
        usage.track("e", 1, time=datetime(2026, 10, 1))
    usage.track("e", 1)
    with pytest.raises(UsageClientError, match="401"):
        usage.flush(5)
    with pytest.raises(UsageClientError):
        usage.close()


def test_what_is_no_event_is_dropped_and_counted_and_nothing_raises(server: Server) -> None:
    with _client(server.url) as usage:
        assert usage.track("e", 0.1) is None  # type: ignore[arg-type]
        assert usage.track("e", 1, time=datetime(2026, 10, 1)) is None
        assert usage.track("e", 1) is not None
    assert (usage.tally.dropped, usage.tally.accepted) == (2, 1)


def test_many_threads_share_a_client(server: Server) -> None:
    with _client(server.url, batch_size=50) as usage:

        def work(name: int) -> None:
            for number in range(200):
                usage.track("e", number, idempotency_key=f"{name}-{number}")

        threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert usage.flush(10)
    assert len(server.kept) == usage.tally.accepted == 1600

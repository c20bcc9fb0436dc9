"""Whatever the service and the network do, each event is counted once, and the client's books are right."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from usage_client import RetryPolicy, UsageClient

Server = Any
QUICK = RetryPolicy(first_wait=0.005, longest_wait=0.02, give_up_after=60)

misbehaviour = st.sampled_from(
    [
        None, 500, 503, 429, 408, (503, {"retry-after": "0"}), "reset before the commit", "reset after the commit",
        "garbage after the commit",
    ]
)  # fmt: skip


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    script=st.lists(misbehaviour, max_size=12),
    limit=st.sampled_from([None, 7, 40]),
    batch_size=st.sampled_from([4, 10, 100]),
    connections=st.integers(1, 3),
    kind=st.sampled_from(["memory", "spool", "durable"]),
    threads=st.integers(1, 3),
)
def test_each_event_is_counted_once_and_the_books_are_right(
    server: Server,
    script: list[Any],
    limit: int | None,
    batch_size: int,
    connections: int,
    kind: Literal["memory", "spool", "durable"],
    threads: int,
) -> None:
    server.script, server.limit = list(script), limit
    server.kept.clear()
    with tempfile.TemporaryDirectory() as folder:
        usage = UsageClient(
            server.url,
            "bk_secret",
            batch_size=batch_size,
            connections=connections,
            flush_seconds=0.01,
            retry=QUICK,
            spool=None if kind == "memory" else folder,
            durable=kind == "durable",
        )

        def work(name: int) -> None:
            for number in range(40):
                assert usage.track("e", number, idempotency_key=f"{name}-{number}")

        workers = [threading.Thread(target=work, args=(name,)) for name in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert usage.flush(60)
        tally = usage.close()
        assert set(server.kept) == {f"{name}-{number}" for name in range(threads) for number in range(40)}
        assert tally.tracked == 40 * threads
        assert tally.tracked + tally.recovered == tally.sent + tally.spooled
        assert tally.spooled == tally.recovered
        assert (tally.failed, tally.lost, tally.dropped, tally.quarantined) == (0, 0, 0, 0)
        assert (usage.pending, usage.spool.files) == (0, 0)


@pytest.fixture(autouse=True)
def _no_threads_are_left() -> Iterator[None]:
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("usage-client")] == []

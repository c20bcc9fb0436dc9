"""The asynchronous client does the same and never holds up its loop."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from metering.processes.ports import free_port
from usage_client import AsyncUsageClient, RetryPolicy, UsageClientError

QUICK = RetryPolicy(first_wait=0.02, longest_wait=0.1, give_up_after=5)
Server = Any


def _client(url: str, **options: Any) -> AsyncUsageClient:
    return AsyncUsageClient(url, "bk_secret", **{"retry": QUICK, "flush_seconds": 0.05, "timeout": 1.0, **options})


async def test_events_of_many_tasks_arrive(server: Server) -> None:
    async with _client(server.url, batch_size=50) as usage:

        async def work(name: int) -> None:
            for number in range(100):
                usage.track("e", number, idempotency_key=f"{name}-{number}")
                await asyncio.sleep(0)

        await asyncio.gather(*(work(name) for name in range(5)))
        assert await usage.flush(20)
    assert len(server.kept) == usage.tally.accepted == 500


@pytest.mark.parametrize("failure", [503, "reset after the commit", "hang"])
async def test_what_fails_for_a_moment_is_sent_again_and_counts_once(server: Server, failure: object) -> None:
    server.script = [failure]
    async with _client(server.url) as usage:
        usage.track("e", idempotency_key="a")
        assert await usage.flush(20)
    assert set(server.kept) == {"a"}
    assert (usage.tally.sent, usage.tally.retries) == (1, 1)


async def test_the_loop_goes_on_while_the_service_hangs_and_while_it_is_waited_for(server: Server) -> None:
    server.script = ["hang"] * 4
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - began)

    ticking = asyncio.create_task(tick())
    async with _client(server.url) as usage:
        for number in range(1000):
            usage.track("e", number, idempotency_key=str(number))
            await asyncio.sleep(0)
        await usage.flush(2)
    ticking.cancel()
    assert longest < 1.0  # each request hangs for a second


async def test_who_waits_for_room_drops_nothing(server: Server) -> None:
    async with _client(server.url, max_pending=20, batch_size=10) as usage:
        for number in range(200):
            await usage.room()
            assert usage.track("e", number, idempotency_key=str(number))
        assert await usage.flush(20)
    assert len(server.kept) == 200
    with pytest.raises(ValueError, match="room"):
        _client(server.url, wait_for_room=True)


async def test_with_the_service_down_what_is_left_is_on_disk(server: Server, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    async with _client(url, spool=tmp_path, team="acme") as usage:
        usage.track("e", idempotency_key="a")
    assert usage.spool.events == 1


async def test_who_asks_for_it_is_told_by_an_exception(server: Server) -> None:
    server.script = [401]
    usage = _client(server.url, raise_errors=True)
    usage.track("e", idempotency_key="a")
    with pytest.raises(UsageClientError, match="401"):
        await usage.flush(5)
    with pytest.raises(UsageClientError):
        await usage.close()


async def test_waiting_may_be_cancelled(server: Server) -> None:
    server.script = ["hang"]
    usage = _client(server.url)
    usage.track("e", idempotency_key="a")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await usage.flush()
    await usage.close()
    assert set(server.kept) == {"a"}

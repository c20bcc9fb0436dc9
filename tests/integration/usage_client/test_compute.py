"""Blocks and functions become compute seconds, and never notice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from usage_client import UsageClient
from usage_client.compute import ComputeMeter

Server = Any


@pytest.fixture
def compute(usage: UsageClient) -> ComputeMeter:
    return ComputeMeter(usage)


def test_a_block_counts_its_seconds_with_its_resources(
    server: Server, usage: UsageClient, compute: ComputeMeter
) -> None:
    with compute.run(
        team="acme", job="job-7", instance_type="m5.large", cpus=4, memory_gb=Decimal("7.5"), gpus=None
    ) as run:
        time.sleep(0.05)
        run.properties["rows"] = 12
    (event,) = server.told_by(usage)
    assert Decimal("0.05") <= Decimal(event["quantity"]) < 30
    assert Decimal(event["quantity"]) == run.seconds
    assert event["properties"] == {"instance_type": "m5.large", "cpus": 4, "memory_gb": "7.5", "rows": 12}
    assert (event["event"], event["unit"], event["team"]) == ("compute", "second", "acme")
    assert event["idempotency_key"] == "job-7"


def test_a_job_that_is_run_again_counts_once_and_runs_without_a_job_count_each(
    server: Server, usage: UsageClient, compute: ComputeMeter
) -> None:
    for _ in range(2):
        with compute.run(job="job-7"):
            pass
        with compute.run():
            pass
    assert len(server.told_by(usage)) == 3
    assert usage.tally.quarantined == 1  # what the second run of the job took was another time


def test_an_exception_goes_through_and_the_time_until_then_counts(
    server: Server, usage: UsageClient, compute: ComputeMeter
) -> None:
    with pytest.raises(LookupError), compute.run():
        raise LookupError
    (event,) = server.told_by(usage)
    assert event["properties"] == {"error": "LookupError"}


async def test_functions_coroutines_and_generators_are_measured_as_they_are(
    server: Server, usage: UsageClient, compute: ComputeMeter
) -> None:
    @compute.metered(team="acme", instance_type="small")
    def plain(number: int) -> int:
        """Says twice as much."""
        time.sleep(0.02)
        return 2 * number

    @compute.metered(team=lambda number: f"team-{number}", job=lambda number: f"job-{number}")
    async def waiting(number: int) -> int:
        await asyncio.sleep(0.05)
        return 2 * number

    @compute.metered()
    def steps(number: int) -> Iterator[int]:
        for step in range(number):
            time.sleep(0.01)
            yield step

    assert plain(2) == 4
    assert plain.__doc__ == "Says twice as much."
    assert await asyncio.gather(waiting(1), waiting(2)) == [2, 4]
    assert list(steps(3)) == [0, 1, 2]
    first, *two, third = server.told_by(usage)
    assert (first["team"], first["properties"]["instance_type"]) == ("acme", "small")
    assert first["properties"]["function"].endswith("plain")
    assert {(event["team"], event["idempotency_key"]) for event in two} == {("team-1", "job-1"), ("team-2", "job-2")}
    assert all(Decimal(event["quantity"]) >= Decimal("0.05") for event in two)
    assert Decimal(third["quantity"]) >= Decimal("0.03")


async def test_a_cancelled_coroutine_is_measured_until_then(
    server: Server, usage: UsageClient, compute: ComputeMeter
) -> None:
    @compute.metered()
    async def forever() -> None:
        await asyncio.sleep(60)

    task = asyncio.create_task(forever())
    await asyncio.sleep(0.03)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (event,) = server.told_by(usage)
    assert event["properties"]["error"] == "CancelledError"


def test_an_asynchronous_generator_is_refused_when_it_is_decorated(compute: ComputeMeter) -> None:
    async def pieces() -> Any:
        yield 1

    with pytest.raises(TypeError, match="run\\(\\) within"):
        compute.metered()(pieces)


def test_what_is_asked_wrongly_breaks_nothing_and_is_counted(usage: UsageClient, compute: ComputeMeter) -> None:
    @compute.metered(team=lambda: "too few arguments")
    def work(number: int) -> int:
        return number

    assert work(7) == 7
    with compute.run(cpus=0.5):  # type: ignore[arg-type] # a float is fine in JSON, though not exact
        pass
    with compute.run(what=object()):  # type: ignore[arg-type]
        pass
    assert (usage.tally.tracked, usage.tally.dropped) == (1, 2)


def test_a_run_is_measured_once(compute: ComputeMeter) -> None:
    run = compute.run()
    with run:
        pass
    with pytest.raises(RuntimeError, match="ask for another"), run:
        pass

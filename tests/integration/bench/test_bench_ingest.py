"""`./billing bench ingest`, small: it measures every way in, and what it says equals what has landed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from metering.bench.workload import Workload
from metering.settings import PROJECT_ROOT

EVENTS = 2_000


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """What the command prints as JSON; its home must be gone when it has ended."""
    # Not pytest's own tmp directory, which other sessions make private again while PostgreSQL's user works in it.
    temporary = Path(tempfile.mkdtemp(prefix="billing-bench-test-"))
    temporary.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-m", "metering.cli", "bench", "ingest", "--events", str(EVENTS), "--json"],
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT / "include"), "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    temporary.rmdir()  # fails where something was left behind
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_every_way_in_is_measured_with_new_and_with_messy_events(report: dict[str, Any]) -> None:
    ways = ["COPY", "COPY, 2 connections", *(f"HTTP, batches of {size}" for size in ("1,000", "100", "1"))]
    ways += [f"./billing ingest, {kind}" for kind in ("csv", "jsonl", "parquet")]
    assert [(result["name"], result["messy"]) for result in report["results"]] == [
        (way, messy) for messy in (False, True) for way in ways
    ]


def test_all_events_of_a_workload_are_accounted_for(report: dict[str, Any]) -> None:
    """The command itself compares the tables with what was acknowledged, and fails where they differ."""
    new = {result["name"]: result for result in report["results"] if not result["messy"]}
    assert new["COPY"]["events"] == new["HTTP, batches of 1,000"]["events"] == EVENTS
    assert new["HTTP, batches of 100"]["events"] == EVENTS // 2 and new["HTTP, batches of 1"]["events"] == EVENTS // 10
    assert new["HTTP, batches of 1"]["requests"] == EVENTS // 10
    messy = {result["name"]: result for result in report["results"] if result["messy"]}
    assert messy["COPY"]["events"] == EVENTS // 2  # the other half is repetition
    assert messy["HTTP, batches of 1,000"]["events"] == EVENTS


def test_what_is_said_of_each_way_is_there(report: dict[str, Any]) -> None:
    for result in report["results"]:
        assert result["events_per_second"] > 0 and result["ratio_to_copy"] > 0
        if result["name"].startswith("HTTP"):
            assert 0 < result["p50"] <= result["p99"]
        if not result["name"].startswith("COPY"):
            assert 0 < result["memory"]["start"] <= result["memory"]["peak"]


def test_a_messy_workload_repeats_half_is_out_of_order_and_spans_three_months() -> None:
    sent = [event for batch in Workload(EVENTS, messy=True).batches(100) for event in batch]
    assert len(sent) == EVENTS and len({event["idempotency_key"] for event in sent}) == EVENTS // 2
    times = [event["time"] for event in sent]
    assert times != sorted(times) and len({time[:7] for time in times}) in (3, 4)
    contents = {event["idempotency_key"]: json.dumps(event) for event in sent}
    assert all(contents[event["idempotency_key"]] == json.dumps(event) for event in sent)


def test_help_shows_examples() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "metering.cli", "bench", "ingest", "--help"],
        env={**os.environ, "PYTHONPATH": str(Path(PROJECT_ROOT) / "include")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "./billing bench ingest --events 1000000" in done.stdout

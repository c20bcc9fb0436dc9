"""Bytes that are held become GB-hours of local days: exactly, once, and whoever is restarted meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.processes.ports import free_port
from usage_client import UsageClient
from usage_client.storage import GIBIBYTE, StorageTracker, gb_hours, local_day

Server = Any
Start = Callable[..., "subprocess.Popen[str]"]
GB = 10**9
HOUR = timedelta(hours=1)


@pytest.fixture
def usage(server: Server) -> Iterator[UsageClient]:
    with UsageClient(server.url, "bk_secret", flush_seconds=60) as client:
        yield client


@pytest.mark.parametrize(
    ("day", "zone", "hours"),
    [
        (date(2026, 10, 25), "Europe/Berlin", 25),
        (date(2026, 3, 29), "Europe/Berlin", 23),
        (date(2026, 10, 24), "Europe/Berlin", 24),
        (date(2026, 10, 25), "Asia/Kathmandu", 24),
        (date(2026, 4, 5), "Australia/Lord_Howe", Fraction(49, 2)),
        (date(2018, 11, 4), "America/Sao_Paulo", 23),  # its midnight did not exist
    ],
)
def test_a_gigabyte_held_all_day_is_as_many_gb_hours_as_the_day_has(day: date, zone: str, hours: int) -> None:
    start, end = local_day(day, zone)
    assert gb_hours([], start, end, before=GB) == Decimal(hours.numerator) / hours.denominator


def test_levels_hold_until_the_next_one() -> None:
    start = datetime(2026, 10, 1, tzinfo=UTC)
    levels = [(start + 6 * HOUR, 3 * GB), (start + 18 * HOUR, GB // 2)]
    assert gb_hours(levels, start, start + 24 * HOUR, before=GB) == 6 + 36 + 3
    assert gb_hours(levels, start, start + 24 * HOUR) == 36 + 3
    assert gb_hours([(start, GIBIBYTE)], start, start + HOUR, gigabyte=GIBIBYTE) == 1


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-(10**11), 10**11), st.integers(0, 10**18)), max_size=20, unique_by=lambda level: level[0]
    ),
    st.integers(0, 10**18),
)
def test_the_sum_is_exact_but_for_one_rounding(changes: list[tuple[int, int]], before: int) -> None:
    start, end = local_day(date(2026, 10, 25), "Europe/Berlin")
    levels = [(start + timedelta(microseconds=moment), level) for moment, level in changes]
    exact, held, since = Fraction(0), before, start
    for moment, level in [*sorted(levels), (end, 0)]:
        inside = min(max(moment, start), end)
        exact += held * Fraction((inside - since) // timedelta(microseconds=1), 3_600_000_000 * GB)
        held, since = level, inside
    got = gb_hours(levels, start, end, before=before)
    assert abs(Fraction(got) - exact) <= Fraction(1, 2 * 10**12)


def test_days_that_are_over_are_tracked_once_and_the_level_goes_on(
    server: Server, usage: UsageClient, tmp_path: Path
) -> None:
    storage = StorageTracker(usage, tmp_path, zone="Europe/Berlin")
    at = datetime(2026, 10, 24, 10, tzinfo=UTC)  # noon in Berlin
    assert storage.measure(2 * GB, team="acme", resource="photos", at=at, properties={"region": "eu"})
    assert storage.measure(4 * GB, team="acme", resource="photos", at=at + 6 * HOUR, properties={"region": "eu"})
    assert storage.measure(GB, team="globex", at=at)
    assert storage.measure(0, team="globex", at=at + HOUR)
    assert storage.settle(datetime(2026, 10, 24, 22, 5, tzinfo=UTC)) == 0  # over, but not for ten minutes
    assert storage.settle(datetime(2026, 10, 24, 22, 10, tzinfo=UTC)) == 2
    assert storage.settle(datetime(2026, 10, 27, 5, tzinfo=UTC)) == 2  # the 25th, of 25 hours, and the 26th
    assert storage.settle(datetime(2026, 10, 27, 5, tzinfo=UTC)) == 0
    got = {
        (event["team"], event["properties"]["day"]): (event["quantity"], event["time"])
        for event in server.kept.values()
    }
    assert got == {
        ("acme", "2026-10-24"): ("36", "2026-10-24T21:59:59.999999Z"),
        ("globex", "2026-10-24"): ("1", "2026-10-24T21:59:59.999999Z"),
        ("acme", "2026-10-25"): ("100", "2026-10-25T22:59:59.999999Z"),
        ("acme", "2026-10-26"): ("96", "2026-10-26T22:59:59.999999Z"),
    }
    (autumn,) = (event for event in server.kept.values() if event["properties"]["day"] == "2026-10-25")
    assert autumn["properties"] == {
        "day": "2026-10-25", "hours": "25", "peak_bytes": 4 * GB, "resource": "photos", "region": "eu",
    }  # fmt: skip
    assert (autumn["event"], autumn["unit"]) == ("storage", "GB-hour")


def test_a_process_that_was_killed_half_way_repeats_the_same_keys(
    server: Server, usage: UsageClient, start: Start, tmp_path: Path
) -> None:
    """It tracks the day and dies before it knows the answer; the next one tracks it again, and it counts once."""
    program = """
import os, signal, sys
from datetime import UTC, datetime
from usage_client import UsageClient
from usage_client.storage import StorageTracker
usage = UsageClient(sys.argv[1], "bk_secret")
real = usage.settle
def settle(timeout):
    assert real(timeout)
    os.kill(os.getpid(), signal.SIGKILL)
usage.settle = settle
storage = StorageTracker(usage, sys.argv[2])
for number in range(5):
    assert storage.measure(10**9 * number, team=f"team-{number}", at=datetime(2026, 10, 1, 12, tzinfo=UTC))
storage.settle(datetime(2026, 10, 3, 12, tzinfo=UTC))
"""
    assert start(program, server.url, tmp_path / "folder").wait(60) == -signal.SIGKILL
    assert len(server.kept) == 8  # four teams, two days
    before = dict(server.kept)
    storage = StorageTracker(usage, tmp_path / "folder")
    assert not storage.measure(1, team="team-1", at=datetime(2026, 10, 1, 13, tzinfo=UTC))  # too late
    assert storage.settle(datetime(2026, 10, 3, 12, tzinfo=UTC)) == 8
    assert server.kept == before
    assert (usage.tally.duplicate, usage.tally.quarantined, usage.tally.dropped) == (8, 0, 1)
    assert storage.settle(datetime(2026, 10, 3, 12, tzinfo=UTC)) == 0


def test_a_line_that_was_cut_off_says_nothing(server: Server, usage: UsageClient, tmp_path: Path) -> None:
    storage = StorageTracker(usage, tmp_path)
    assert storage.measure(GB, team="acme", at=datetime(2026, 10, 1, tzinfo=UTC))
    (file,) = tmp_path.glob("*.measured")
    file.write_bytes(file.read_bytes() + file.read_bytes()[:-20])
    assert storage.settle(datetime(2026, 10, 2, 1, tzinfo=UTC)) == 1
    assert [event["quantity"] for event in server.kept.values()] == ["24"]


def test_with_the_service_away_a_day_is_tracked_again_until_it_is_answered(tmp_path: Path, server: Server) -> None:
    at = datetime(2026, 10, 1, tzinfo=UTC)
    with UsageClient(f"http://127.0.0.1:{free_port()}", "bk_secret", spool=tmp_path / "spool") as usage:
        storage = StorageTracker(usage, tmp_path / "storage")
        assert storage.measure(GB, team="acme", at=at)
        assert storage.settle(at + 25 * HOUR, timeout=1) == 1
    with UsageClient(server.url, "bk_secret") as usage:
        storage = StorageTracker(usage, tmp_path / "storage")
        assert storage.settle(at + 25 * HOUR) == 1
        assert storage.settle(at + 25 * HOUR) == 0
    assert [event["quantity"] for event in server.kept.values()] == ["24"]


def test_two_processes_measure_into_one_folder(
    server: Server, usage: UsageClient, start: Start, tmp_path: Path
) -> None:
    program = """
import sys
from datetime import UTC, datetime, timedelta
from usage_client import UsageClient
from usage_client.storage import StorageTracker
usage = UsageClient("http://127.0.0.1:1", "bk_secret")
storage = StorageTracker(usage, sys.argv[1])
for number in range(200):
    assert storage.measure(10**9, team=f"{sys.argv[2]}-{number}", at=datetime(2026, 10, 1, tzinfo=UTC))
"""
    processes = [start(program, tmp_path / "folder", name) for name in "ab"]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert StorageTracker(usage, tmp_path / "folder").settle(datetime(2026, 10, 2, 1, tzinfo=UTC)) == 400
    assert {event["quantity"] for event in server.kept.values()} == {"24"}


def test_what_is_no_measurement_is_counted_and_breaks_nothing(server: Server, tmp_path: Path) -> None:
    with UsageClient(server.url, "bk_secret") as usage:
        storage = StorageTracker(usage, tmp_path / "storage")
        assert not storage.measure(-1)
        assert not storage.measure(1.5)  # type: ignore[arg-type]
        assert not storage.measure(1, at=datetime(2026, 10, 1))
        assert not storage.measure(1, zone="Mars/Olympus")
        assert storage.track_day(date(2026, 10, 1), -5) is None
    assert usage.tally.dropped == 5


def test_a_day_of_ones_own_measurements_needs_no_folder_to_be_filled(
    server: Server, usage: UsageClient, tmp_path: Path
) -> None:
    storage = StorageTracker(usage, tmp_path)
    first = storage.track_day(date(2026, 3, 29), 5 * GB, team="acme", resource="photos", zone="Europe/Berlin")
    again = storage.track_day(date(2026, 3, 29), 5 * GB, team="acme", resource="photos", zone="Europe/Berlin")
    assert first == again
    assert usage.flush()
    assert [event["quantity"] for event in server.kept.values()] == [str(5 * 23)]
    assert os.listdir(tmp_path) == []

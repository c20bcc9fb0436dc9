"""What is measured: COPY, HTTP and files, each from empty tables, each checked against what has landed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.rows import DictRow

from metering import database
from metering.bench import client
from metering.bench.house import House, Memory, Watch
from metering.bench.workload import Workload
from metering.errors import BillingError
from metering.ingestion import binary
from metering.ingestion.body import Body
from metering.ingestion.catalog import Catalog
from metering.ingestion.facts import Facts
from metering.ingestion.group import Group
from metering.ingestion.landing import POSTGRES_EPOCH
from metering.ingestion.landing import SQL as LANDING
from metering.ingestion.validation import Judge

PIECE = 20_000
"""Rows in one transaction of the plain COPY."""
BATCHES = ((1_000, 16), (100, 16), (1, 64))
"""Sizes of requests, and over how many connections they are sent."""
COPIERS = 2
"""Connections of the second plain COPY: files are written by as many."""
KINDS = ("csv", "jsonl", "parquet")
"""What files are of, as their names end."""
IN_FILES = 3
"""How many times as many events files have: starting the command is a part of what a small file takes."""
SHARES = {1_000: 1.0, 100: 0.5, 1: 0.1}
"""Of all events, how many are sent in requests of a size: small ones take longer to say as much."""


@dataclass(frozen=True)
class Result:
    """One line of the report. Latencies in milliseconds, memory in bytes."""

    name: str
    events: int
    seconds: float
    requests: int | None = None
    told_to_wait: int | None = None
    p50: float | None = None
    p99: float | None = None
    memory: Memory | None = None
    messy: bool = False
    ratio_to_copy: float | None = None

    @property
    def events_per_second(self) -> float:
        """Events made durable, and told so, in a second."""
        return self.events / self.seconds

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        rounded = {"seconds": round(self.seconds, 3), "events_per_second": round(self.events_per_second)}
        return {**asdict(self), **rounded}


Rows = bytes | memoryview
Told = Callable[[Result], None]


def measure(house: House, events: int, seconds: float | None, told: Told) -> list[Result]:
    """Measure everything with workloads of `events` events; `told` hears of each result as it comes."""
    results: list[Result] = []
    for messy in (False, True):
        limit = copy(house, Workload(events, messy=messy))
        found = [limit]
        told(limit)
        found.append(copy(house, Workload(events, messy=messy), COPIERS))
        told(found[-1])
        for size, connections in BATCHES:
            workload = Workload(max(int(events * SHARES[size]), 1), messy=messy)
            found.append(http(house, workload, size, connections, seconds))
            told(found[-1])
        for kind in KINDS:
            found.append(file(house, Workload(events * IN_FILES, messy=messy), kind))
            told(found[-1])
        results += [
            Result(**{**vars(result), "ratio_to_copy": round(result.events_per_second / limit.events_per_second, 3)})
            for result in found
        ]
    return results


def copy(house: House, workload: Workload, connections: int = 1) -> Result:
    """COPY of the same rows into the same two tables: what PostgreSQL can do here when nobody asks anything.

    By one connection or several, which take turns at the transactions. Of a messy workload, only events that are new:
    COPY can't tell which are.
    """
    judge = Judge(Catalog.load(house.connection))
    house.empty()
    pieces, recorded_at = [], (datetime.now(UTC) - POSTGRES_EPOCH).total_seconds()
    seen: set[bytes] = set()
    for group in _groups(judge, workload, seen):
        chosen = group.accepted()
        months = [datetime.fromisoformat(f"{month}-01T00:00:00+00:00") for month in group.months()]
        house.connection.execute(LANDING["ensure_months"], {"moments": months})
        pieces.append((group.key_rows(), group.event_rows(chosen, 1, int(recorded_at * 1_000_000))))
    others = [database.connect(house.url, application="billing-bench") for _ in range(connections)]
    begun = time.perf_counter()
    with ThreadPoolExecutor(connections) as threads:
        for done in [threads.submit(_copy, other, pieces[i::connections]) for i, other in enumerate(others)]:
            done.result()
    spent = time.perf_counter() - begun
    for other in others:
        other.close()
    landed = house.landed()
    _hold("copied rows", landed["events"], len(seen))
    name = "COPY" if connections == 1 else f"COPY, {connections} connections"
    return Result(name, len(seen), spent, messy=workload.messy)


def _copy(connection: psycopg.Connection[DictRow], pieces: Sequence[tuple[Rows, Rows]]) -> None:
    """Copy pieces, each the rows of its keys and of its events, one transaction after the other."""
    for piece in pieces:
        with connection.transaction():
            for statement, rows in zip(("copy_keys", "copy_events"), piece, strict=True):
                with connection.cursor().copy(LANDING[statement]) as copying:
                    for part in (binary.BEGIN, rows, binary.END):
                        copying.write(part)


def http(house: House, workload: Workload, size: int, connections: int, seconds: float | None) -> Result:
    """Requests of so many events over so many connections, or as many as are begun within `seconds`."""
    house.empty()
    warm = Workload(min(connections * size, workload.events), messy=workload.messy)
    client.send(house.port, house.key, warm.bodies(size), connections, seconds)
    bodies = workload.bodies(size)
    house.empty()
    watch = house.watch_service()
    sent = client.send(house.port, house.key, bodies, connections, seconds)
    memory = watch.end()
    landed = house.landed()
    _hold("accepted events", landed["events"], sent.tally["accepted"])
    _hold("claimed keys", landed["keys"], sent.tally["accepted"])
    _hold("events of batches", landed["accepted"], sent.tally["accepted"])
    if sent.tally["quarantined"] or sent.tally["refused"]:
        raise BillingError(f"Good events were not taken: {dict(sent.tally)}.", "Nothing was measured.")
    return Result(
        f"HTTP, batches of {size:,}",
        sent.tally.total(),
        sent.seconds,
        requests=sent.requests,
        told_to_wait=sent.again,
        p50=round(sent.percentile(0.50) * 1_000, 1),
        p99=round(sent.percentile(0.99) * 1_000, 1),
        memory=memory,
        messy=workload.messy,
    )


def file(house: House, workload: Workload, kind: str) -> Result:
    """`./billing ingest` of a file, as the process that it is, from its start to its end."""
    house.empty()
    path = house.home / f"usage.{kind}"
    workload.write(path)
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "metering.cli", "ingest", str(path)],
        env=house.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    watch = Watch(process.pid)
    _, said = process.communicate()
    spent, memory = time.perf_counter() - begun, watch.end()
    path.unlink()
    if process.returncode:
        raise BillingError(f"`./billing ingest` failed: {said.decode(errors='replace').strip()[-300:]}", "")
    landed = house.landed()
    _hold("imported events", landed["events"], landed["accepted"])
    _hold("claimed keys", landed["keys"], landed["events"])
    if not workload.messy:
        _hold("imported events", landed["events"], workload.events)
    return Result(f"./billing ingest, {kind}", workload.events, spent, memory=memory, messy=workload.messy)


def _groups(judge: Judge, workload: Workload, seen: set[bytes]) -> Iterable[Group]:
    """The events that are new, in groups of `PIECE`, ready to be written."""
    part: list[Facts] = []
    for text in workload.bodies(1_000):
        facts = judge.sort_body(Body.parse(text)).facts
        new = Facts(facts.origin)
        for fact in facts:
            if fact.key_digest not in seen:
                seen.add(fact.key_digest)
                new.add(fact)
        part.append(new)
        if sum(map(len, part)) >= PIECE:
            yield Group(part)
            part = []
    if part:
        yield Group(part)


def _hold(what: str, found: int, expected: int) -> None:
    if found != expected:
        raise BillingError(f"There are {found:,} {what}, and there should be {expected:,}.", "This is a defect.")

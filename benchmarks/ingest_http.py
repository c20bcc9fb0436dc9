"""How many events a second the ingestion service makes durable, over real sockets.

    python benchmarks/ingest_http.py --events 200000 --batch 1000 --connections 4

Starts the service on a free port against the database of the settings in force (DATABASE_URL or the embedded server),
with teams, meters and a key of its own, sends events from this process, and counts what has landed. The bodies are made
before the clock starts; client, service and PostgreSQL share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import secrets
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "include"))

from metering import database, settings
from metering.ingestion.keys import create_api_key
from metering.processes.ports import free_port

TEAMS = 40


def prepare(url: str) -> str:
    """Make teams and a meter, and return an API key for all teams."""
    with database.connect(url) as connection:
        connection.execute(
            "INSERT INTO billing.teams (team_key, team_name, time_zone)"
            " SELECT 'bench-' || n, 'Bench ' || n, 'UTC' FROM generate_series(1, %s) AS n ON CONFLICT DO NOTHING",
            (TEAMS,),
        )
        connection.execute(
            "INSERT INTO billing.meters (meter_key, meter_name, event_name, aggregation, unit)"
            " VALUES ('bench', 'Bench', 'bench_call', 'sum', 'call') ON CONFLICT DO NOTHING"
        )
        return create_api_key(connection)


def bodies(events: int, batch: int, repeated: float) -> list[bytes]:
    """Make the bodies: events in the order of their time, a share of them sent before."""
    run, start = secrets.token_hex(4), datetime.now(UTC) - timedelta(hours=12)
    made: list[bytes] = []
    for first in range(0, events, batch):
        made.append(
            json.dumps(
                [
                    {
                        "team": f"bench-{number % TEAMS + 1}",
                        "event": "bench_call",
                        "idempotency_key": f"{run}-{number}",
                        "quantity": str(number % 7 + 1),
                        "time": (start + timedelta(milliseconds=number)).isoformat(),
                        "properties": {"endpoint": f"/v1/items/{number % 11}", "status": 200},
                    }
                    for number in (
                        place - batch if first and (place - first) < repeated * batch else place
                        for place in range(first, min(first + batch, events))
                    )
                ]
            ).encode()
        )
    return made


async def send(
    address: str, key: str, work: list[bytes], connections: int
) -> tuple[float, list[float], dict[str, int]]:
    """Send all bodies over so many connections; return seconds, each request's seconds, and the sum of the replies."""
    queue, latencies = iter(work), []
    tally = {"accepted": 0, "duplicate": 0, "quarantined": 0, "refused": 0}
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json", "prefer": "return=minimal"}
    async with httpx.AsyncClient(base_url=address, headers=headers, timeout=120) as client:

        async def one() -> None:
            for body in queue:
                while True:
                    started = time.perf_counter()
                    reply = await client.post("/api/usage/track", content=body)
                    latencies.append(time.perf_counter() - started)
                    if reply.status_code not in (429, 503):
                        break
                    await asyncio.sleep(float(reply.headers["retry-after"]))
                for name, count in reply.raise_for_status().json().items():
                    if name in tally:
                        tally[name] += count

        started = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(connections)))
        return time.perf_counter() - started, latencies, tally


def landing_backend(url: str) -> psutil.Process | None:
    """The server process on whose connection the service lands, where it runs on this machine."""
    with database.connect(url) as connection:
        found = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'billing-ingestion' ORDER BY backend_start DESC"
        ).fetchone()
    with contextlib.suppress(psutil.Error):
        return psutil.Process(found["pid"]) if found else None
    return None


async def main() -> None:
    """Run once and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--batch", type=int, default=1_000)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--repeated", type=float, default=0.0, help="the share of each batch that was sent before")
    parser.add_argument("--verbose", action="store_true", help="show the service's log: one line a transaction")
    arguments = parser.parse_args()
    url = settings.load().database_url
    key, port = prepare(url), free_port()
    service = subprocess.Popen(
        [sys.executable, "-m", "metering.ingestion", "--port", str(port)],
        env={**os.environ, "PYTHONPATH": sys.path[0], "DATABASE_URL": url},
        stdout=None if arguments.verbose else subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient() as client:
            for _ in range(100):
                try:
                    if (await client.get(f"{address}/health")).status_code == 200:
                        break
                except httpx.TransportError:
                    await asyncio.sleep(0.1)
        work = bodies(arguments.events, arguments.batch, arguments.repeated)
        await send(address, key, bodies(1_000, 100, 0), 2)  # connections, caches and partitions are there
        processes = {"client": psutil.Process(), "service": psutil.Process(service.pid)}
        if backend := landing_backend(url):
            processes["PostgreSQL"] = backend
        before = {name: sum(process.cpu_times()[:2]) for name, process in processes.items()}
        seconds, latencies, tally = await send(address, key, work, arguments.connections)
        spent = {name: sum(process.cpu_times()[:2]) - before[name] for name, process in processes.items()}
        memory = next(line for line in Path(f"/proc/{service.pid}/status").read_text().splitlines() if "VmHWM" in line)
        latencies.sort()
        print(
            f"{arguments.events} events in batches of {arguments.batch}, {arguments.connections} connections: {tally}"
        )
        print(f"{arguments.events / seconds:,.0f} events/s, {len(latencies) / seconds:,.0f} requests/s")
        print("processor: " + ", ".join(f"{n} {s / arguments.events * 1e6:.1f} µs/event" for n, s in spent.items()))
        p50, p99 = statistics.median(latencies), latencies[int(len(latencies) * 0.99)]
        print(f"p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms, the service's peak memory {memory.split()[1]} kB")
    finally:
        service.terminate()
        service.wait(30)


if __name__ == "__main__":
    asyncio.run(main())

"""The events that a measurement sends: made before the clock starts, the same for every way in.

Half of a messy workload has been sent before, nothing comes in the order of its time, and it lies in three months.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

TEAMS = 40
EVENT = "bench_call"
DAYS = 80
"""Of a messy workload; whenever it is run, they touch three months or four."""
_REGIONS = ("eu-central-1", "us-east-1", "ap-south-1")
_ENDPOINTS = [f"/v1/items/{number}" for number in range(97)]
_STATUSES = (200, 200, 200, 201, 404, 500)


class Workload:
    """So many events, made from a seed: the same ones each time."""

    def __init__(self, events: int, *, messy: bool = False) -> None:
        """Plan `events` events; nothing is made before it is asked for."""
        self.events = events
        self.messy = messy
        self._until = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)

    def batches(self, size: int) -> Iterator[list[dict[str, Any]]]:
        """The events in batches of `size`, as a sender would write them."""
        chance = random.Random(20261001)  # noqa: S311 - a workload, not a secret
        for first in range(0, self.events, size):
            places = range(first, min(first + size, self.events))
            yield [self._event(number) for number in self._numbers(places, chance)]

    def bodies(self, size: int) -> list[bytes]:
        """The batches as bodies of requests: JSON, of a single event without a list around it."""
        return [
            json.dumps(batch[0] if size == 1 else batch, separators=(",", ":")).encode() for batch in self.batches(size)
        ]

    def write(self, path: Path) -> None:
        """Write a file of the events, of the kind that its name's end says: csv, jsonl or parquet."""
        if path.suffix == ".parquet":
            self._write_parquet(path)
            return
        with path.open("wb") as file:
            file.writelines(self.rows() if path.suffix == ".csv" else self.lines())

    def _write_parquet(self, path: Path) -> None:
        # Nothing else here needs Arrow.
        import pyarrow as pa
        import pyarrow.parquet as pq

        fields = [(name, pa.string()) for name in ("team", "event", "idempotency_key")]
        fields += [("quantity", pa.decimal128(38, 12)), ("time", pa.timestamp("ms", "UTC"))]
        fields += [("properties.endpoint", pa.string()), ("properties.region", pa.string())]
        schema = pa.schema([*fields, ("properties.status", pa.int32())])
        with pq.ParquetWriter(path, schema) as file:
            for batch in self.batches(100_000):
                rows = [
                    {
                        **event,
                        "quantity": Decimal(event["quantity"]),
                        "time": datetime.fromisoformat(event["time"]),
                        **{f"properties.{name}": value for name, value in event["properties"].items()},
                    }
                    for event in batch
                ]
                file.write_table(pa.Table.from_pylist(rows, schema))

    def lines(self) -> Iterator[bytes]:
        """The events as JSON lines."""
        for batch in self.batches(1_000):
            yield b"".join(json.dumps(event, separators=(",", ":")).encode() + b"\n" for event in batch)

    def rows(self) -> Iterator[bytes]:
        """The events as CSV with a header."""
        yield b"team,event,idempotency_key,quantity,time,properties.endpoint,properties.region,properties.status\n"
        for batch in self.batches(1_000):
            yield "".join(
                f"{event['team']},{event['event']},{event['idempotency_key']},{event['quantity']},{event['time']},"
                + ",".join(str(value) for value in event["properties"].values())
                + "\n"
                for event in batch
            ).encode()

    def _numbers(self, places: range, chance: random.Random) -> list[int]:
        if not self.messy:
            return [*places]
        # Every other event repeats one that came no later than this batch.
        numbers = [place if place % 2 == 0 else 2 * chance.randrange(places.stop // 2 + 1) for place in places]
        numbers = [number if number < self.events else 0 for number in numbers]
        chance.shuffle(numbers)
        return numbers

    def _event(self, number: int) -> dict[str, Any]:
        chance = number * 0x9E3779B97F4A7C15 % 2**64  # the same for the same number, and like no other
        if self.messy:
            time = self._until - timedelta(milliseconds=chance % (DAYS * 86_400_000))
        else:
            time = self._until - timedelta(milliseconds=self.events - number)
        return {
            "team": f"bench-{number % TEAMS + 1}",
            "event": EVENT,
            "idempotency_key": f"req-{chance >> 32:08x}-{number}",
            "quantity": str((chance >> 16) % 5_000 + 1),
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "properties": {
                "endpoint": _ENDPOINTS[(chance >> 8) % len(_ENDPOINTS)],
                "region": _REGIONS[(chance >> 24) % len(_REGIONS)],
                "status": _STATUSES[(chance >> 40) % len(_STATUSES)],
            },
        }

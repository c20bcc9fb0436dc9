"""Measurements to a StatsD server, or a DogStatsD agent, by UDP.

Lines of the protocol are packed into datagrams that fit an Ethernet frame. Counts are added up between two flushes, and
of durations at most `MAX_SAMPLES` are sent of each, chosen at random, with their rate. What can't be sent is gone.

The protocol: https://github.com/statsd/statsd/blob/master/docs/metric_types.md, and for tags
https://docs.datadoghq.com/developers/dogstatsd/datagram_shell.
"""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from metering.ingestion.metrics import PREFIX, Gauges

DATAGRAM = 1432
"""Bytes of a datagram: an Ethernet frame less the headers of IP and UDP, as StatsD servers recommend."""
MAX_SAMPLES = 1000

Tags = tuple[tuple[str, str], ...]
Flavour = Literal["dogstatsd", "statsd"]


class StatsD:
    """A `metrics.Sink` that sends to a StatsD server. Plain StatsD has no tags: their values are added to the name."""

    def __init__(self, host: str, port: int, flavour: Flavour = "dogstatsd") -> None:
        """Send to `host` and `port`, which are looked up at every flush: the server may come and move."""
        self._address = (host, port)
        self._flavour = flavour
        self._lock = threading.Lock()
        self._gauges: Gauges = {}
        self._counts: dict[tuple[str, Tags], int] = {}
        self._durations: dict[tuple[str, Tags], _Sample] = {}

    def begin(self, gauges: Gauges) -> None:
        """See `metrics.Sink`."""
        self._gauges = gauges

    def count(self, name: str, number: int, tags: Mapping[str, str]) -> None:
        """See `metrics.Sink`."""
        key = name, tuple(tags.items())
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + number

    def duration(self, name: str, seconds: float, tags: Mapping[str, str]) -> None:
        """See `metrics.Sink`."""
        key = name, tuple(tags.items())
        with self._lock:
            sample = self._durations.get(key)
            if sample is None:
                sample = self._durations[key] = _Sample()
            sample.add(seconds * 1000)

    def flush(self) -> None:
        """See `metrics.Sink`."""
        with self._lock:
            counts, self._counts = self._counts, {}
            durations, self._durations = self._durations, {}
        lines = [self._line(name, number, "c", tags) for (name, tags), number in counts.items()]
        for (name, tags), sample in durations.items():
            rate = "" if sample.seen == len(sample.kept) else f"|@{len(sample.kept) / sample.seen:.6f}"
            lines += [self._line(name, f"{milliseconds:.3f}", f"ms{rate}", tags) for milliseconds in sample.kept]
        lines += [self._line(name, f"{value():g}", "g", ()) for name, value in self._gauges.items()]
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(*self._address, type=socket.SOCK_DGRAM)[0]
            with socket.socket(family, kind, protocol) as sender:
                for datagram in _datagrams(lines):
                    sender.sendto(datagram, address)
        except OSError:
            pass  # it is away; what counts is in the database

    def close(self) -> None:
        """See `metrics.Sink`."""
        self.flush()

    def _line(self, name: str, value: int | str, kind: str, tags: Tags) -> bytes:
        if self._flavour == "dogstatsd":
            told = f"|#{','.join(f'{tag}:{_plain(text)}' for tag, text in tags)}" if tags else ""
            return f"{PREFIX}{name}:{value}|{kind}{told}".encode()
        named = ".".join([name, *(_plain(text) for _, text in tags)])
        return f"{PREFIX}{named}:{value}|{kind}".encode()


class _Sample:
    """As many as may be of what was added, each with the same chance (Vitter's algorithm R)."""

    def __init__(self) -> None:
        self.kept: list[float] = []
        self.seen = 0

    def add(self, value: float) -> None:
        self.seen += 1
        if len(self.kept) < MAX_SAMPLES:
            self.kept.append(value)
            return
        place = random.randrange(self.seen)  # noqa: S311 - a sample, not a secret
        if place < MAX_SAMPLES:
            self.kept[place] = value


def _plain(text: str) -> str:
    """Letters, digits, and what means nothing to the protocol: `POST /api/usage/track` is `post_api_usage_track`."""
    return "_".join("".join(letter if letter.isalnum() else " " for letter in text.lower()).split())


def _datagrams(lines: Iterable[bytes]) -> Iterator[bytes]:
    packed: list[bytes] = []
    size = 0
    for line in lines:
        if packed and size + len(line) > DATAGRAM:
            yield b"\n".join(packed)
            packed, size = [], 0
        packed.append(line)
        size += len(line) + 1
    if packed:
        yield b"\n".join(packed)

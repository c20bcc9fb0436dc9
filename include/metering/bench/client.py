"""A client that costs as little as one can in Python, since it shares the machine with what it measures.

Requests are made beforehand; each connection sends its next one when the last has been answered. 429 and 503 are obeyed
as a good sender does: the same request again, after the seconds that the reply names.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import httptools
import msgspec
import uvloop

from metering.errors import BillingError


class _Counts(msgspec.Struct):
    """What a reply says of all its events."""

    accepted: int
    duplicate: int
    quarantined: int
    refused: int


_counts = msgspec.json.Decoder(_Counts).decode


@dataclass
class Sent:
    """What became of a run."""

    seconds: float = 0.0
    requests: int = 0
    """Answered with 200."""
    again: int = 0
    """Requests that were told to come again later."""
    tally: Counter[str] = field(default_factory=Counter)
    """Events by what the replies say of them."""
    latencies: list[float] = field(default_factory=list)
    """Seconds from each request to its reply, sorted."""

    def percentile(self, share: float) -> float:
        """The latency that this share of the requests stayed within."""
        return self.latencies[min(int(len(self.latencies) * share), len(self.latencies) - 1)] if self.latencies else 0.0


def send(port: int, key: str, bodies: Sequence[bytes], connections: int, seconds: float | None) -> Sent:
    """Send all bodies over so many connections, or as many as can be begun within `seconds`."""
    head = (
        f"POST /api/usage/track HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {key}\r\n"
        "content-type: application/json\r\nprefer: return=minimal\r\ncontent-length: "
    ).encode()
    requests = [b"%b%d\r\n\r\n%b" % (head, len(body), body) for body in bodies]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_send(port, requests, connections, seconds))


async def _send(port: int, requests: Sequence[bytes], connections: int, seconds: float | None) -> Sent:
    sent, loop = Sent(), asyncio.get_running_loop()
    begun = time.perf_counter()
    queue = iter(requests) if seconds is None else _until(begun + seconds, requests)
    open_ones: list[_Connection] = []
    for _ in range(min(connections, len(requests))):
        _, connection = await loop.create_connection(lambda: _Connection(queue, sent), "127.0.0.1", port)
        open_ones.append(connection)
    begun = time.perf_counter()
    for connection in open_ones:
        connection.send_next()
    try:
        await asyncio.gather(*(connection.done for connection in open_ones))
    finally:
        for connection in open_ones:
            connection.close()
    sent.seconds = time.perf_counter() - begun
    sent.latencies.sort()
    return sent


def _until(end: float, requests: Sequence[bytes]) -> Iterator[bytes]:
    for request in requests:
        if time.perf_counter() > end:
            return
        yield request


class _Connection(asyncio.Protocol):
    """One connection, and the request that it waits for."""

    def __init__(self, queue: Iterator[bytes], sent: Sent) -> None:
        self.done = asyncio.get_running_loop().create_future()
        self._queue, self._sent = queue, sent
        self._transport: asyncio.WriteTransport | None = None
        self._request, self._begun = b"", 0.0
        self._renew()

    def send_next(self) -> None:
        """Send the next request, if there is one."""
        self._request = next(self._queue, b"")
        if self._request:
            self._send()
        elif not self.done.done():
            self.done.set_result(None)

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def _renew(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._body, self._wait = b"", 1.0

    def _send(self) -> None:
        assert self._transport is not None
        self._begun = time.perf_counter()
        self._transport.write(self._request)

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is one, and does not say so

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, _: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(
                BillingError("The service closed a connection before it replied.", "Read its log with --verbose.")
            )

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"retry-after":
            self._wait = float(value)

    def on_body(self, part: bytes) -> None:
        self._body += part

    def on_message_complete(self) -> None:
        status, body, wait = self._parser.get_status_code(), self._body, self._wait
        self._renew()
        if status == 200:
            self._sent.latencies.append(time.perf_counter() - self._begun)
            self._sent.requests += 1
            counts = _counts(body)
            for name in _Counts.__struct_fields__:
                self._sent.tally[name] += getattr(counts, name)
            self.send_next()
        elif status in (429, 503):
            self._sent.again += 1
            asyncio.get_running_loop().call_later(wait, self._send)
        elif not self.done.done():
            said = body[:200].decode(errors="replace")
            self.done.set_exception(BillingError(f"The service replied {status}: {said}", "Nothing was measured."))

"""The body of a request, read in bounded time and memory."""

from __future__ import annotations

import asyncio
import types

from starlette.requests import Request

from metering.ingestion.body import MAX_BYTES
from metering.ingestion.headers import header
from metering.ingestion.queue import QueueFull
from metering.ingestion.replies import Refusal

BODY_SECONDS = 30
"""How long a sender may take to send its body."""
MAX_BYTES_HELD = 256 * 1024 * 1024
"""Bytes of all bodies that are being worked on."""


class Bodies:
    """All bodies that are in hand: how many bytes they are together is bounded."""

    def __init__(self) -> None:
        """Hold none."""
        self.bytes_held = 0

    def hold(self, request: Request) -> HeldBody:
        """For `async with`: what is read counts until the end of the block."""
        return HeldBody(self, request)


class HeldBody:
    """The body of one request, while it is worked on."""

    def __init__(self, bodies: Bodies, request: Request) -> None:
        """See `Bodies.hold`."""
        self._bodies = bodies
        self._request = request
        self._size = 0

    async def __aenter__(self) -> HeldBody:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self._bodies.bytes_held -= self._size

    async def read(self) -> bytes:
        """Read it as it was sent. Raises `Refusal` (too large, too slow), or `QueueFull` where too much is in hand."""
        said = header(self._request, "content-length")
        if said is not None and int(said) > MAX_BYTES:  # the server has seen to it that it is a number
            raise _too_large()
        chunks: list[bytes] = []
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for chunk in self._request.stream():
                    self._size += len(chunk)
                    self._bodies.bytes_held += len(chunk)
                    if self._size > MAX_BYTES:
                        raise _too_large()
                    if self._bodies.bytes_held > MAX_BYTES_HELD:
                        raise QueueFull
                    chunks.append(chunk)
        except TimeoutError:
            message = f"The body did not arrive within {BODY_SECONDS} seconds."
            raise Refusal(408, "too_slow", message) from None
        return b"".join(chunks)


def _too_large() -> Refusal:
    # What was not read can't be passed over to reach a next request.
    message = f"The body has more than {MAX_BYTES} bytes."
    return Refusal(413, "body_too_large", message, headers={"connection": "close"})

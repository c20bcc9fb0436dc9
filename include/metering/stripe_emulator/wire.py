"""What goes wrong below HTTP: connections that reset, bodies that stop midway, replies that never come."""

import asyncio
import os
import socket
import struct

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_EXTENSION = "metering.transport"
# SO_LINGER on with a timeout of zero seconds makes close() send RST in place of FIN.
_LINGER_ZERO = struct.pack("ii", 1, 0)


class Protocol(HttpToolsProtocol):
    """HTTP/1.1 that shows the application its connection, which ASGI keeps to itself."""

    def on_message_begin(self) -> None:
        """Begin a request whose scope carries the transport."""
        super().on_message_begin()
        self.scope["extensions"] = {_EXTENSION: {"transport": self.transport}}


def _transport(scope: Scope) -> asyncio.Transport:
    transport: asyncio.Transport = scope["extensions"][_EXTENSION]["transport"]
    return transport


class Reset(Response):
    """The connection is reset; the client cannot know whether anything happened."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport = _transport(scope)
        # A duplicate of the descriptor reaches the option whatever the event loop wraps the socket in.
        with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
            transport.abort()
        await _gone(receive)


class CutBody(Response):
    """Headers promise a body, half of it arrives, then the connection ends."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        half = bytes(self.body[: len(self.body) // 2])
        await send({"type": "http.response.body", "body": half, "more_body": True})
        _transport(scope).close()
        await _gone(receive)


class Hang(Response):
    """Nothing is answered. The connection is reset after some seconds, unless the client has left before."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.wait_for(_gone(receive), self._seconds)
        except TimeoutError:
            await Reset()(scope, receive, send)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

"""HTTP on one connection, as uvicorn speaks it, with bounds on what comes before a request is anybody's to refuse."""

from __future__ import annotations

import asyncio
from asyncio.events import TimerHandle

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

MAX_HEADER_BYTES = 32 * 1024
"""Of the request line and all headers together."""
MAX_HEADERS = 100
HEADER_SECONDS = 10.0
"""How long a sender may take from the first byte of a request to the last of its headers."""


class BoundedHttp(HttpToolsProtocol):
    """Refuses headers that are enormous, too many or too slow, and says in JSON what is not HTTP."""

    _in_headers = False
    _header_bytes = 0
    _too_large = False
    _header_timer: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """A connection on which nothing ever comes is not kept longer than one on which nothing comes any more."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and watch headers that did not come whole."""
        super().data_received(data)
        if self._in_headers:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self._too_large = True
                self.send_400_response("")
            elif self._header_timer is None:
                self._header_timer = self.loop.call_later(HEADER_SECONDS, self._headers_are_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._have_headers()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_headers = True

    def on_headers_complete(self) -> None:
        """A request has all its headers; what is raised here is answered by `send_400_response`."""
        self._have_headers()
        size = len(self.url)
        for name, value in self.headers:
            size += len(name) + len(value)
        if size > MAX_HEADER_BYTES or len(self.headers) > MAX_HEADERS:
            self._too_large = True
            raise ValueError("too large")
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Say in JSON that this is not HTTP, or too much of it, and hang up."""
        if self.transport.is_closing():
            return
        status, code, message = 400, "bad_request", "This is not a valid HTTP request."
        if self._too_large:
            status, code = 431, "headers_too_large"
            message = f"The headers have more than {MAX_HEADER_BYTES} bytes, or are more than {MAX_HEADERS}."
        content = msgspec.json.encode({"error": {"code": code, "message": message}})
        head = f"content-type: application/json\r\ncontent-length: {len(content)}\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head.encode() + content)
        self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """Nobody needs to know: the request is answered as if it had not asked for another protocol."""

    def _have_headers(self) -> None:
        self._in_headers = False
        self._header_bytes = 0
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _headers_are_late(self) -> None:
        self._header_timer = None
        self.transport.close()

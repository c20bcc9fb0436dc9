"""HTTP on one connection, as uvicorn speaks it, with bounds on what comes before a request is anybody's to refuse."""

from __future__ import annotations

import asyncio
from asyncio.events import TimerHandle
from functools import partial

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from metering.ingestion.express import Express, Headers

MAX_HEADER_BYTES = 32 * 1024
"""Of the request line and all headers together."""
MAX_HEADERS = 100
HEADER_SECONDS = 10.0
"""How long a sender may take from the first byte of a request to the last of its headers."""
BODY_SECONDS = 1.0
"""How long the express way waits for a body; the ordinary one, which comes then, waits for longer."""


class BoundedHttp(HttpToolsProtocol):
    """Refuses headers that are enormous, too many or too slow, and says in JSON what is not HTTP.

    What the express way takes is answered here; everything else is uvicorn's to hand to the application.
    """

    _in_headers = False
    _header_bytes = 0
    _too_large = False
    _header_timer: TimerHandle | None = None
    _parts: list[bytes] | None = None
    """What has come of a body that may go the express way."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """A connection on which nothing ever comes is not kept longer than one on which nothing comes any more."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and watch headers that did not come whole."""
        super().data_received(data)
        if self._parts is not None and self._header_timer is None:
            self._header_timer = self.loop.call_later(BODY_SECONDS, self._go_the_ordinary_way)
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
        if self._may_be_express():
            self._parts = []
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        if self._parts is None:
            super().on_body(body)
        else:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        """A request has come whole."""
        if self._parts is None:
            super().on_message_complete()
            return
        self._have_headers()
        answer = _Answer(keep_alive=self.parser.should_keep_alive())
        if self._express.take(self.headers, b"".join(self._parts), partial(self._reply, answer)):
            self._parts = None
            self.cycle = answer  # type: ignore[assignment] # it has all that is asked of it
        else:
            self._go_the_ordinary_way()
            super().on_message_complete()

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

    @property
    def _express(self) -> Express:
        express: Express = self.app_state["express"]
        return express

    def _may_be_express(self) -> bool:
        return (
            "express" in self.app_state
            and (self.cycle is None or self.cycle.response_complete)
            and not self.flow.write_paused
            and not self.parser.should_upgrade()
            and self.parser.get_http_version() == "1.1"
            and self._express.may_take(self.parser.get_method(), self.url, self.headers)
        )

    def _go_the_ordinary_way(self) -> None:
        self._have_headers()
        parts, self._parts = self._parts, None
        super().on_headers_complete()
        for part in parts or ():
            super().on_body(part)

    def _reply(self, answer: _Answer, status: int, headers: Headers, body: bytes) -> None:
        answer.response_complete = True
        if answer.disconnected or self.transport.is_closing():
            return
        said = [*self.server_state.default_headers, *headers, (b"content-length", b"%d" % len(body))]
        if not answer.keep_alive:
            said.append((b"connection", b"close"))
        lines = b"".join([b"%b: %b\r\n" % header for header in said])
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[status], lines, body))
        if not answer.keep_alive:
            self.transport.close()
        self.on_response_complete()

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


class _Nobody:
    """Who waits to be told that the connection is gone."""

    def set(self) -> None:
        """Nothing waits."""


class _Answer:
    """A request that is being answered, as far as uvicorn asks about one."""

    # Of all alike: one that held itself would be left to the collector of cycles, which hardly ever runs.
    message_event = _Nobody()

    def __init__(self, *, keep_alive: bool) -> None:
        self.keep_alive = keep_alive
        self.response_complete = self.disconnected = False

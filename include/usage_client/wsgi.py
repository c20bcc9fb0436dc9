"""Meter the calls of a WSGI application (Flask, Django, Bottle, Pyramid ...)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Unpack

from usage_client.base import BaseClient
from usage_client.calls import Call, CallMeter, CallOptions

Environ = dict[str, Any]
ErrorInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
Write = Callable[[bytes], object]
StartResponse = Callable[..., Write]
App = Callable[[Environ, StartResponse], Iterable[bytes]]

ENDPOINT = "usage_client.endpoint"
"""Where an application may say the template of its route, in the environ."""


class UsageMiddleware:
    """Tracks each call when its answer is sent in full, has failed, or its caller has gone.

    What the answer streams is passed on as it comes. Files that the server sends by itself (`wsgi.file_wrapper`) are
    left to it; such a call is tracked when it is handed over.
    """

    def __init__(self, app: App, usage: BaseClient, **options: Unpack[CallOptions]) -> None:
        self._app = app
        self._meter = CallMeter(usage, **options)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer as the application does."""
        path = f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}"
        call = Call(environ, environ.get("REQUEST_METHOD", "GET"), path)

        def watch(status: str, headers: list[tuple[str, str]], *error: ErrorInfo) -> Write:
            code = status[:3]
            call.status = int(code) if code.isdigit() else None
            # Flask forgets its request when its own work is done, before the answer is sent.
            call.endpoint = template(environ) or call.endpoint
            return start_response(status, headers, *error)

        def over(error: BaseException | None = None) -> None:
            call.end(error)
            self._meter.track(call, lambda: template(environ) or call.endpoint)

        try:
            answer = self._app(environ, watch)
        except BaseException as error:
            over(error)
            raise
        wrapper = environ.get("wsgi.file_wrapper")
        if isinstance(wrapper, type) and isinstance(answer, wrapper):
            over()
            return answer
        return _Watched(answer, over)


class _Watched:
    """An answer, passed on piece by piece, that says when it is over: at its `close`, which servers always call."""

    def __init__(self, answer: Iterable[bytes], over: Callable[[BaseException | None], None]) -> None:
        self._answer = answer
        self._pieces: Iterator[bytes] | None = None
        self._over = over
        self._error: BaseException | None = None
        self._ended = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __len__(self) -> int:
        # Servers make a Content-Length of an answer in one piece. Where the answer has no length, neither has this.
        return len(self._answer)  # type: ignore[arg-type] # its TypeError is the answer's own

    def __next__(self) -> bytes:
        try:
            if self._pieces is None:
                self._pieces = iter(self._answer)
            return next(self._pieces)
        except StopIteration:
            raise
        except BaseException as error:
            self._error = error
            raise

    def close(self) -> None:
        try:
            close = getattr(self._answer, "close", None)
            if close is not None:
                close()
        except BaseException as error:
            self._error = self._error or error
            raise
        finally:
            if not self._ended:
                self._ended = True
                self._over(self._error)


def template(environ: Environ) -> str | None:
    """The template of the route that took the call: the application's word, or Flask's, Bottle's or Pyramid's."""
    said = environ.get(ENDPOINT)
    if said is not None:
        return str(said)
    # Werkzeug's request, of which Flask makes its own; it has a rule once it was routed.
    rule = getattr(getattr(environ.get("werkzeug.request"), "url_rule", None), "rule", None)
    if rule is None:
        rule = getattr(environ.get("bottle.route"), "rule", None)
    return None if rule is None else f"{environ.get('SCRIPT_NAME', '')}{rule}"

"""Calls of real WSGI applications, served over sockets, become usage."""

from __future__ import annotations

import contextlib
import io
import threading
import wsgiref.validate
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import flask
import httpx

from usage_client import UsageClient
from usage_client.wsgi import UsageMiddleware

Server = Any
Until = Callable[..., None]


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""

    def get_stderr(self) -> Any:
        return io.StringIO()


class _Threading(ThreadingMixIn, WSGIServer):
    """Waits at its close for what it still serves: a call is metered when all of its answer is given, and closed."""


@contextlib.contextmanager
def served(app: Any) -> Iterator[str]:
    """The application behind wsgiref's server, and its validator before it."""
    server = make_server("127.0.0.1", 0, app, server_class=_Threading, handler_class=_Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def shop() -> flask.Flask:
    app = flask.Flask("shop")

    @app.get("/items/<int:number>")
    def item(number: int) -> dict[str, int]:
        flask.request.environ["shop.team"] = flask.request.headers.get("x-team")
        return {"number": number}

    @app.get("/broken")
    def broken() -> str:
        raise LookupError("nobody home")

    @app.get("/slowly")
    def slowly() -> flask.Response:
        def pieces() -> Iterator[bytes]:
            for number in range(4):
                yield f"{number}\n".encode()
                threading.Event().wait(0.05)
            if "break" in flask.request.args:
                raise LookupError("half-way")

        return flask.Response(flask.stream_with_context(pieces()))

    return app


def test_a_call_is_metered_by_its_route_method_status_and_duration(
    server: Server, usage: UsageClient, http: httpx.Client
) -> None:
    app = UsageMiddleware(shop(), usage, team=lambda call: call.context.get("shop.team"))
    with served(app) as url:
        reply = http.get(f"{url}/items/7?page=2", headers={"x-team": "acme"})
        assert reply.json() == {"number": 7}
        assert "content-length" in reply.headers
        http.post(f"{url}/items/8")
        http.get(f"{url}/wp-admin.php")
    got = server.told_by(usage)
    assert [
        (event.get("team"), *(event["properties"][name] for name in ("endpoint", "method", "status"))) for event in got
    ] == [
        ("acme", "/items/<int:number>", "GET", 200),
        (None, "(unmatched)", "POST", 405),
        (None, "(unmatched)", "GET", 404),
    ]
    assert all(0 < Decimal(event["properties"]["duration_ms"]) < 60_000 for event in got)


def test_an_exception_in_flask_is_its_500(server: Server, usage: UsageClient, http: httpx.Client) -> None:
    with served(UsageMiddleware(shop(), usage)) as url:
        assert http.get(f"{url}/broken").status_code == 500
    (call,) = server.told_by(usage)
    assert (call["properties"]["endpoint"], call["properties"]["status"]) == ("/broken", 500)


def test_a_stream_passes_piece_by_piece_and_its_whole_duration_counts(
    server: Server, usage: UsageClient, http: httpx.Client
) -> None:
    with served(UsageMiddleware(shop(), usage)) as url:
        with http.stream("GET", f"{url}/slowly") as reply:
            pieces = list(reply.iter_raw())
        assert len(pieces) > 1
        assert b"".join(pieces) == b"0\n1\n2\n3\n"
        http.get(f"{url}/slowly?break=1")
    whole, cut = server.told_by(usage)
    assert Decimal(whole["properties"]["duration_ms"]) >= 200
    assert (whole["properties"]["status"], whole["properties"].get("error")) == (200, None)
    assert (cut["properties"]["status"], cut["properties"]["error"]) == (200, "LookupError")


def test_a_caller_that_goes_away_has_called(
    server: Server, usage: UsageClient, until: Until, http: httpx.Client
) -> None:
    def endless(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("content-type", "text/plain")])
        while True:
            yield b"x" * 65536

    with served(UsageMiddleware(endless, usage, endpoint=lambda call: "/endless")) as url:
        with http.stream("GET", url) as reply:
            next(reply.iter_raw())
        until(lambda: usage.tally.tracked == 1)
    (call,) = server.told_by(usage)
    assert (call["properties"]["endpoint"], call["properties"]["status"]) == ("/endless", 200)


def test_an_exception_before_the_answer_is_metered_and_raised_all_the_same(
    server: Server, usage: UsageClient, http: httpx.Client
) -> None:
    def broken(environ: Any, start_response: Any) -> Iterable[bytes]:
        raise LookupError("nobody home")

    with served(UsageMiddleware(broken, usage)) as url:
        assert http.get(url).status_code == 500
    (call,) = server.told_by(usage)
    assert (call["properties"]["status"], call["properties"]["error"]) == (500, "LookupError")


def test_an_answer_that_changes_its_mind_counts_with_its_last_status(
    server: Server, usage: UsageClient, http: httpx.Client
) -> None:
    def unsure(environ: Any, start_response: Any) -> Iterable[bytes]:
        import sys

        start_response("200 OK", [("content-type", "text/plain")])
        try:
            raise LookupError
        except LookupError:
            start_response("503 Not now", [("content-type", "text/plain")], sys.exc_info())
        return [b"not now"]

    with served(UsageMiddleware(unsure, usage)) as url:
        reply = http.get(url)
        assert (reply.status_code, reply.headers["content-length"]) == (503, "7")
    (call,) = server.told_by(usage)
    assert call["properties"]["status"] == 503


def test_the_middleware_keeps_the_rules_of_wsgi(server: Server, usage: UsageClient, http: httpx.Client) -> None:
    """Python's own validator stands on both sides of it."""
    closed = []

    class Answer:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"a", b"b"])

        def close(self) -> None:
            closed.append(True)

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        write = start_response("200 OK", [("content-type", "text/plain")])
        write(b"first ")
        return Answer()

    inner: Any = wsgiref.validate.validator(app)
    outer: Any = wsgiref.validate.validator(UsageMiddleware(inner, usage, endpoint=lambda call: "/x"))
    with served(outer) as url:
        assert http.get(url).text == "first ab"
    assert closed == [True]
    assert len(server.told_by(usage)) == 1


def test_a_file_is_left_to_the_server(server: Server, usage: UsageClient, http: httpx.Client) -> None:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("content-type", "text/plain"), ("content-length", "5")])
        answer: Iterable[bytes] = environ["wsgi.file_wrapper"](io.BytesIO(b"hello"))
        return answer

    with served(UsageMiddleware(app, usage, skip=lambda call: call.method == "HEAD")) as url:
        assert http.get(url).text == "hello"
        http.head(url)
    assert len(server.told_by(usage)) == 1

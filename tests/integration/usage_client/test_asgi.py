"""Calls of a real ASGI application, served by uvicorn over sockets, become usage."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from metering.processes.ports import free_port
from usage_client import AsyncUsageClient, UsageClient
from usage_client.asgi import UsageMiddleware

Server = Any
Start = Callable[..., Any]
Until = Callable[..., None]


async def item(request: Request) -> JSONResponse:
    request.state.team = request.headers.get("x-team")
    return JSONResponse({"id": request.path_params["id"]}, 201 if request.method == "POST" else 200)


async def broken(request: Request) -> JSONResponse:
    raise LookupError("nobody home")


async def slowly(request: Request) -> StreamingResponse:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(4):
            yield f"{number}\n".encode()
            await asyncio.sleep(0.05)
        if "break" in request.query_params:
            raise LookupError("half-way")

    return StreamingResponse(pieces())


async def endlessly(request: Request) -> StreamingResponse:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000
            await asyncio.sleep(0.01)

    return StreamingResponse(pieces())


async def socket_of(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close()


async def health(request: Request) -> PlainTextResponse:
    return PlainTextResponse("ready")


def shop() -> Starlette:
    return Starlette(
        routes=[
            Route("/items/{id:int}", item, methods=["GET", "POST"]),
            Route("/broken", broken),
            Route("/slowly", slowly),
            Route("/endlessly", endlessly),
            Route("/health", health),
            Mount("/shops/{shop}", routes=[Route("/items/{id}", item)]),
            WebSocketRoute("/socket", socket_of),
        ]
    )


@contextlib.contextmanager
def served(app: Any) -> Iterator[str]:
    """The application behind uvicorn, in a thread."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", ws="none", timeout_graceful_shutdown=2))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def test_a_call_is_metered_by_its_route_method_status_and_duration(
    server: Server, usage: UsageClient, http: httpx.Client
) -> None:
    with served(UsageMiddleware(shop(), usage, team=lambda call: call.context["state"].get("team"))) as url:
        http.get(f"{url}/items/7?page=2", headers={"x-team": "acme"})
        http.post(f"{url}/items/8", headers={"x-team": "globex"})
        http.delete(f"{url}/items/8")
        http.get(f"{url}/shops/berlin/items/9")
        http.get(f"{url}/wp-admin.php")
    got = server.told_by(usage)
    assert [
        (event.get("team"), *(event["properties"][name] for name in ("endpoint", "method", "status"))) for event in got
    ] == [
        ("acme", "/items/{id}", "GET", 200),
        ("globex", "/items/{id}", "POST", 201),
        (None, "/items/{id}", "DELETE", 405),
        (None, "/shops/{shop}/items/{id}", "GET", 200),
        (None, "(unmatched)", "GET", 404),
    ]
    assert {event["event"] for event in got} == {"api_request"}
    assert {event["quantity"] for event in got} == {"1"}
    assert all(0 < Decimal(event["properties"]["duration_ms"]) < 60_000 for event in got)
    assert len({event["idempotency_key"] for event in got}) == 5


def test_an_exception_is_metered_and_raised_all_the_same(
    server: Server, usage: UsageClient, http: httpx.Client
) -> None:
    app = shop()
    app.add_middleware(UsageMiddleware, usage=usage)
    with served(app) as url:
        assert http.get(f"{url}/broken").status_code == 500
    (call,) = server.told_by(usage)
    assert (call["properties"]["status"], call["properties"]["error"]) == (500, "LookupError")
    assert call["properties"]["endpoint"] == "/broken"


def test_a_stream_passes_piece_by_piece_and_its_whole_duration_counts(
    server: Server, usage: UsageClient, http: httpx.Client
) -> None:
    with served(UsageMiddleware(shop(), usage)) as url:
        with http.stream("GET", f"{url}/slowly") as reply:
            pieces = list(reply.iter_raw())
        assert len(pieces) > 1
        assert b"".join(pieces) == b"0\n1\n2\n3\n"
        with pytest.raises(httpx.RemoteProtocolError), http.stream("GET", f"{url}/slowly?break=1") as reply:
            reply.read()
    whole, cut = server.told_by(usage)
    assert Decimal(whole["properties"]["duration_ms"]) >= 200
    assert (whole["properties"]["status"], whole["properties"].get("error")) == (200, None)
    assert (cut["properties"]["status"], cut["properties"]["error"]) == (200, "LookupError")


def test_a_caller_that_goes_away_has_called(
    server: Server, usage: UsageClient, until: Until, http: httpx.Client
) -> None:
    with served(UsageMiddleware(shop(), usage)) as url:
        with http.stream("GET", f"{url}/endlessly") as reply:
            next(reply.iter_raw())
        until(lambda: usage.tally.tracked == 1)
    (call,) = server.told_by(usage)
    assert (call["properties"]["endpoint"], call["properties"]["status"]) == ("/endlessly", 200)


def test_what_is_told_about_calls_goes_along_and_some_are_no_usage(
    server: Server, usage: UsageClient, http: httpx.Client
) -> None:
    middleware = UsageMiddleware(
        shop(),
        usage,
        event="call",
        unit="request",
        subject=lambda call: "user-7",
        properties=lambda call: {"plan": "gold"},
        request_id=lambda call: dict(call.context["headers"]).get(b"x-gateway-id", b"").decode(),
        skip={"/health"},
    )
    with served(middleware) as url:
        http.get(f"{url}/health")
        http.get(f"{url}/items/1", headers={"x-gateway-id": "g-1"})
        http.get(f"{url}/items/1")
    first, second = server.told_by(usage)
    assert (first["event"], first["unit"], first["subject"]) == ("call", "request", "user-7")
    assert first["properties"]["plan"] == "gold"
    assert first["idempotency_key"] == "g-1"
    assert second["idempotency_key"].startswith("call-")


def test_a_mistake_in_what_is_asked_breaks_no_call_and_is_counted(
    server: Server, usage: UsageClient, http: httpx.Client
) -> None:
    with served(UsageMiddleware(shop(), usage, team=lambda call: call.context["nothing"])) as url:
        assert http.get(f"{url}/items/1").status_code == 200
    assert (usage.tally.tracked, usage.tally.dropped) == (0, 1)


def test_fastapi_routes_and_their_prefixes_are_known(server: Server, usage: UsageClient, http: httpx.Client) -> None:
    app = FastAPI()
    router = APIRouter(prefix="/v1")

    @router.get("/users/{user_id}/orders/{order_id}")
    async def order(user_id: int, order_id: str) -> dict[str, object]:
        return {"user": user_id, "order": order_id}

    app.include_router(router)
    inner = FastAPI()

    @inner.get("/reports/{name}")
    def report(name: str) -> dict[str, str]:
        return {"name": name}

    app.mount("/inner", inner)
    app.add_middleware(UsageMiddleware, usage=usage)
    with served(app) as url:
        http.get(f"{url}/v1/users/7/orders/x")
        http.get(f"{url}/v1/users/seven/orders/x")
        http.get(f"{url}/inner/reports/x")
    got = [(event["properties"]["endpoint"], event["properties"]["status"]) for event in server.told_by(usage)]
    assert got == [
        ("/v1/users/{user_id}/orders/{order_id}", 200),
        ("/v1/users/{user_id}/orders/{order_id}", 422),
        ("/inner/reports/{name}", 200),
    ]


async def test_an_application_may_say_its_template_itself(server: Server) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["usage_client.endpoint"] = "/said/{so}"
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async with AsyncUsageClient(server.url, "bk_secret") as usage:
        transport = httpx.ASGITransport(UsageMiddleware(app, usage))
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as http:
            assert (await http.get("/said/7")).status_code == 204
    (call,) = server.kept.values()
    assert (call["properties"]["endpoint"], call["properties"]["status"]) == ("/said/{so}", 204)


async def test_a_call_that_is_cancelled_before_its_answer_is_one_whose_caller_has_gone(server: Server) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(60)

    async with AsyncUsageClient(server.url, "bk_secret") as usage:
        task = asyncio.create_task(
            UsageMiddleware(app, usage)({"type": "http", "method": "GET", "path": "/"}, None, None)  # type: ignore[arg-type] # not used
        )
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    (call,) = server.kept.values()
    assert (call["properties"]["status"], call["properties"]["error"]) == (499, "CancelledError")


@pytest.mark.parametrize("ending", ["SIGTERM", "SIGINT"])
def test_a_server_that_is_ended_flushes_first(
    server: Server, start: Start, until: Until, tmp_path: Path, ending: str, http: httpx.Client
) -> None:
    """Uvicorn ends by the signal it was sent: nothing of Python's own runs afterwards."""
    import signal

    (tmp_path / "shop.py").write_text(
        """
import os
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from usage_client import UsageClient
from usage_client.asgi import UsageMiddleware
usage = UsageClient(os.environ["USAGE_URL"], "bk_secret", flush_seconds=60)
app = Starlette(routes=[Route("/{name}", lambda request: PlainTextResponse("hello"))])
app = UsageMiddleware(app, usage)
"""
    )
    port = free_port()
    process = start(["-m", "uvicorn", "shop:app", "--port", str(port), "--log-level", "critical"], USAGE_URL=server.url)

    def answers() -> bool:
        try:
            return http.get(f"http://127.0.0.1:{port}/a").is_success
        except httpx.TransportError:
            return False

    until(answers)
    process.send_signal(getattr(signal, ending))
    process.wait(60)
    assert [call["properties"]["endpoint"] for call in server.kept.values()] == ["/{name}"]

"""Meter the calls of an ASGI application (Starlette, FastAPI, Litestar, Quart, Django ...)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Unpack

from usage_client.aio import in_thread
from usage_client.base import BaseClient
from usage_client.calls import Call, CallMeter, CallOptions

log = logging.getLogger("usage_client")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

ENDPOINT = "usage_client.endpoint"
"""Where an application may say the template of its route, in the scope."""
SHUTDOWN_SECONDS = 5.0


class UsageMiddleware:
    """Tracks each HTTP call when its answer is sent in full, has failed, or its caller has gone.

    What the answer streams is passed on as it comes. When the server shuts down, what is pending is flushed (servers
    that end by the signal that they were sent, as uvicorn does, run nothing of Python's own afterwards).
    """

    def __init__(self, app: App, usage: BaseClient, **options: Unpack[CallOptions]) -> None:
        self._app = app
        self._usage = usage
        self._meter = CallMeter(usage, **options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the application does."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, self._flushing(send))
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        root = scope.get("root_path", "")
        call = Call(scope, scope["method"], scope["path"])

        async def watch(message: Message) -> None:
            if message["type"] == "http.response.start":
                call.status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except BaseException as error:
            call.end(error)
            raise
        else:
            call.end()
        finally:
            self._meter.track(call, lambda: template(scope, root))

    def _flushing(self, send: Send) -> Send:
        async def flush_first(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                try:
                    await in_thread(lambda: self._usage.settle(SHUTDOWN_SECONDS))
                except Exception:
                    log.exception("usage that was pending could not be flushed")
            await send(message)

        return flush_first


def template(scope: Scope, root: str = "") -> str | None:
    """The template of the route that took the call; `root` is where the whole application is mounted."""
    said = scope.get(ENDPOINT)
    if said is not None:
        return str(said)
    route = scope.get("route") or _route_of(scope)
    path = getattr(route, "path_format", None) or getattr(route, "path", None)
    if not path:
        return None
    mounted = str(scope.get("root_path", "")).removeprefix(root)
    if mounted and not hasattr(route, "routes"):  # a mount that took the call by itself has its own path
        names = {str(value): f"{{{name}}}" for name, value in scope.get("path_params", {}).items()}
        path = "/".join(names.get(part, part) for part in mounted.split("/")) + path
    return str(path)


def _route_of(scope: Scope) -> object:
    """The route that took the call, where Starlette says only which endpoint did."""
    parameters = set(scope.get("path_params", ()))
    for route in getattr(scope.get("router"), "routes", ()):
        same = getattr(route, "endpoint", None) is scope.get("endpoint", scope)
        if same and set(getattr(route, "param_convertors", ())) == parameters:
            return route
    return None

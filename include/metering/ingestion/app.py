"""The ASGI application: which operation answers, who is let in to it, and what is said when something goes wrong."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from metering.ingestion import health, reference, tracking
from metering.ingestion.access import ANYBODY
from metering.ingestion.express import Express
from metering.ingestion.headers import header
from metering.ingestion.metrics import Metrics
from metering.ingestion.operations import Operation
from metering.ingestion.refusals import refusal_of
from metering.ingestion.replies import Refusal
from metering.ingestion.service import Service
from metering.quarantine import rooms as quarantine
from metering.reading.rooms import aggregation, events, periods, reports

ROOMS = (tracking, health, reports, events, periods, aggregation, quarantine)
"""Whose `OPERATIONS` the service has; the busiest first, since paths are tried in this order."""


def create_app(url: str, *, max_waiting: int | None = None, metrics: Metrics | None = None) -> Starlette:
    """The ASGI application, landing events in the database at `url`; by default nobody collects `metrics`."""
    service = Service(url, max_waiting=max_waiting, metrics=metrics)
    operations = [operation for room in ROOMS for operation in room.OPERATIONS]
    operations += reference.operations(operations)
    by_path: dict[str, list[Operation]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, []).append(operation)

    async def nowhere(_: Request, __: Exception) -> Response:
        return _told(service, Refusal(404, "no_such_route", "There is no such path; see /openapi.json."))

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        async with service.lifespan(app):
            # What the server hands on to each connection: see `protocol.BoundedHttp`.
            yield {"express": Express(service)}

    app = Starlette(
        routes=[Route(path, _Path(service, found)) for path, found in by_path.items()],
        exception_handlers={404: nowhere},
        lifespan=lifespan,
    )
    # A redirect to the path without its slash would be made of the Host header, which anybody can write.
    app.router.redirect_slashes = False
    app.state.service = service
    app.state.operations = operations
    return app


class _Path:
    """Answers what is asked of one path, in each of its methods."""

    def __init__(self, service: Service, operations: Iterable[Operation]) -> None:
        self._service = service
        self._operations: dict[str, Operation] = {operation.method: operation for operation in operations}
        if "GET" in self._operations:
            self._operations["HEAD"] = self._operations["GET"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        operation = self._operations.get(request.method)
        started = time.perf_counter()
        refusal: Refusal | None = None
        try:
            response = await self._answer(request, operation)
        except ClientDisconnect:
            return  # nobody is there to be told
        except Exception as error:
            refusal = refusal_of(error)
            response = _told(self._service, refusal)
        await response(scope, receive, send)
        metrics = self._service.metrics
        if metrics.on:
            name = operation.name if operation else "other"
            code = refusal.code if refusal else None
            metrics.answered(name, response.status_code, time.perf_counter() - started, code)

    async def _answer(self, request: Request, operation: Operation | None) -> Response:
        if operation is None:
            allowed = ", ".join(sorted(self._operations))
            message = f"The method {request.method} is not one of {allowed}."
            raise Refusal(405, "wrong_method", message, headers={"allow": allowed})
        access = ANYBODY
        if operation.scope is not None:
            access = await self._service.door.admit(header(request, "authorization"), operation.scope)
        return await operation.handler(self._service, request, access)


def _told(service: Service, refusal: Refusal) -> Response:
    service.refusals.log(logging.WARNING, "request_failed", status=refusal.status, code=refusal.code)
    return refusal.reply()

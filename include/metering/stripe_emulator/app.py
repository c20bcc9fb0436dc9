"""The ASGI application: which operation answers which path."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from metering.stripe_emulator import (
    adjustments,
    admin,
    core_events,
    customers,
    meter_events,
    meters,
    stream,
    summaries,
)
from metering.stripe_emulator.call import Operation
from metering.stripe_emulator.errors import StripeError
from metering.stripe_emulator.gate import Gate

# The busiest first: paths are tried in this order.
OPERATIONS = (
    Operation("POST /v1/billing/meter_events", meter_events.create_v1, meter_events.lane),
    Operation("POST /v2/billing/meter_events", meter_events.create_v2, meter_events.lane),
    Operation("POST /v2/billing/meter_event_stream", stream.create),
    Operation("GET /v1/billing/meters/{id}/event_summaries", summaries.list_all),
    Operation("GET /v1/billing/meters", meters.list_all),
    Operation("POST /v1/billing/meters", meters.create),
    Operation("GET /v1/billing/meters/{id}", meters.retrieve),
    Operation("POST /v1/billing/meters/{id}", meters.update),
    Operation("POST /v1/billing/meters/{id}/deactivate", meters.deactivate),
    Operation("POST /v1/billing/meters/{id}/reactivate", meters.reactivate),
    Operation("POST /v1/billing/meter_event_adjustments", adjustments.create_v1),
    Operation("POST /v2/billing/meter_event_adjustments", adjustments.create_v2),
    Operation("POST /v2/billing/meter_event_session", stream.create_session),
    Operation("GET /v1/customers", customers.list_all),
    Operation("POST /v1/customers", customers.create),
    Operation("GET /v1/customers/{id}", customers.retrieve),
    Operation("POST /v1/customers/{id}", customers.update),
    Operation("DELETE /v1/customers/{id}", customers.delete),
    Operation("GET /v2/core/events", core_events.list_all),
    Operation("GET /v2/core/events/{id}", core_events.retrieve),
)


class _Path:
    """All methods of one path."""

    def __init__(self, gate: Gate, operations: dict[str, Operation]) -> None:
        self._gate = gate
        self._operations = operations

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        operation = self._operations.get(request.method)
        response = _unknown(request) if operation is None else await self._gate.answer(request, operation)
        await response(scope, receive, send)


def application(gate: Gate, *, allow_reset: bool = False) -> ASGIApp:
    """The emulator as an ASGI application."""
    paths: dict[str, dict[str, Operation]] = {}
    for operation in OPERATIONS:
        method, _, path = operation.name.partition(" ")
        paths.setdefault(path, {})[method] = operation
    routes: list[BaseRoute] = [Route(path, _Path(gate, methods)) for path, methods in paths.items()]
    return Router([*routes, *admin.routes(gate, allow_reset=allow_reset)], redirect_slashes=False, default=_not_found)


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await _unknown(Request(scope, receive))(scope, receive, send)


def _unknown(request: Request) -> Response:
    error = StripeError(404, f"Unrecognized request URL ({request.method}: {request.url.path}), or not emulated.")
    body = error.body("v1")
    return admin.json_response(body, error.status)

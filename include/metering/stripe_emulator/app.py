"""The ASGI application: which operation answers which path."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from metering.stripe_emulator import (
    adjustments,
    admin,
    core_events,
    customers,
    event_destinations,
    invoice_items,
    invoice_lines,
    invoices,
    meter_events,
    meters,
    prices,
    products,
    snapshot_events,
    stream,
    subscription_items,
    subscriptions,
    summaries,
    webhook_endpoints,
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
    Operation("GET /v1/products", products.list_all),
    Operation("POST /v1/products", products.create),
    Operation("GET /v1/products/{id}", products.retrieve),
    Operation("POST /v1/products/{id}", products.update),
    Operation("GET /v1/prices", prices.list_all),
    Operation("POST /v1/prices", prices.create),
    Operation("GET /v1/prices/{id}", prices.retrieve),
    Operation("POST /v1/prices/{id}", prices.update),
    Operation("GET /v1/subscriptions", subscriptions.list_all),
    Operation("POST /v1/subscriptions", subscriptions.create),
    Operation("GET /v1/subscriptions/{id}", subscriptions.retrieve),
    Operation("POST /v1/subscriptions/{id}", subscriptions.update),
    Operation("DELETE /v1/subscriptions/{id}", subscriptions.cancel),
    Operation("GET /v1/subscription_items", subscription_items.list_all),
    Operation("POST /v1/subscription_items", subscription_items.create),
    Operation("GET /v1/subscription_items/{id}", subscription_items.retrieve),
    Operation("POST /v1/subscription_items/{id}", subscription_items.update),
    Operation("DELETE /v1/subscription_items/{id}", subscription_items.delete),
    Operation("GET /v1/invoiceitems", invoice_items.list_all),
    Operation("POST /v1/invoiceitems", invoice_items.create),
    Operation("GET /v1/invoiceitems/{id}", invoice_items.retrieve),
    Operation("POST /v1/invoiceitems/{id}", invoice_items.update),
    Operation("DELETE /v1/invoiceitems/{id}", invoice_items.delete),
    Operation("GET /v1/invoices", invoices.list_all),
    Operation("POST /v1/invoices", invoices.create),
    Operation("GET /v1/invoices/{id}", invoices.retrieve),
    Operation("POST /v1/invoices/{id}", invoices.update),
    Operation("DELETE /v1/invoices/{id}", invoices.delete),
    Operation("POST /v1/invoices/{id}/finalize", invoices.finalize),
    Operation("POST /v1/invoices/{id}/pay", invoices.pay),
    Operation("POST /v1/invoices/{id}/void", invoices.void),
    Operation("POST /v1/invoices/{id}/mark_uncollectible", invoices.mark_uncollectible),
    Operation("GET /v1/invoices/{id}/lines", invoice_lines.list_all),
    Operation("GET /v1/events", snapshot_events.list_all),
    Operation("GET /v1/events/{id}", snapshot_events.retrieve),
    Operation("GET /v1/webhook_endpoints", webhook_endpoints.list_all),
    Operation("POST /v1/webhook_endpoints", webhook_endpoints.create),
    Operation("GET /v1/webhook_endpoints/{id}", webhook_endpoints.retrieve),
    Operation("POST /v1/webhook_endpoints/{id}", webhook_endpoints.update),
    Operation("DELETE /v1/webhook_endpoints/{id}", webhook_endpoints.delete),
    Operation("GET /v2/core/event_destinations", event_destinations.list_all),
    Operation("POST /v2/core/event_destinations", event_destinations.create),
    Operation("GET /v2/core/event_destinations/{id}", event_destinations.retrieve),
    Operation("DELETE /v2/core/event_destinations/{id}", event_destinations.delete),
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
    return Router(
        [*routes, *admin.routes(gate, allow_reset=allow_reset)],
        redirect_slashes=False,
        default=_not_found,
        lifespan=lambda app: _living(gate),
    )


@asynccontextmanager
async def _living(gate: Gate) -> AsyncIterator[None]:
    """As long as it is served, what is due happens and what is on its way is sent."""
    living = asyncio.create_task(gate.life.run())
    try:
        yield
    finally:
        living.cancel()
        with suppress(asyncio.CancelledError):
            await living


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await _unknown(Request(scope, receive))(scope, receive, send)


def _unknown(request: Request) -> Response:
    error = StripeError(404, f"Unrecognized request URL ({request.method}: {request.url.path}), or not emulated.")
    body = error.body("v1")
    return admin.json_response(body, error.status)

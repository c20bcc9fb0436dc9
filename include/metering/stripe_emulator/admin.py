"""The emulator's own routes under ``/emulator``: its clock, faults, settings and counts. Stripe has none of them."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from metering.stripe_emulator import webhook_endpoints
from metering.stripe_emulator.call import Settings
from metering.stripe_emulator.errors import StripeError, bad_request
from metering.stripe_emulator.gate import Gate

Handler = Callable[[Request], Awaitable[Response]]
T = TypeVar("T")


class _Moment(msgspec.Struct, forbid_unknown_fields=True):
    now: int | None


class _Endpoint(msgspec.Struct, forbid_unknown_fields=True):
    url: str
    secret: str
    enabled_events: list[str]


def routes(gate: Gate, *, allow_reset: bool) -> list[Route]:
    """The admin routes; ``/emulator/reset`` only where resetting was allowed at the start."""

    async def health(request: Request) -> Response:
        ok = gate.violations == 0 and gate.life.failures == 0
        return json_response({"ok": ok, "violations": gate.violations, "now": gate.clock.now()})

    async def state(request: Request) -> Response:
        row = gate.store.one("counts")
        return json_response({} if row is None else dict(row))

    async def clock(request: Request) -> Response:
        if request.method == "POST":
            await gate.life.move((await _body(request, _Moment)).now)
        return json_response({"now": gate.clock.now(), "moved": gate.clock.moved})

    async def faults(request: Request) -> Response:
        if request.method == "POST":
            gate.faults.order(await _body(request, object))
        if request.method == "DELETE":
            gate.faults.clear()
        return json_response(gate.faults.listed())

    async def settings(request: Request) -> Response:
        if request.method == "POST":
            gate.set(await _body(request, Settings))
        return json_response(msgspec.to_builtins(gate.settings))

    async def webhooks(request: Request) -> Response:
        wanted = await _body(request, _Endpoint)
        webhook_endpoints.check_url(wanted.url)
        with gate.store.transaction():
            thing = webhook_endpoints.put(
                gate.call_at(gate.clock.now()), wanted.url, wanted.secret, wanted.enabled_events
            )
        return json_response({"id": thing.id, "url": wanted.url, "enabled_events": wanted.enabled_events})

    async def reset(request: Request) -> Response:
        if not allow_reset:
            raise StripeError(403, "This emulator keeps its state. Start it with --allow-reset to allow this.")
        gate.store.clear()
        gate.faults.clear()
        await gate.life.move(None)
        gate.set(Settings())
        gate.life.look()
        return json_response({})

    return [
        Route("/emulator/health", _shaped(health), methods=["GET"]),
        Route("/emulator/state", _shaped(state), methods=["GET"]),
        Route("/emulator/clock", _shaped(clock), methods=["GET", "POST"]),
        Route("/emulator/faults", _shaped(faults), methods=["GET", "POST", "DELETE"]),
        Route("/emulator/settings", _shaped(settings), methods=["GET", "POST"]),
        Route("/emulator/webhooks", _shaped(webhooks), methods=["POST"]),
        Route("/emulator/reset", _shaped(reset), methods=["POST"]),
    ]


def json_response(content: Any, status: int = 200) -> Response:
    """A JSON reply that passes no shape of Stripe's."""
    return Response(msgspec.json.encode(content), status, media_type="application/json")


async def _body(request: Request, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except msgspec.DecodeError as error:
        raise bad_request(f"This request cannot be read: {error}") from error


def _shaped(handler: Handler) -> Handler:
    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except StripeError as error:
            return json_response(error.body("v1"), error.status)

    return answer

"""The way of every request: key, parameters, idempotency, faults, shape, execution, shape again, reply."""

import asyncio
import logging
import secrets
import sqlite3
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from metering.stripe_emulator import idempotency, key, stream, wire
from metering.stripe_emulator.call import Call, Operation, Settings, no_lane
from metering.stripe_emulator.clock import Clock
from metering.stripe_emulator.errors import (
    Json,
    StripeError,
    bad_request,
    key_in_use,
    server_error,
    too_many_concurrent,
)
from metering.stripe_emulator.faults import Fault, Faults
from metering.stripe_emulator.form import decode
from metering.stripe_emulator.idempotency import SavedReply
from metering.stripe_emulator.life import Life
from metering.stripe_emulator.shapes import Shape, ShapeViolationError, pinned
from metering.stripe_emulator.store import Store

_log = logging.getLogger("metering.stripe_emulator")
_encode = msgspec.json.Encoder(decimal_format="number").encode
_STREAM = "POST /v2/billing/meter_event_stream"


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class Gate:
    """Everything that all operations have in common.

    The event loop is the only thread, and an execution does not yield while its transaction is open: requests overlap
    only where latency is ordered, and that is when 409s appear.
    """

    def __init__(self, store: Store, clock: Clock, faults: Faults, only_key: str | None) -> None:
        self.store = store
        self.clock = clock
        self.faults = faults
        self.only_key = only_key
        self.settings = _kept_settings(store)
        self.violations = 0
        document = pinned()
        self._requests = {name: Shape(shape["request"]) for name, shape in document["operations"].items()}
        self._replies = {name: Shape(shape["reply"]) for name, shape in document["operations"].items()}
        self._errors = {"v1": Shape(document["schemas"]["error"]), "v2": Shape(document["schemas"]["v2.error"])}
        self._executing: set[str] = set()
        self._lanes: set[str] = set()
        self.life = Life(store, clock, self.call_at)

    def set(self, settings: Settings) -> None:
        """Change the settings, and keep them across restarts."""
        self.settings = settings
        self.store.set_setting("settings", msgspec.json.encode(settings).decode())

    def call_at(self, moment: int) -> Call:
        """What happens by itself works with the same things as a request."""
        return Call(self.store, self.settings, self.faults, moment, {}, {}, "")

    async def answer(self, request: Request, operation: Operation) -> Response:
        """Answer one API request, or fail it as ordered."""
        request_id = f"req_{secrets.token_hex(7)}"
        fault: Fault | None = None
        try:
            self._authorize(request, operation)
            parameters = self._parameters(await request.body(), request, operation)
            idempotency_key = request.headers.get("idempotency-key", "") if request.method == "POST" else ""
            attempt = _Attempt(operation, request, parameters, idempotency_key, request_id)
            saved = self._saved(attempt)
            fault = self.faults.take(attempt.facts, replayed=saved is not None)
            if fault is not None and fault.kind == "reset_before":
                return wire.Reset()
            _raise_ordered(fault)
            reply = await self._execute(attempt, fault) if saved is None else _replayed(saved)
        except StripeError as error:
            reply = self._error(error, operation.api)
        except sqlite3.Error as error:
            _log.error("The state file could not be written: %s", error)
            unwritten = StripeError(500, f"The state file could not be written: {error}", kind="api_error")
            reply = self._error(unwritten, operation.api)
        return self._respond(reply, request, request_id, fault)

    def _authorize(self, request: Request, operation: Operation) -> None:
        authorization = request.headers.get("authorization")
        if operation.name == _STREAM:
            stream.check_token(self.store, key.presented(authorization), self.clock.now())
        else:
            key.check(authorization, self.only_key)

    def _parameters(self, body: bytes, request: Request, operation: Operation) -> Json:
        if operation.api == "v2" and request.method == "POST":
            try:
                sent = msgspec.json.decode(body or b"{}")
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise bad_request(f"Invalid JSON: {error}", code="invalid_json") from error
            if not isinstance(sent, dict):
                raise bad_request("The request body must be a JSON object.", code="invalid_json")
            return sent
        try:
            text = (body if request.method == "POST" else request.scope["query_string"]).decode()
        except UnicodeDecodeError as error:
            raise bad_request("The request is not UTF-8.") from error
        return self._requests[operation.name].typed(decode(text))

    def _saved(self, attempt: "_Attempt") -> SavedReply | None:
        if not attempt.key:
            return None
        api = attempt.operation.api
        return idempotency.find(self.store, api, attempt.key, attempt.target, attempt.digest, self.clock.now())

    async def _execute(self, attempt: "_Attempt", fault: Fault | None) -> _Reply:
        if attempt.key and attempt.key in self._executing:
            raise key_in_use(attempt.key)
        operation = attempt.operation
        self._requests[operation.name].check_request(attempt.parameters)
        lane = operation.lane(attempt.parameters)
        if lane is not None and lane in self._lanes:
            raise too_many_concurrent()
        seconds = self.settings.latency_seconds if lane is not None else 0.0
        if fault is not None and fault.kind == "latency":
            seconds = fault.duration
        if seconds == 0.0:
            return self._work(attempt, fault)
        keys = {attempt.key} if attempt.key else set()
        lanes = set() if lane is None else {lane}
        self._executing |= keys
        self._lanes |= lanes
        try:
            await asyncio.sleep(seconds)
            return self._work(attempt, fault)
        finally:
            self._executing -= keys
            self._lanes -= lanes

    def _work(self, attempt: "_Attempt", fault: Fault | None) -> _Reply:
        """One transaction: what the request does and what its key will answer from now on."""
        operation, now = attempt.operation, self.clock.now()
        # What was due before this request has happened before it.
        if self.life.next_due <= now:
            self.life.catch_up(now)
        if attempt.request.method == "GET":
            return self._run(attempt, now)
        kind = None if fault is None else fault.kind
        with self.store.transaction():
            reply = None if kind == "error_500_before" else self._kept(attempt, now)
            if reply is None or kind == "error_500_after":
                reply = self._error(server_error(), operation.api)
            if attempt.key and _is_remembered(reply, operation.api, fault):
                saved = SavedReply(reply.status, reply.body, attempt.request_id)
                idempotency.save(self.store, operation.api, attempt.key, attempt.target, attempt.digest, saved, now)
        if operation.lane is no_lane:
            self.life.look()
        return reply

    def _kept(self, attempt: "_Attempt", now: int) -> _Reply:
        """A reply whose work is kept, which a refusal's mostly is not."""
        try:
            return self._run(attempt, now)
        except StripeError as refusal:
            if not refusal.commits:
                raise
            return self._error(refusal, attempt.operation.api)

    def _run(self, attempt: "_Attempt", now: int) -> _Reply:
        operation = attempt.operation
        path = dict(attempt.request.path_params)
        call = Call(self.store, self.settings, self.faults, now, attempt.parameters, path, attempt.key)
        try:
            body = operation.run(call)
            self._replies[operation.name].check_reply(body)
        except ShapeViolationError as violation:
            self.violations += 1
            _log.error("%s answered a shape that is not Stripe's: %s", operation.name, violation)
            raise StripeError(500, f"Not Stripe's shape: {violation}", kind="api_error") from violation
        return _Reply(200, _encode(body))

    def _error(self, error: StripeError, api: str) -> _Reply:
        body = error.body(api)
        try:
            self._errors[api].check_reply(body)
        except ShapeViolationError as violation:
            self.violations += 1
            _log.error("An error reply is not of Stripe's shape: %s", violation)
        return _Reply(error.status, _encode(body), error.headers)

    def _respond(self, reply: _Reply, request: Request, request_id: str, fault: Fault | None) -> Response:
        if fault is not None and fault.kind == "hang":
            return wire.Hang(fault.duration)
        if fault is not None and fault.kind == "reset_after":
            return wire.Reset()
        headers = {"date": self.clock.http_date(), "request-id": request_id, **reply.headers}
        for name in ("idempotency-key", "stripe-version"):
            if name in request.headers:
                headers[name] = request.headers[name]
        shape = wire.CutBody if fault is not None and fault.kind == "cut_body" else Response
        return shape(reply.body, reply.status, headers, media_type="application/json")


class _Attempt:
    """A request with its parameters read, before it is known whether it will be executed."""

    def __init__(
        self, operation: Operation, request: Request, parameters: Json, idempotency_key: str, request_id: str
    ) -> None:
        self.operation = operation
        self.request = request
        self.parameters = parameters
        self.key = idempotency_key
        self.request_id = request_id
        self.target = f"{request.method} {request.scope['path']}"
        self.digest = idempotency.digest(parameters) if idempotency_key else ""

    @property
    def facts(self) -> dict[str, str]:
        """What a fault can match on."""
        payload: Any = self.parameters.get("payload")
        inside = payload if isinstance(payload, dict) else {}
        customer = inside.get("stripe_customer_id", self.parameters.get("customer", ""))
        return {
            "method": self.request.method,
            "path": self.request.scope["path"],
            "event_name": str(self.parameters.get("event_name", "")),
            "identifier": str(self.parameters.get("identifier", "")),
            "customer": str(customer),
            "value": str(inside.get("value", "")),
            "idempotency_key": self.key,
        }


def _kept_settings(store: Store) -> Settings:
    kept = store.setting("settings")
    return Settings() if kept is None else msgspec.json.decode(kept, type=Settings)


def _is_remembered(reply: _Reply, api: str, fault: Fault | None) -> bool:
    if reply.status < 500:
        return True
    return api == "v1" and fault is not None and fault.saved


def _replayed(saved: SavedReply) -> _Reply:
    headers = {"idempotent-replayed": "true", "original-request": saved.request_id}
    return _Reply(saved.status, saved.body, headers)


def _raise_ordered(fault: Fault | None) -> None:
    """The refusals that Stripe makes before anything executes, and so never remembers."""
    if fault is None:
        return
    retry_after = {} if fault.retry_after is None else {"retry-after": str(fault.retry_after)}
    if fault.kind == "rate_limited_429":
        raise StripeError(
            429,
            "Request rate limit exceeded.",
            code="rate_limit",
            headers={"stripe-rate-limited-reason": "endpoint-rate", **retry_after},
        )
    if fault.kind == "rate_limited_429_retry":
        raise StripeError(
            429,
            "This object cannot be accessed right now because another API request is currently accessing it.",
            code="lock_timeout",
            headers={"stripe-should-retry": "true", **retry_after},
        )
    if fault.kind == "conflict_409":
        raise too_many_concurrent()

"""`GET /health`: whether events can be committed now. `GET /health/live`: whether the process answers at all."""

from __future__ import annotations

from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from metering.ingestion.access import Access
from metering.ingestion.operations import Content, Operation, Reply
from metering.ingestion.replies import json_reply
from metering.ingestion.service import Service
from metering.ingestion.worker import RETRY_AFTER


class Health(msgspec.Struct, omit_defaults=True):
    """Whether events can be committed, and how many wait for it."""

    status: Literal["ready", "unavailable"]
    waiting: int
    message: str | None = None


class Life(msgspec.Struct):
    """The process answers."""

    status: Literal["live"] = "live"


async def ready(service: Service, _: Request, __: Access) -> Response:
    """Say 200 while events can be committed, else 503."""
    obstacle = await service.obstacle()
    if obstacle:
        health = Health("unavailable", service.queue.waiting, obstacle)
        return json_reply(health, 503, {"retry-after": str(RETRY_AFTER)})
    return json_reply(Health("ready", service.queue.waiting))


async def live(_: Service, __: Request, ___: Access) -> Response:
    """Say 200, whatever the database does: restarting this process would not mend it."""
    return json_reply(Life())


OPERATIONS = (
    Operation(
        "GET",
        "/health",
        ready,
        None,
        summary="Can events be committed?",
        description=(
            "Ready only when a write has just been committed, durably (asked at most once a second). "
            "Take a service out of a load balancer by this."
        ),
        replies={
            200: Reply("Events can be committed.", (Content(Health, {"ready": {"status": "ready", "waiting": 0}}),)),
            503: Reply(
                "Events can't be committed at the moment.",
                (
                    Content(
                        Health,
                        {
                            "away": {
                                "status": "unavailable",
                                "waiting": 12,
                                "message": "PostgreSQL can't commit at the moment.",
                            }
                        },
                    ),
                ),
                {"Retry-After": "Seconds after which to ask again."},
            ),
        },
        tag="health",
    ),
    Operation(
        "GET",
        "/health/live",
        live,
        None,
        summary="Does the process answer?",
        description="Says so even while the database is away. Restart a service by this, not by `/health`.",
        replies={200: Reply("It does.", (Content(Life, {"live": {"status": "live"}}),))},
        tag="health",
    ),
)

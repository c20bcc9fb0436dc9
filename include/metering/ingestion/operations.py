"""What the service answers: operations, each with its route, its scope, and its part of the OpenAPI document.

A room is a module with `OPERATIONS`; `metering.ingestion.app` lists the rooms. Nothing else is needed for an operation
to be let in to only with a key of its scope, limited in its rate, measured, described at `/openapi.json`, shown at
`/docs`, and tried by the tests that try every operation.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from starlette.requests import Request
from starlette.responses import Response

if TYPE_CHECKING:
    from metering.ingestion.access import Access
    from metering.ingestion.service import Service

Handler = Callable[["Service", Request, "Access"], Awaitable[Response]]
"""Answers a request of somebody who was let in. With a team's key, `access.team_id` is all it may touch or see.

What goes wrong is raised: `replies.Refusal`, `worker.Unavailable`, `queue.QueueFull`, `events.Unreadable`.
"""

Shape = type | dict[str, Any]
"""A type that msgspec knows (its JSON Schema is derived), or a JSON Schema."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of an operation."""

    name: str
    description: str
    example: Any
    shape: Shape = str
    required: bool = False
    where: Literal["query", "path", "header"] = "query"


@dataclass(frozen=True)
class Content:
    """What a request or a reply holds, in one media type."""

    shape: Shape
    examples: Mapping[str, Any]
    """By what each shows; JSON values, or texts where the media type isn't JSON."""
    media_type: str = "application/json"


@dataclass(frozen=True)
class Reply:
    """One kind of reply."""

    description: str
    content: tuple[Content, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    """Name to description."""


@dataclass(frozen=True)
class Operation:
    """One thing that the service does when asked."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    """As Starlette writes it: `/api/usage/events/{key:path}/trace`."""
    handler: Handler
    scope: Literal["track", "read", "admin"] | None
    """What the key must be allowed; None: anybody may ask, without a key."""
    summary: str
    description: str
    replies: Mapping[int, Reply]
    """By status. Those that every operation of its kind has are added: 401, 403, 429 and 503."""
    parameters: tuple[Parameter, ...] = ()
    body: tuple[Content, ...] = ()
    """The media types that it takes, the most usual first."""
    tag: str = "usage"

    @property
    def name(self) -> str:
        """Such as `POST /api/usage/track`: what logs and metrics call it."""
        return f"{self.method} {self.template}"

    @property
    def template(self) -> str:
        """The path as OpenAPI writes it."""
        return re.sub(r"\{(\w+):\w+\}", r"{\1}", self.path)

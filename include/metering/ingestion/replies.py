"""Replies: JSON, and refusals that say what was wrong."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

to_json = msgspec.json.Encoder().encode


class Refusal(Exception):
    """A request that is not answered as it was meant: a status, a stable code, a sentence, and how to go on."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        retry_after: int | None = None,
        headers: dict[str, str] | None = None,
        **details: Any,
    ) -> None:
        """`retry_after`: seconds after which the same request may succeed. `details` stand beside code and message."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["retry-after"] = str(retry_after)
        self.details = details

    def reply(self) -> Response:
        """Tell it."""
        details = {name: value for name, value in self.details.items() if value is not None}
        error = {"code": self.code, "message": self.message, **details}
        return json_reply({"error": error}, self.status, self.headers)


class Problem(msgspec.Struct, omit_defaults=True):
    """What was wrong with a request."""

    code: str
    message: str
    field: str | None = None
    position: int | None = None


class ProblemReply(msgspec.Struct):
    """The reply to a request that was refused."""

    error: Problem


def json_reply(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Reply with anything that msgspec writes as JSON: structs, dictionaries; decimals and times become strings."""
    return Response(to_json(content), status, headers, media_type="application/json")

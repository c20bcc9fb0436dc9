"""Headers of a request, where what they say twice is refused: two parties could read such a request differently."""

from __future__ import annotations

from starlette.requests import Request

from metering.ingestion.replies import Refusal


def header(request: Request, name: str) -> str | None:
    """The value of a header, named in lower case, or None; raises `Refusal` where it was sent more than once."""
    wanted = name.encode()
    found = [value for key, value in request.scope["headers"] if key == wanted]
    if len(found) > 1:
        raise Refusal(400, "repeated_header", f"The header {name} was sent {len(found)} times.", field=name)
    return found[0].decode("latin-1") if found else None

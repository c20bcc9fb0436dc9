"""Which format a request's body is in, by its headers."""

from __future__ import annotations

from starlette.requests import Request

from metering.ingestion import cloudevents
from metering.ingestion.body import Body
from metering.ingestion.cloudevents import CloudEvents
from metering.ingestion.headers import header
from metering.ingestion.replies import Refusal

JSON = "application/json"
LINES = ("application/x-ndjson", "application/jsonl", "application/x-jsonlines", "application/json-lines")
# What `curl -d` says of everything, and what says nothing.
PRESUMED_JSON = ("", JSON, "application/x-www-form-urlencoded")


def read_events(request: Request, text: bytes) -> Body | CloudEvents:
    """Decode the events of a request; `text` is its body, unpacked. Raises `Refusal` or `Unreadable`."""
    given = header(request, "content-type") or ""
    kind, _, parameters = given.partition(";")
    kind = kind.strip().lower()
    if parameters:
        _check_charset(parameters)
    if not kind.startswith("application/cloudevents"):
        headers: list[tuple[bytes, bytes]] = request.scope["headers"]
        if [1 for name, _ in headers if name[:3] == b"ce-"]:
            return cloudevents.binary(headers, given, text)
        if kind in PRESUMED_JSON:
            return Body.parse(text)
        if kind in LINES:
            return Body.parse(text, lines=True)
    elif kind == cloudevents.SINGLE:
        return cloudevents.single(text)
    elif kind == cloudevents.BATCH:
        return cloudevents.batch(text)
    taken = ", ".join((JSON, LINES[0], cloudevents.SINGLE, cloudevents.BATCH))
    raise Refusal(415, "wrong_content_type", f"The Content-Type {kind[:60]!r} is not taken; {taken} are.")


def _check_charset(parameters: str) -> None:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in ("utf-8", "utf8", "us-ascii"):
            message = f"The charset {value.strip()[:40]!r} is not taken; JSON is UTF-8."
            raise Refusal(415, "wrong_content_type", message)

"""The OpenAPI 3.1 document of the service, put together from what each operation says of itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from metering.ingestion.operations import Content, Operation, Parameter, Reply
from metering.ingestion.replies import ProblemReply

_REFERENCE = "#/components/schemas/{name}"

_KEY_SCHEME = "api_key"

_RETRY = {"Retry-After": "Seconds after which to send the same again."}


def _problem(code: str, message: str) -> tuple[Content, ...]:
    return (Content(ProblemReply, {code: {"error": {"code": code, "message": message}}}),)


_OF_EVERYBODY = {
    400: Reply("The request can't be read.", _problem("wrong_parameter", "There is no day 2026-13-01.")),
}
_OF_KEYS = {
    401: Reply(
        "No API key, or one that is not known or has been revoked.",
        _problem("invalid_api_key", "The API key is not known, or has been revoked."),
        {"WWW-Authenticate": "Bearer"},
    ),
    403: Reply("The API key may not do this.", _problem("missing_scope", "The API key lacks the scope 'read'.")),
    429: Reply(
        "Too much at once: of this key, or of all. Nothing of the request was kept.",
        _problem(
            "queue_full", "Too many events wait for their commit; nothing of this request was kept. Send it again."
        ),
        _RETRY,
    ),
    503: Reply(
        "The database is away. Something may have been kept; sending it again counts nothing twice.",
        _problem(
            "unavailable", "The database can't be reached. Send the request again: what was already kept counts once."
        ),
        _RETRY,
    ),
}


class Document:
    """Builds the document, keeping the schemas that operations share."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        """Describe `operations`, in their order."""
        self._components: dict[str, Any] = {}
        paths: dict[str, dict[str, Any]] = {}
        for operation in operations:
            paths.setdefault(operation.template, {})[operation.method.lower()] = self._operation(operation)
        self.content: dict[str, Any] = {
            "openapi": "3.1.0",
            "info": {
                "title": "Usage",
                "version": "1",
                "description": "Send usage events, and see what has become of them.",
            },
            "servers": [{"url": "/"}],
            "paths": paths,
            "components": {
                "securitySchemes": {
                    _KEY_SCHEME: {
                        "type": "http",
                        "scheme": "bearer",
                        "description": "An API key, made with `./billing keys create`.",
                    }
                },
                "schemas": self._components,
            },
        }

    def _operation(self, operation: Operation) -> dict[str, Any]:
        replies = dict(operation.replies)
        if operation.scope is not None:
            replies = {**_OF_EVERYBODY, **_OF_KEYS, **replies}
        described: dict[str, Any] = {
            "operationId": operation.handler.__name__,
            "tags": [operation.tag],
            "summary": operation.summary,
            "description": operation.description,
            "parameters": [self._parameter(parameter) for parameter in operation.parameters],
            "responses": {str(status): self._reply(replies[status]) for status in sorted(replies)},
        }
        if operation.body:
            described["requestBody"] = {"required": True, "content": self._content(operation.body)}
        if operation.scope is not None:
            described["security"] = [{_KEY_SCHEME: []}]
            described["description"] += f" Needs a key with the scope `{operation.scope}`."
        else:
            described["security"] = []
        return described

    def _parameter(self, parameter: Parameter) -> dict[str, Any]:
        return {
            "name": parameter.name,
            "in": parameter.where,
            "required": parameter.required or parameter.where == "path",
            "description": parameter.description,
            "schema": self._schema(parameter.shape),
            "example": parameter.example,
        }

    def _reply(self, reply: Reply) -> dict[str, Any]:
        described: dict[str, Any] = {"description": reply.description}
        described["content"] = self._content(reply.content or (Content(ProblemReply, {}),))
        if reply.headers:
            described["headers"] = {
                name: {"description": description, "schema": {"type": "string"}}
                for name, description in reply.headers.items()
            }
        return described

    def _content(self, contents: Iterable[Content]) -> dict[str, Any]:
        return {
            content.media_type: {
                "schema": self._schema(content.shape),
                "examples": {name: {"value": value} for name, value in content.examples.items()},
            }
            for content in contents
        }

    def _schema(self, shape: Any) -> dict[str, Any]:
        if isinstance(shape, dict):
            return shape
        (schema,), components = msgspec.json.schema_components((shape,), ref_template=_REFERENCE)
        self._components.update(components)
        return schema

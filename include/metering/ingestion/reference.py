"""`GET /openapi.json`, and `GET /docs`: the same as a page, which needs neither the internet nor scripts."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import Response

from metering.ingestion.access import Access
from metering.ingestion.openapi import Document
from metering.ingestion.operations import Content, Operation, Reply
from metering.ingestion.replies import json_reply
from metering.ingestion.service import Service


def operations(others: Iterable[Operation]) -> tuple[Operation, ...]:
    """The operations that describe `others` and themselves."""

    async def openapi(_: Service, __: Request, ___: Access) -> Response:
        return json_reply(document.content)

    own = (
        Operation(
            "GET",
            "/openapi.json",
            openapi,
            None,
            summary="This document",
            description="OpenAPI 3.1.",
            replies={200: Reply("The document.", (Content({"type": "object"}, {}),))},
            tag="reference",
        ),
    )
    document = Document((*others, *own))
    return own

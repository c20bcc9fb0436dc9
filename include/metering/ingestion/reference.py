"""`GET /openapi.json`, and `GET /docs`: the same as a page, which needs neither the internet nor scripts."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import Response

from metering.ingestion import reference_page
from metering.ingestion.access import Access
from metering.ingestion.openapi import Document
from metering.ingestion.operations import Content, Operation, Reply
from metering.ingestion.replies import json_reply
from metering.ingestion.service import Service


def operations(others: Iterable[Operation]) -> tuple[Operation, ...]:
    """The operations that describe `others` and themselves."""

    async def openapi(_: Service, __: Request, ___: Access) -> Response:
        return json_reply(document)

    async def docs(_: Service, __: Request, ___: Access) -> Response:
        return Response(page, media_type="text/html", headers=reference_page.HEADERS)

    own = (
        Operation(
            "GET",
            "/openapi.json",
            openapi,
            None,
            summary="The description of this API for programs",
            description="An OpenAPI 3.1 document.",
            replies={200: Reply("The document.", (Content({"type": "object", "required": ["openapi", "paths"]}, {}),))},
            tag="reference",
        ),
        Operation(
            "GET",
            "/docs",
            docs,
            None,
            summary="The description of this API for people",
            description="This page.",
            replies={200: Reply("The page.", (Content({"type": "string"}, {}, "text/html; charset=utf-8"),))},
            tag="reference",
        ),
    )
    document = Document((*others, *own)).content
    page = reference_page.render(document)
    return own

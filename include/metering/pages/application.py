"""The pages as an application: which path answers with which page."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import jinja2
import psycopg
from psycopg.rows import DictRow
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from metering import database
from metering.bills import bill, known_team, lineage
from metering.errors import BillingError
from metering.pages import overview
from metering.reading import reconciliation
from metering.reading.teams import NotFound, Team

PER_PAGE = 100

HEADERS = {
    # The pages may load and run nothing; only the UI that they belong to may frame them.
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
    ),
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}

_TEMPLATES = Path(__file__).with_name("templates")
_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
)


def _plain(number: Decimal | int | None) -> str:
    return "" if number is None else f"{number:,f}" if isinstance(number, Decimal) else f"{number:,}"


_templates.filters["plain"] = _plain

Connection = psycopg.Connection[DictRow]
Page = Callable[[Connection, Request], Response]


def _page(name: str, request: Request, *, status: int = 200, **values: Any) -> Response:
    text = _templates.get_template(f"{name}.html").render(base=request.scope.get("root_path", ""), **values)
    return HTMLResponse(text, status_code=status, headers=HEADERS)


def _answered_by(page: Page) -> Callable[[Request], Any]:
    """The page with a connection of its own; a sentence where it can't be made."""

    def answer(request: Request) -> Response:
        try:
            with database.connect(application="billing-pages") as connection:
                return page(connection, request)
        except NotFound as error:
            return _page("sentence", request, status=404, message=error.message, remedy="")
        except BillingError as error:
            return _page("sentence", request, status=404, message=error.message, remedy=error.remedy)

    async def answered(request: Request) -> Response:
        return await run_in_threadpool(answer, request)

    return answered


def _overview(connection: Connection, request: Request) -> Response:
    asked = request.query_params
    found = overview.read(
        connection,
        team=asked.get("team", "").strip() or None,
        only_differing=asked.get("only") == "differing",
        after=asked.get("after") or None,
        limit=PER_PAGE,
    )
    return _page("overview", request, found=found, team=asked.get("team", ""), only=asked.get("only", ""))


def _period(connection: Connection, request: Request) -> Response:
    team, period = request.path_params["team"], request.path_params["period"]
    about = Team(known_team(connection, team), team)
    chains = reconciliation.validate(connection, about, period, subscription=request.query_params.get("subscription"))
    bills = [bill(connection, team, period, subscription=chain.subscription) for chain in chains.periods]
    return _page("period", request, team=team, period=period, chains=chains, bills=bills)


def _asked_line(request: Request) -> tuple[str, dict[str, Any]]:
    asked = request.query_params
    tier = asked.get("tier", "")
    if tier and not tier.isdecimal():
        raise BillingError(f"{tier!r} is no tier.", "Tiers are numbered from 0.")
    more: dict[str, Any] = {"subscription": asked.get("subscription") or None, "tier": int(tier) if tier else None}
    return asked.get("line", ""), more


def _events(connection: Connection, request: Request) -> Response:
    line, more = _asked_line(request)
    page = lineage.explain(connection, line, limit=PER_PAGE, after=request.query_params.get("after") or None, **more)
    return _page("events", request, line=line, page=page, more=more)


def _events_csv(connection: Connection, request: Request) -> Response:
    line, more = _asked_line(request)
    lineage.explain(connection, line, limit=1, **more)  # what can't be explained is said before anything is sent

    def said() -> Iterator[str]:
        with database.connect(application="billing-pages") as own:
            yield _csv(lineage.COLUMNS)
            for page in lineage.explain_all(own, line, limit=10_000, **more):
                yield "".join(_csv(row) for row in lineage.rows(page))

    headers = {**HEADERS, "content-disposition": 'attachment; filename="events.csv"'}
    return StreamingResponse(said(), media_type="text/csv", headers=headers)


def _csv(cells: Any) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


async def _style(_: Request) -> Response:
    return Response((_TEMPLATES / "style.css").read_text(encoding="utf-8"), media_type="text/css")


ROUTES = [
    Route("/", _answered_by(_overview)),
    Route("/periods/{team}/{period}", _answered_by(_period)),
    Route("/events", _answered_by(_events)),
    Route("/events.csv", _answered_by(_events_csv)),
    Route("/style.css", _style),
]
"""Below wherever they are mounted."""

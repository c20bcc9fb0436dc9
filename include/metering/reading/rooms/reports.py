"""`GET /api/usage/report`: what a team has used and what it costs so far."""

from __future__ import annotations

import math
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from metering.ingestion.access import Access
from metering.ingestion.operations import Content, Operation, Parameter, Reply
from metering.ingestion.service import Service
from metering.reading.parameters import SUBSCRIPTION, TEAM, Asked
from metering.reading.report import MAX_HISTORY, Report, report
from metering.reading.teams import Connection, find_team, own_team

MAX_AGE = 5
"""Seconds that a report may be old where the request does not say."""
MAX_MAX_AGE = 300

PARAMETERS = (
    TEAM,
    Parameter("period", "The label of a period: `2026-10`, or `2026-10-15`. Left out: what runs now.", "2026-10"),
    SUBSCRIPTION,
    Parameter(
        "history",
        "How many earlier bills to list.",
        12,
        {"type": "integer", "minimum": 0, "maximum": MAX_HISTORY, "default": 12},
    ),
    Parameter(
        "max_age",
        "Seconds that the report may be old; 0: made now.",
        MAX_AGE,
        {"type": "integer", "minimum": 0, "maximum": MAX_MAX_AGE, "default": MAX_AGE},
    ),
)


async def usage_report(service: Service, request: Request, access: Access) -> Response:
    """Report, from memory where that is young enough."""
    asked = Asked(request, PARAMETERS)
    named, period, subscription = asked.text("team"), asked.text("period"), asked.text("subscription")
    history = asked.whole("history", 12, 0, MAX_HISTORY)
    max_age = asked.whole("max_age", MAX_AGE, 0, MAX_MAX_AGE)

    def ask(connection: Connection) -> bytes:
        team = find_team(connection, access, named)
        found = report(connection, team, subscription=subscription, period=period, history=history)
        return msgspec.json.encode(found)

    # Memory is behind the same door: nobody is answered from it who would not be answered by the database.
    own = own_team(access, named)
    question = (own.team_id if own else None, named if own is None else None, period, subscription, history)
    answer = await service.reports.answer(question, max_age, lambda: service.readers.run(ask))
    left = max(0, math.floor(max_age - answer.age))
    headers = {"age": str(math.ceil(answer.age)), "cache-control": f"private, max-age={left}"}
    return Response(answer.content, headers=headers, media_type="application/json")


_REPORT: dict[str, Any] = {
    "team": "acme",
    "as_of": "2026-10-25T02:31:07.214503Z",
    "metered_until": "2026-10-25T02:00:03.120041Z",
    "periods": [
        {
            "subscription": "main",
            "period": "2026-10",
            "start": "2026-09-30T22:00:00Z",
            "end": "2026-10-31T23:00:00Z",
            "time_zone": "Europe/Berlin",
            "status": "active",
            "currency": "EUR",
            "cost": {"total": "43.60", "usage": "42.80", "adjustments": "0.80"},
            "lines": [
                {
                    "line": "standard/search@2026-09-30T22:00Z",
                    "kind": "usage",
                    "price": "standard/search",
                    "price_name": "Search requests",
                    "meter": "api_requests",
                    "dimensions": {"endpoint": "search"},
                    "about_period": "2026-10",
                    "quantity": "52800",
                    "unit": "request",
                    "charge_quantity": "52800",
                    "charge_unit": "request",
                    "amount": "42.80",
                    "tiers": [
                        {
                            "tier": 1,
                            "over": "0",
                            "up_to": "10000",
                            "quantity": "10000",
                            "unit_amount": "0",
                            "usage_amount": "0",
                            "fixed_amount": "0",
                        },
                        {
                            "tier": 2,
                            "over": "10000",
                            "up_to": None,
                            "quantity": "42800",
                            "unit_amount": "0.001",
                            "usage_amount": "42.8",
                            "fixed_amount": "0",
                        },
                    ],
                }
            ],
            "usage": [
                {
                    "meter": "api_requests",
                    "unit": "request",
                    "quantity": "52800",
                    "events": 52800,
                    "slices": [{"dimensions": {"endpoint": "search"}, "quantity": "52800", "events": 52800}],
                    "slices_left_out": 0,
                    "days": [{"day": "2026-10-01", "quantity": "52800", "events": 52800}],
                }
            ],
            "unpriced": [],
        }
    ],
    "history": [
        {
            "subscription": "main",
            "period": "2026-09",
            "start": "2026-08-31T22:00:00Z",
            "end": "2026-09-30T22:00:00Z",
            "status": "finalized",
            "currency": "EUR",
            "total": "40.00",
            "adjustments": "0.00",
            "meters": [{"meter": "api_requests", "quantity": "50000", "unit": "request", "amount": "40.00"}],
        }
    ],
}

OPERATIONS = (
    Operation(
        "GET",
        "/api/usage/report",
        usage_report,
        "read",
        summary="What has a team used, and what does it cost so far?",
        description=(
            "Everything that was acknowledged before `as_of`: what metering has worked in, and what has landed since, "
            "priced by the SQL that bills are made of. Usage by meter, dimension and day; cost by line and tier; "
            "earlier bills. Amounts of lines are rounded once, those of tiers are exact. `history` is as of "
            "`metered_until`."
        ),
        replies={
            200: Reply(
                "The report, at most `max_age` seconds old; `as_of` says how old.",
                (Content(Report, {"a period that runs": _REPORT}),),
                {"Age": "Seconds since `as_of`.", "Cache-Control": "How long it is young enough."},
            ),
            404: Reply("There is no such team, subscription or period."),
        },
        parameters=PARAMETERS,
    ),
)

"""`GET /api/usage/periods/{period}/validate`: is every event counted, billed and at Stripe?"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from metering.ingestion.access import Access
from metering.ingestion.operations import Content, Operation, Parameter, Reply
from metering.ingestion.replies import json_reply
from metering.ingestion.service import Service
from metering.reading.parameters import SUBSCRIPTION, TEAM, Asked
from metering.reading.reconciliation import Validations, validate
from metering.reading.teams import Connection, find_team

PARAMETERS = (
    Parameter("period", "The label of a period: `2026-10`, or `2026-10-15`.", "2026-10", where="path"),
    TEAM,
    SUBSCRIPTION,
)


async def validate_period(service: Service, request: Request, access: Access) -> Response:
    """Compare every step of a period."""
    asked = Asked(request, PARAMETERS)
    named, period, subscription = asked.text("team"), asked.required("period"), asked.text("subscription")

    def compare(connection: Connection) -> Validations:
        return validate(connection, find_team(connection, access, named), period, subscription=subscription)

    return json_reply(await service.readers.run(compare))


_VALIDATION = {
    "team": "acme",
    "as_of": "2026-10-25T02:31:07.214503Z",
    "metered_until": "2026-10-25T02:00:03.120041Z",
    "verdict": "explained",
    "periods": [
        {
            "subscription": "main",
            "period": "2026-10",
            "start": "2026-10-01T00:00:00Z",
            "end": "2026-11-01T00:00:00Z",
            "currency": "EUR",
            "finalized": False,
            "verdict": "explained",
            "meters": [
                {
                    "meter": "api_requests",
                    "priced": True,
                    "verdict": "explained",
                    "events_counted": 52800,
                    "events_calculated": 52800,
                    "steps": {
                        "landed": "52800",
                        "metered": "52800",
                        "rated": "52800",
                        "billed": "52800",
                        "target": "52300",
                        "submitted": "52300",
                        "stripe": "52300",
                    },
                    "rated_amount": "42.8",
                    "billed_amount": "42.8",
                    "waiting": {"events": 12, "quantity": "12"},
                    "differences": [
                        {
                            "step": "billed - target",
                            "measure": "quantity",
                            "difference": "500",
                            "verdict": "explained",
                            "because": ["500 is planned by the next submission to Stripe."],
                        }
                    ],
                    "stripe_read_at": "2026-10-25T02:20:31Z",
                }
            ],
        }
    ],
}

OPERATIONS = (
    Operation(
        "GET",
        "/api/usage/periods/{period}/validate",
        validate_period,
        "read",
        summary="Is every event of a period counted, billed and at Stripe?",
        description=(
            "The same usage at every step, as it stands now, by the SQL of the reconciliation mart: events counted, "
            "calculated, rated, billed, reported to Stripe, and what Stripe says. Each difference is zero, or comes "
            "with reasons that make up the whole of it, or is `unexplained` and wants somebody to look."
        ),
        replies={
            200: Reply("The steps and their differences.", (Content(Validations, {"explained": _VALIDATION}),)),
            404: Reply("There is no such team, subscription or period."),
        },
        parameters=PARAMETERS,
    ),
)

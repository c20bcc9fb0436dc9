"""One billing period, from raw events to what Stripe says at this moment, with both sides' evidence."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import psycopg
from psycopg.rows import DictRow

from metering import database, statements
from metering.bills import known_team
from metering.errors import BillingError
from metering.reading import reconciliation
from metering.reading.reconciliation import MeterSteps, Validation, Verdict
from metering.reading.teams import NotFound, Team
from metering.submission.client import Stripe
from metering.submission.reader import Span, read

SQL = statements.beside(__file__, "audit")

Connection = psycopg.Connection[DictRow]

SETTLING = timedelta(hours=1)
"""How long Stripe may take to show in its totals what it has accepted."""


class Submission(msgspec.Struct):
    """Something that was sent to Stripe, or is to be; quantities in the meter's unit, times in UTC."""

    meter: str
    window_start: datetime
    window_end: datetime
    dimensions: dict[str, str]
    sequence: int
    quantity: Decimal
    state: str
    identifier: str
    """The meter event's, by which Stripe counts it once."""
    request_id: str | None
    """Stripe's own, by which its support and logs find the request."""
    attempts: int
    accepted_at: datetime | None
    confirmed_at: datetime | None
    error: str | None


class BillLine(msgspec.Struct):
    """A line of the period's bill, or an adjustment about it on a later one. `meter` is none of lines about all."""

    meter: str | None
    on_bill: str
    line: str
    kind: str
    quantity: Decimal | None
    amount: Decimal
    currency: str


class StripeSide(msgspec.Struct):
    """What Stripe answers now for one customer and meter, of the events that are stamped within the period."""

    meter: str
    customer: str | None
    stripe_meter: str | None
    read_at: datetime
    quantity: Decimal | None
    """None where it could not be read."""
    verdict: Verdict
    because: str | None


class Audit(msgspec.Struct):
    """The chain of one period of one subscription, and the evidence under it."""

    team: str
    metered_until: datetime | None
    chain: Validation
    stripe: list[StripeSide]
    lines: list[BillLine]
    submissions: list[Submission]

    @property
    def verdict(self) -> Verdict:
        """The worst of all: equal, explained or unexplained."""
        found = {self.chain.verdict, *(side.verdict for side in self.stripe)}
        return "unexplained" if "unexplained" in found else "explained" if "explained" in found else "equal"


def audit(
    connection: Connection, server: Stripe, team: str, period: str, *, subscription: str | None = None
) -> list[Audit]:
    """Follow the period of this label through every step, and ask Stripe: one audit for each subscription.

    Nothing is written: holds and verdicts are the daily reconciliation's. Raises `BillingError` for a team or a period
    that is none, and where Stripe can't be reached at all.
    """
    asked = Team(known_team(connection, team), team)
    try:
        chains = reconciliation.validate(connection, asked, period, subscription=subscription)
    except NotFound as error:
        raise BillingError(error.message, f"See the team's periods: ./billing bill {team} {period}") from error
    return [_audit(connection, server, asked, chain, chains.metered_until) for chain in chains.periods]


def _audit(
    connection: Connection, server: Stripe, team: Team, chain: Validation, metered_until: datetime | None
) -> Audit:
    asking = {
        "team_id": team.team_id,
        "subscription": chain.subscription,
        "start": chain.start,
        "end": chain.end,
    }
    with connection.transaction():
        connection.execute(SQL["one_snapshot"])
        counterparts = database.rows(connection, SQL["counterparts"], **asking)
        submissions = [Submission(**row) for row in database.rows(connection, SQL["submissions"], **asking)]
        lines = [BillLine(**row) for row in database.rows(connection, SQL["lines"], **asking)]
    return Audit(
        team=team.team_key,
        metered_until=metered_until,
        chain=chain,
        stripe=_ask(connection, server, chain, counterparts, submissions),
        lines=lines,
        submissions=submissions,
    )


def _ask(
    connection: Connection,
    server: Stripe,
    chain: Validation,
    counterparts: list[dict[str, Any]],
    submissions: list[Submission],
) -> list[StripeSide]:
    made = [row for row in counterparts if row["stripe_customer_id"] and row["stripe_meter_id"]]
    spans = [Span(row["stripe_customer_id"], row["stripe_meter_id"], chain.start, chain.end) for row in made]
    totals = dict(zip((row["meter_key"] for row in made), read(connection, server, spans), strict=True))
    now = datetime.now(UTC)
    sides = []
    for row in counterparts:
        total = totals.get(row["meter_key"])
        mine = [sent for sent in submissions if sent.meter == row["meter_key"]]
        verdict, because = _judge(total, mine, server.now(connection))
        quantity = None if total is None or isinstance(total, BillingError) else total
        sides.append(
            StripeSide(
                row["meter_key"], row["stripe_customer_id"], row["stripe_meter_id"], now, quantity, verdict, because
            )
        )
    return sides


def _judge(
    total: Decimal | BillingError | None, mine: list[Submission], stripe_now: datetime
) -> tuple[Verdict, str | None]:
    """What Stripe's total is beside what it has accepted, and why, where something explains a difference."""
    accepted = sum((sent.quantity for sent in mine if sent.state in ("accepted", "confirmed")), Decimal(0))
    if isinstance(total, BillingError):
        return "unexplained", f"It could not be read: {total.message}"
    if total is None:
        counted = Counter(sent.state for sent in mine)
        if accepted:
            return "unexplained", "Usage was accepted, and the customer or the meter is not known any more."
        return "explained", f"The customer or the meter is not made at Stripe yet; {counted.total()} wait for it."
    difference = total - accepted
    if not difference:
        return "equal", None
    settling = [sent for sent in mine if sent.state == "accepted" and _is_recent(sent, stripe_now)]
    unknown = [sent for sent in mine if sent.state in ("in_flight", "uncertain")]
    least = -sum((abs(sent.quantity) for sent in (*settling, *unknown)), Decimal(0))
    if (settling or unknown) and least <= difference <= -least:
        return "explained", (
            f"{len(settling)} submissions were accepted within the last hour, which Stripe's total may not show yet, "
            f"and of {len(unknown)} the outcome is unknown."
        )
    return "unexplained", f"Stripe has {total:f} and has accepted {accepted:f} from here."


def _is_recent(sent: Submission, stripe_now: datetime) -> bool:
    return sent.accepted_at is not None and sent.accepted_at > stripe_now - SETTLING


def chain_of(meter: MeterSteps) -> list[tuple[str, Decimal]]:
    """The steps of a meter in their order, each with its quantity in the meter's unit."""
    steps = meter.steps
    return [
        ("landed", steps.landed),
        ("metered", steps.metered),
        ("rated", steps.rated),
        ("billed", steps.billed),
        ("due to Stripe", steps.target),
        ("accepted by Stripe", steps.submitted),
        ("Stripe's total, when last read", steps.stripe),
    ]

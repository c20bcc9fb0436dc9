"""One billing period at every step from raw events to Stripe, as it stands now: each difference zero, or explained."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec
import psycopg
from psycopg.rows import DictRow

from metering import database, statements
from metering.reading.teams import NotFound, Team

SQL = statements.beside(__file__, "reconciliation")

Verdict = Literal["equal", "explained", "unexplained"]


class Difference(msgspec.Struct):
    """What one step has more than the next, in the meter's unit (`events` and `amount`: as they say)."""

    step: str
    measure: Literal["events", "quantity", "amount"]
    difference: Decimal
    verdict: Verdict
    because: list[str]


class Steps(msgspec.Struct):
    """The same usage at every step, in the meter's unit."""

    landed: Decimal
    """From the raw events at once, up to the last metering."""
    metered: Decimal
    rated: Decimal
    billed: Decimal
    """On bill lines, adjustments on later bills included."""
    target: Decimal
    """What Stripe should have."""
    submitted: Decimal
    """What Stripe has accepted."""
    stripe: Decimal
    """What Stripe's own total said when it was last read."""


class Waiting(msgspec.Struct):
    """Events that landed since the last metering; no step holds them yet."""

    events: int
    quantity: Decimal


class MeterSteps(msgspec.Struct):
    """One meter of the period."""

    meter: str
    priced: bool
    verdict: Verdict
    events_counted: int
    events_calculated: int
    steps: Steps
    rated_amount: Decimal
    billed_amount: Decimal
    waiting: Waiting
    differences: list[Difference]
    stripe_read_at: datetime | None


class Validation(msgspec.Struct):
    """A billing period of one subscription."""

    subscription: str
    period: str
    start: datetime
    end: datetime
    currency: str
    finalized: bool
    verdict: Verdict
    meters: list[MeterSteps]


class Validations(msgspec.Struct):
    """The periods of a label: one for each subscription."""

    team: str
    as_of: datetime
    metered_until: datetime | None
    verdict: Verdict
    periods: list[Validation]


def validate(
    connection: psycopg.Connection[DictRow], team: Team, period: str, *, subscription: str | None = None
) -> Validations:
    """Compare every step of the team's billing period of this label; raises `NotFound` where there is none.

    Needs a connection in autocommit mode; all steps are read from one state of the database.
    """
    with connection.transaction():
        connection.execute(SQL["one_snapshot"])
        asked = database.one(connection, SQL["ask"], team_id=team.team_id)
        found = database.rows(
            connection, SQL["periods"], team_id=team.team_id, period=period, subscription=subscription
        )
        if not found:
            of = f" of the subscription {subscription[:80]!r}" if subscription else ""
            raise NotFound("unknown_period", f"The team {team.team_key!r} has no billing period {period[:80]!r}{of}.")
        periods = [_validation(connection, team, row) for row in found]
    return Validations(
        team=team.team_key,
        as_of=asked["as_of"],
        metered_until=asked["metered_until"],
        verdict=_worst(validation.verdict for validation in periods),
        periods=periods,
    )


def _validation(connection: psycopg.Connection[DictRow], team: Team, period: dict[str, Any]) -> Validation:
    asking = {**period, "team_id": team.team_id}
    facts = _Facts(connection, asking)
    meters = [facts.meter(row) for row in database.rows(connection, SQL["steps"], **asking)]
    return Validation(
        subscription=period["subscription_key"],
        period=period["period_label"],
        start=period["period_start"],
        end=period["period_end"],
        currency=period["currency"],
        finalized=period["is_finalized"],
        verdict=_worst(meter.verdict for meter in meters),
        meters=meters,
    )


class _Facts:
    """What can explain a difference within one period."""

    def __init__(self, connection: psycopg.Connection[DictRow], asking: dict[str, Any]) -> None:
        def by_meter(statement: str) -> dict[int, dict[str, Any]]:
            return {row["meter_id"]: row for row in database.rows(connection, SQL[statement], **asking)}

        self._arrived = by_meter("arrived_since")
        self._windows = by_meter("queued_windows")
        self._unpriced = by_meter("unpriced")
        self._asked = by_meter("asked_of_stripe")
        self._observed = by_meter("observed")
        self._owed: dict[int, list[dict[str, Any]]] = {}
        for row in database.rows(connection, SQL["owed_to_stripe"], **asking):
            self._owed.setdefault(row["meter_id"], []).append(row)
        self._archived = database.one(connection, SQL["archived"], **asking)["months"]
        self._bills_queued = bool(database.one(connection, SQL["queued_bills"], **asking)["queued"])
        self._holds = [row["reason"] for row in database.rows(connection, SQL["team_holds"], **asking)]

    def meter(self, row: dict[str, Any]) -> MeterSteps:
        """Judge one row of the statement `steps`."""
        arrived = self._arrived.get(row["meter_id"], {"events": 0, "quantity": Decimal(0)})
        read = self._observed.get(row["meter_id"])
        found = [
            ("counted - calculated", "events", Decimal(row["events_landed"] - row["events_metered"]), self._metering),
            ("landed - metered", "quantity", row["landed_minus_metered"], self._metering),
            ("metered - rated", "quantity", row["metered_minus_rated"], self._rating),
            ("rated - billed", "quantity", row["rated_minus_billed"], self._billing),
            ("rated - billed", "amount", row["rated_minus_billed_amount"], self._billing),
            ("billed - target", "quantity", row["billed_minus_target"], self._planning),
            ("target - submitted", "quantity", row["target_minus_submitted"], self._submitting),
            ("submitted - stripe", "quantity", row["submitted_minus_stripe"], self._reading),
        ]
        differences = []
        for step, measure, difference, explain in found:
            because = explain(row, difference) if difference else []
            verdict: Verdict = "equal" if not difference else "explained" if because else "unexplained"
            differences.append(Difference(step, measure, difference, verdict, because))  # type: ignore[arg-type] # literals
        return MeterSteps(
            meter=row["meter_key"],
            priced=row["is_priced"],
            verdict=_worst(difference.verdict for difference in differences),
            events_counted=row["events_landed"],
            events_calculated=row["events_metered"],
            steps=Steps(**{name: row[name] for name in Steps.__struct_fields__}),
            rated_amount=row["rated_amount"],
            billed_amount=row["billed_amount"],
            waiting=Waiting(arrived["events"], arrived["quantity"]),
            differences=differences,
            stripe_read_at=read["observed_at"] if read else None,
        )

    # Each of these returns the reasons that make up the whole of a difference, or none.

    def _metering(self, row: dict[str, Any], _: Decimal) -> list[str]:
        if self._archived is not None:
            return [f"The events of {self._archived} are archived; restore them to count them again."]
        queued = self._windows.get(row["meter_id"])
        if queued is None:
            return []
        return [f"{queued['windows']} quarter-hours are queued: a metering run works on them, or the next will."]

    def _rating(self, row: dict[str, Any], difference: Decimal) -> list[str]:
        unpriced = self._unpriced.get(row["meter_id"])
        if unpriced is None or unpriced["quantity"] != difference:
            return []
        return [f"{unpriced['quantity']:f} has dimensions for which the plan has no price."]

    def _billing(self, _: dict[str, Any], __: Decimal) -> list[str]:
        return ["The bills are queued to be made again by a metering run."] if self._bills_queued else []

    def _planning(self, row: dict[str, Any], difference: Decimal) -> list[str]:
        asked = self._asked.get(row["meter_id"], {"quantity": Decimal(0)})["quantity"]
        unpriced = self._unpriced.get(row["meter_id"], {"quantity": Decimal(0)})["quantity"]
        because = []
        if asked != row["target"]:
            because.append(f"{asked - row['target']:f} is planned by the next submission to Stripe.")
        if unpriced:
            because.append(f"{unpriced:f} has no price and is on no bill; Stripe gets all usage of the meter.")
        if row["billed"] - asked == -unpriced:
            return because
        return ["The bills are queued to be made again by a metering run."] if self._bills_queued else []

    def _submitting(self, row: dict[str, Any], difference: Decimal) -> list[str]:
        because: list[str] = []
        explained = Decimal(0)
        for owed in self._owed.get(row["meter_id"], ()):
            explained += owed["on_its_way"] + owed["quantity"]
            if owed["on_its_way"]:
                because.append(f"{owed['on_its_way']:f} is on its way to Stripe.")
            if owed["quantity"] and owed["held_code"]:
                because.append(f"{owed['quantity']:f} is held ({owed['held_code']}): {owed['held_reason']}")
            elif owed["quantity"] and self._holds:
                because.append(f"{owed['quantity']:f} waits, because the team is on hold: {' '.join(self._holds)}")
            elif owed["quantity"]:
                because.append(f"{owed['quantity']:f} waits for the next submission to Stripe.")
        return because if explained == difference else []

    def _reading(self, row: dict[str, Any], difference: Decimal) -> list[str]:
        read = self._observed.get(row["meter_id"])
        if read is None:
            return ["Stripe's own total of this period has not been read yet."]
        since = row["submitted"] - read["ledger"]
        because = [
            f"{since:f} was accepted after Stripe's total was read, at {read['observed_at']:%Y-%m-%d %H:%M} UTC."
        ]
        if difference == since:
            return because
        if read["verdict"] == "settling":
            return [*(because if since else ()), "Stripe had accepted some of it too recently to show it in its total."]
        return []


def _worst(verdicts: Iterable[Verdict]) -> Verdict:
    found = set(verdicts)
    return "unexplained" if "unexplained" in found else "explained" if "explained" in found else "equal"

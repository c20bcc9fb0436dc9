"""What came of a demo: events, bills beside what was expected of them, submissions, differences, seconds."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import DictRow

from metering import statements
from metering.database import one, rows
from metering.errors import BillingError
from metering.sample.expected import ExpectedBill

SQL = statements.beside(__file__, "demo")


@dataclass(frozen=True)
class Delivery:
    """What became of the events that were sent or imported in this demo."""

    sent: int
    landed: int
    duplicate: int
    quarantined: int


@dataclass(frozen=True)
class ComparedBill:
    """A bill beside what was expected; None where there is none."""

    team: str
    period: str
    currency: str
    expected: Decimal | None
    actual: Decimal | None

    @property
    def equal(self) -> bool:
        """Whether it is right, to the last minor unit."""
        return self.expected is not None and self.expected == self.actual


@dataclass
class Outcome:
    """All that a demo has to say."""

    events: Delivery | None = None
    bills: list[ComparedBill] = field(default_factory=list)
    submissions: dict[str, int] = field(default_factory=dict)
    reconciliation: dict[str, str] = field(default_factory=dict)
    stages: list[tuple[str, float]] = field(default_factory=list)
    addresses: dict[str, str] = field(default_factory=dict)

    @property
    def wrong_bills(self) -> list[ComparedBill]:
        """The bills that are not what was expected."""
        return [bill for bill in self.bills if not bill.equal]

    @property
    def differences(self) -> dict[str, str]:
        """The steps of reconciliation that do not come to zero."""
        return {step: amount for step, amount in self.reconciliation.items() if Decimal(amount) != 0}

    def as_json(self) -> dict[str, Any]:
        """The summary for machines; money and quantities as text."""
        events = self.events or Delivery(0, 0, 0, 0)
        return {
            "events": {
                "sent": events.sent,
                "landed": events.landed,
                "duplicate": events.duplicate,
                "quarantined": events.quarantined,
            },
            "bills": [
                {
                    "team": bill.team,
                    "period": bill.period,
                    "currency": bill.currency,
                    "expected": None if bill.expected is None else f"{bill.expected:f}",
                    "actual": None if bill.actual is None else f"{bill.actual:f}",
                    "equal": bill.equal,
                }
                for bill in self.bills
            ],
            "submissions": self.submissions,
            "reconciliation": self.reconciliation,
            "stages": [{"stage": stage, "seconds": round(seconds, 2)} for stage, seconds in self.stages],
            "addresses": self.addresses,
        }

    def require_right(self) -> None:
        """Raise `BillingError` naming what is not right, if anything."""
        if self.wrong_bills:
            first = self.wrong_bills[0]
            raise BillingError(
                f"{len(self.wrong_bills)} of {len(self.bills)} bills are not what was expected; the first is "
                f"{first.team} {first.period}: expected {first.expected} {first.currency}, and it is {first.actual}.",
                "If other usage than the demo's was sent here, that is why; else it is our mistake.",
            )
        if self.differences:
            step, amount = next(iter(self.differences.items()))
            raise BillingError(
                f"Reconciliation is not zero: {step} is {amount}.",
                "See marts.fct_reconciliation for where it comes from.",
            )


def writable(path: Path) -> None:
    """Raise `BillingError` at once where the summary could not be written at the end."""
    parent = path.absolute().parent
    if path.is_dir() or not parent.is_dir() or not os.access(path if path.exists() else parent, os.W_OK):
        raise BillingError(f"The summary can't be written to {path}.", "Give a file in a directory that exists.")


def write(outcome: Outcome, path: Path) -> None:
    """Write the summary; a reader sees the old one or the new one, never a part."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(json.dumps(outcome.as_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)


def compare_bills(connection: psycopg.Connection[DictRow], expected: Iterable[ExpectedBill]) -> list[ComparedBill]:
    """Every expected bill beside the one in marts.fct_bills, and every bill of these teams that nobody expected."""
    wanted = {(bill.team, bill.period): bill for bill in expected}
    teams = {team for team, _ in wanted}
    found = {(row["team"], row["period"]): row for row in rows(connection, SQL["bills"]) if row["team"] in teams}
    compared = []
    for key in sorted(wanted.keys() | found.keys()):
        bill, row = wanted.get(key), found.get(key)
        currency = bill.currency if bill else row["currency"] if row else ""
        total, actual = (bill.total if bill else None), (row["total"] if row else None)
        if row and bill and row["currency"] != bill.currency:
            actual = None
        if actual is not None and total is not None and actual == total:
            actual = total  # the same amount, written with the currency's decimals
        compared.append(ComparedBill(key[0], key[1], currency, total, actual))
    return compared


def submissions(connection: psycopg.Connection[DictRow]) -> dict[str, int]:
    """How many submissions Stripe has taken and its totals have confirmed, since ever."""
    return dict(one(connection, SQL["submissions"]))


def differences(connection: psycopg.Connection[DictRow]) -> dict[str, str]:
    """The sum of the absolute differences at each step of reconciliation, as text."""
    return dict(one(connection, SQL["differences"]))

"""The lines of one bill, with their tiers."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
import psycopg
from psycopg.rows import DictRow

from metering import database, statements

SQL = statements.beside(__file__, "lines")


class Tier(msgspec.Struct):
    """What one tier of a price holds so far; amounts are exact and not rounded."""

    tier: int
    over: Decimal
    up_to: Decimal | None
    quantity: Decimal
    unit_amount: Decimal
    usage_amount: Decimal
    fixed_amount: Decimal


class Line(msgspec.Struct):
    """A line of the bill as it stands."""

    line: str
    kind: str
    """usage; overage, true_up, discount, minimum or maximum: what stands around a price or a plan; credit; adjustment:
    what is due about a period that was final already."""
    price: str | None
    """The price; none where the line is about a whole plan or bill, and so are the meter and the units."""
    price_name: str
    meter: str | None
    dimensions: dict[str, str]
    """The dimension values that the price is for; empty: all others."""
    about_period: str
    quantity: Decimal
    unit: str | None
    charge_quantity: Decimal
    charge_unit: str | None
    amount: Decimal
    """Rounded once, to the currency's minor unit."""
    tiers: list[Tier]


def read_lines(connection: psycopg.Connection[DictRow], asking: Mapping[str, Any]) -> list[Line]:
    """The lines of one bill (`team_id`, `subscription_key`, `period_start`), as of the session's moment."""
    tiers: dict[str, list[Tier]] = {}
    for row in database.planned_once(connection, SQL["tiers"], asking):
        tiers.setdefault(row.pop("line_key"), []).append(Tier(**row))
    return [
        Line(
            line=row["line_key"],
            kind=row["kind"],
            price=row["price_key"],
            price_name=row["price_name"],
            meter=row["meter_key"],
            dimensions=row["dimensions"],
            about_period=row["about_period"],
            quantity=row["quantity"],
            unit=row["unit"],
            charge_quantity=row["charge_quantity"],
            charge_unit=row["charge_unit"],
            amount=row["amount"],
            tiers=tiers.get(row["line_key"], []) if row["kind"] == "usage" else [],
        )
        for row in database.planned_once(connection, SQL["lines"], asking)
    ]

"""What a bill is worth in the currency of reports, and which exchange rates moved that.

A bill stays in its own currency, so no rate changes it. Reports convert its lines (marts.fct_revenue), each rounded
once, by the rate that was known; this does the same for the states of a bill that a difference goes through.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal, localcontext
from itertools import pairwise
from typing import Any

import msgspec

from metering import database, statements
from metering.bills.known import Connection
from metering.bills.lines import Line
from metering.errors import BillingError

SQL = statements.beside(__file__, "reporting")

_DIGITS = 100
"""More than an amount times a rate can have, so that nothing is rounded before the last step."""


class Rate(msgspec.Struct):
    """What one unit of a bill's currency is worth in that of reports, from `moment` on; none: it is not converted."""

    moment: datetime
    rate: Decimal | None
    quoted_at: datetime | None
    source: str | None

    def said(self, currency: str, reporting: str) -> str:
        """The rate in a few words."""
        if self.rate is None:
            return f"no rate of {currency} in {reporting} within a week"
        published = f" ({self.source}, {self.quoted_at:%Y-%m-%d %H:%M}Z)" if self.quoted_at else ""
        return f"1 {currency} = {self.rate.normalize():f} {reporting}{published}"


class Rates:
    """The rates of one bill's period between two moments, taken one after the other."""

    def __init__(
        self, connection: Connection, found: Mapping[str, Any], reporting: str, since: datetime, until: datetime
    ):
        """Read them; `found` is the period (`currency`, `period_end`). Raises `BillingError` for no currency."""
        known = database.rows(connection, SQL["exponent"], reporting=reporting)
        if not known:
            raise BillingError(f"{reporting!r} is no currency.", "Give an ISO 4217 code, such as EUR.")
        self.currency, self.reporting = str(found["currency"]), reporting
        self._unit = Decimal(1).scaleb(-int(known[0]["exponent"]))
        asking = {"currency": self.currency, "reporting": reporting, "period_end": found["period_end"]}
        found_rates = [
            Rate(row["moment"], row["rate"], row["quoted_at"], row["source"])
            for row in database.rows(connection, SQL["rates"], **asking, since=since, until=until)
        ]
        self.now = found_rates[0]
        self._coming = [is_now for was, is_now in pairwise(found_rates) if was.rate != is_now.rate]
        self.moments = [rate.moment for rate in self._coming]
        """When the rate becomes another."""

    def until(self, moment: datetime) -> Iterable[tuple[Rate, Rate]]:
        """Go on to a moment; each time that the rate changes on the way, what it was and what it is."""
        while self._coming and self._coming[0].moment <= moment:
            was, self.now = self.now, self._coming.pop(0)
            yield was, self.now

    def worth(self, lines: Iterable[Line]) -> Decimal:
        """What lines are worth by the rate that is reached; nothing where there is none, as in reports."""
        return self.worth_of((line.amount for line in lines), self.now.rate)

    def worth_of(self, amounts: Iterable[Decimal], rate: Decimal | None) -> Decimal:
        """What amounts of the bill's currency are worth by a rate, each rounded half away from zero."""
        if rate is None:
            return Decimal(0)
        with localcontext(prec=_DIGITS):
            return sum(
                ((amount * rate).quantize(self._unit, ROUND_HALF_UP) for amount in amounts), Decimal(0) * self._unit
            )

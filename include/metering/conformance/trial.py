"""A trial: what a case becomes in the product, and how what came of it is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from metering.conformance.cases import NotApplicable

ZERO = Decimal(0)
DECIMALS = 12
"""Decimals of the product's quantities."""
EFFECTIVE = "2000-01-01T00:00:00Z"
QUARTER = timedelta(minutes=15)


@dataclass(frozen=True)
class Difference:
    """A figure that is not what the case expects."""

    what: str
    expected: object
    got: object


@dataclass
class Reading:
    """What the marts say of a trial's team after one phase: rows as dictionaries, of the period it is about."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    """Lines of any bill about the period: kind, line_key, price, meter, quantity, amount, exact_amount, about."""
    rated: list[dict[str, Any]] = field(default_factory=list)
    """What the period is worth by what is known now: kind, exact_amount."""
    tiers: list[dict[str, Any]] = field(default_factory=list)
    """Rated tiers: price, part, tier, tier_quantity, billed_units, unit_amount, usage_amount, fixed_amount."""
    measured: list[dict[str, Any]] = field(default_factory=list)
    """What was metered by meter: events in the period, events by its end, change in it, level at its end."""
    windows: list[dict[str, Any]] = field(default_factory=list)
    """Usage by hour, day or month, whichever was asked for: window_start, window_end, quantity."""
    quarantined: int = 0
    """Events that were refused."""

    def total(self, **only: str) -> Decimal:
        """What the period is worth, exactly."""
        return sum((one["exact_amount"] for one in _only(self.rated, only)), ZERO)

    def billed(self, **only: str) -> Decimal:
        """What the lines come to, each rounded to the currency's minor unit."""
        return sum((line["amount"] for line in _only(self.lines, only)), ZERO)


def _only(rows: Sequence[dict[str, Any]], having: Mapping[str, str]) -> list[dict[str, Any]]:
    return [row for row in rows if all(row[name] == value for name, value in having.items())]


@dataclass
class Phase:
    """What happens before one run: events arrive, some are withdrawn, prices are corrected."""

    events: list[dict[str, Any]] = field(default_factory=list)
    """In the product's own shape, but for the team, which is filled in."""
    withdraw_all: bool = False
    """Withdraw what landed in earlier phases."""
    prices: list[dict[str, Any]] | None = None
    """The plan's prices from this phase on, in the shape of a catalog; None: as before."""


Judge = Callable[[Sequence[Reading]], list[Difference]]


@dataclass
class Trial:
    """One case as the product takes it."""

    key: str
    """The team's key, by the place of the case in its file."""
    starts: date | datetime
    ends: date | datetime | None
    meters: list[dict[str, Any]] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)
    currency: str = "USD"
    zone: str = "UTC"
    cycle: dict[str, Any] | None = None
    anchor_day: int = 1
    about: tuple[datetime, datetime] = (datetime.min, datetime.min)
    """The period that readings are of, [start, end), in UTC."""
    window: str | None = None
    """hour, day or month: the windows of usage that readings have."""
    judge: Judge = lambda _: []
    terms: dict[str, Any] = field(default_factory=dict)
    """What stands around all prices together."""
    not_compared: list[str] = field(default_factory=list)
    """Figures of the case that the product has no place for."""

    def event(self, name: str, at: datetime, quantity: Decimal | None = None, **more: Any) -> dict[str, Any]:
        """One event of this trial, told apart from all its others by a number."""
        if quantity is not None and quantity != round(quantity, DECIMALS):
            raise NotApplicable(f"quantities have at most {DECIMALS} decimals here")
        number = sum(len(phase.events) for phase in self.phases)
        said: dict[str, Any] = {
            "event": f"{self.key}/{name}",
            "time": at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "idempotency_key": f"{len(self.phases)}-{number}",
            **more,
        }
        if quantity is not None:
            said["quantity"] = quantity
        self.phases[-1].events.append(said)
        return said

    def meter(self, name: str, aggregation: str = "sum", **more: Any) -> str:
        """Add a meter and return its key."""
        key = f"{self.key}/{name}"
        self.meters.append(
            {"meter": key, "name": name, "event": key, "aggregation": aggregation, "unit": "unit", **more}
        )
        return key

    def price(self, name: str, meter: str, version: dict[str, Any], **more: Any) -> dict[str, Any]:
        """A price of a meter of this trial, in the shape of a catalog."""
        return {
            "price": f"{self.key}/{name}",
            "name": name,
            "meter": meter,
            "currency": self.currency,
            "versions": [{"effective_from": EFFECTIVE, "charge_unit": "unit", **version}],
            **more,
        }

    @property
    def catalog(self) -> dict[str, Any]:
        """The trial's part of a catalog, with the prices of its first phase."""
        return self.catalog_of(0)

    def catalog_of(self, phase: int) -> dict[str, Any]:
        """The trial's part of a catalog as of a phase."""
        prices = next(said.prices for said in reversed(self.phases[: phase + 1]) if said.prices is not None)
        terms = [{"effective_from": EFFECTIVE, "currency": self.currency, **self.terms}] if self.terms else []
        subscription: dict[str, Any] = {
            "plan": self.key,
            "currency": self.currency,
            "starts": self.starts,
            "ends": self.ends,
            **({"cycle": self.cycle} if self.cycle else {"anchor_day": self.anchor_day}),
        }
        taken_back = {
            event["event"] for said in self.phases for event in said.events if event.get("quantity", ZERO) < ZERO
        }
        return {
            "meters": [
                {**meter, "allow_negative": True} if meter["event"] in taken_back else meter for meter in self.meters
            ],
            "plans": [{"plan": self.key, "name": self.key, "prices": prices, "terms": terms}],
            "teams": [{"team": self.key, "name": self.key, "time_zone": self.zone, "subscription": subscription}],
        }


def month_before(moment: datetime) -> tuple[datetime, datetime]:
    """The whole UTC month before the one in which a moment lies, [start, end)."""
    end = datetime(moment.year, moment.month, 1, tzinfo=UTC)
    start = (end - timedelta(days=1)).replace(day=1)
    return start, end

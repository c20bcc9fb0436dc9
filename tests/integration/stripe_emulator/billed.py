"""A customer with a subscription, and the ways to let its time pass."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from .conftest import Account

# Stripe's own worked example of tiers: 5, 10, 15, 20 and more units at 5, 4, 3, 2 and 1 dollars, with flat fees.
EXAMPLE_TIERS = [
    {"up_to": up_to, "unit_amount": unit * 100, "flat_amount": flat * 100}
    for up_to, unit, flat in ((5, 5, 10), (10, 4, 20), (15, 3, 30), (20, 2, 40), ("inf", 1, 50))
]
HOUR, DAY = 3600, 86_400


def at(*moment: int) -> int:
    """Unix seconds of a moment in UTC."""
    return int(datetime(*moment, tzinfo=UTC).timestamp())


class Billed(Account):
    """An account whose customer pays a metered price by the month, from 1 January 2026 UTC."""

    now = at(2026, 1, 1)
    hour = now

    def __init__(self, emulator: Any, **price: Any) -> None:
        emulator.clock(self.now)
        super().__init__(emulator)
        self.product = self.client.v1.products.create({"name": "Tokens"}).id
        self.price = self.metered(**price).id

    def metered(self, **details: Any) -> Any:
        """A price of the account's meter: 10 cents a unit unless told otherwise."""
        shape = {} if "billing_scheme" in details else {"unit_amount_decimal": "10"}
        wanted: Any = {
            "product": self.product,
            "currency": "usd",
            "recurring": {"interval": "month", "usage_type": "metered", "meter": self.meter},
            **shape,
            **details,
        }
        return self.client.v1.prices.create(wanted)

    def flat(self, amount: int, **details: Any) -> Any:
        """A price paid in advance."""
        return self.client.v1.prices.create(
            {
                "product": self.product,
                "currency": "usd",
                "recurring": {"interval": "month"},
                "unit_amount": amount,
                **details,
            }
        )

    def subscribe(self, *prices: str, **details: Any) -> Any:
        """A subscription to the metered price, or to the prices named, whose periods are the months of UTC."""
        if not details.keys() & {"backdate_start_date", "billing_cycle_anchor", "billing_cycle_anchor_config"}:
            # Named, because the clock ticks on while the test runs.
            details |= {"backdate_start_date": self.now, "billing_cycle_anchor": at(2026, 2, 1)}
        return self.client.v1.subscriptions.create(
            {
                "customer": self.customer,
                "items": [{"price": price} for price in prices or (self.price,)],
                **details,
            }
        )

    def invoices(self, **wanted: Any) -> list[Any]:
        """The customer's invoices, oldest first."""
        found = self.client.v1.invoices.list({"customer": self.customer, "limit": 100, **wanted})
        return list(found.data)[::-1]

    def bill(self, value: str, **price: Any) -> Any:
        """The one line of the first month's final invoice, for so much usage."""
        self.subscribe(self.price if not price else self.metered(**price).id)
        if value:
            self.use(value, at(2026, 1, 15))
        self.emulator.clock(at(2026, 2, 1, 2))
        (invoice,) = self.invoices()
        assert invoice.status == "paid"
        (line,) = invoice.lines.data
        assert invoice.total == line.amount
        return line

    def use(self, value: str, moment: int) -> None:
        """Send usage at its own moment, as the clock passes it."""
        if self.emulator.admin("GET", "clock")["now"] < moment:
            self.emulator.clock(moment)
        self.send(value, f"{value} at {moment}", at=moment)

    def events(self, *types: str) -> list[str]:
        """What has happened, oldest first."""
        found = self.client.v1.events.list({"limit": 100, **({"types": list(types)} if types else {})})
        return [event.type for event in found.data][::-1]

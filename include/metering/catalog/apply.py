"""Bring the tables of the billing schema to what a catalog says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from metering import statements
from metering.catalog.model import Alert, Catalog, Plan, Price, PriceVersion, Team
from metering.errors import BillingError

SQL = statements.beside(__file__, "catalog")

# Each kind of row, the statement that adds what is new or records another version, and the one that changes in place.
_STEPS = (
    ("meter", "add_meters", "rename_meters"),
    ("plan", "add_plans", "rename_plans"),
    ("price", "add_prices", "rename_prices"),
    ("price version", "add_price_versions", None),
    ("team", "add_teams", "change_teams"),
    ("subscription", "add_subscriptions", None),
    ("subscription plan", "add_subscription_plans", None),
    ("alert", "set_alerts", None),
)


@dataclass(frozen=True)
class Change:
    """One row that was added, or whose successor was."""

    kind: str
    key: str
    what: str
    """`added` or `changed`."""


@dataclass(frozen=True)
class Changes:
    """What applying a catalog changed, in the order in which it was done."""

    changes: tuple[Change, ...]

    def __bool__(self) -> bool:
        return bool(self.changes)

    def __len__(self) -> int:
        return len(self.changes)

    def of(self, kind: str) -> tuple[Change, ...]:
        """The changes of one kind, such as `price version`."""
        return tuple(change for change in self.changes if change.kind == kind)


def apply(connection: psycopg.Connection[DictRow], catalog: Catalog, *, dry_run: bool = False) -> Changes:
    """Apply a catalog in one transaction and return what changed; `dry_run` says what would change and changes nothing.

    Nothing is removed: what the file leaves out stays as it is. Prices and subscriptions that changed become further
    versions; names, and the zone of a team's days, are changed in place. Raises `BillingError` where a meter or a price
    is known with another definition, because what was measured or priced by it would silently mean something else.
    """
    values = _values(catalog)
    changes: list[Change] = []
    with connection.transaction() as transaction:
        connection.execute(SQL["take_turns"])
        connection.execute(SQL["record_now"])
        _refuse_redefinitions(connection, values)
        for kind, add, change in _STEPS:
            for row in connection.execute(SQL[add], values):
                changes.append(Change(kind, row["key"], "changed" if row.get("changed") else "added"))
            if change:
                changes.extend(Change(kind, row["key"], "changed") for row in connection.execute(SQL[change], values))
        if dry_run:
            raise psycopg.Rollback(transaction)
    return Changes(tuple(changes))


def _refuse_redefinitions(connection: psycopg.Connection[DictRow], values: dict[str, Jsonb]) -> None:
    meters = [row["key"] for row in connection.execute(SQL["meters_redefined"], values)]
    if meters:
        raise BillingError(
            f"The meter {meters[0]} is known with another event, aggregation, unit, value or dimensions.",
            "A meter keeps its definition, so that past usage keeps its meaning: add a new meter under another key.",
        )
    prices = [row["key"] for row in connection.execute(SQL["prices_redefined"], values)]
    if prices:
        raise BillingError(
            f"The price {prices[0]} is known for another plan, meter, currency or match.",
            "A price keeps what it is for: add a new price under another key, or a version with other amounts.",
        )


def _values(catalog: Catalog) -> dict[str, Jsonb]:
    """The parameters of the statements: one JSON array a table, rows numbered in the order of the file."""
    prices = [(plan, price) for plan in catalog.plans for price in plan.prices]
    versions = [(price, version) for _, price in prices for version in price.versions]
    return {
        "meters": _numbered(
            [{**meter.model_dump(mode="json"), "parameters": meter.parameters} for meter in catalog.meters]
        ),
        "plans": _numbered([plan.model_dump(mode="json", include={"plan", "name"}) for plan in catalog.plans]),
        "prices": _numbered([_price(plan, price) for plan, price in prices]),
        "versions": _numbered([_version(price, version) for price, version in versions]),
        "teams": _numbered(
            [team.model_dump(mode="json", exclude={"subscription", "alerts"}) for team in catalog.teams]
        ),
        "alerts": _numbered([_alert(team, alert) for team in catalog.teams for alert in team.alerts]),
        "subscriptions": _numbered([_subscription(team) for team in catalog.teams if team.subscription]),
    }


def _numbered(rows: list[dict[str, Any]]) -> Jsonb:
    return Jsonb([{"place": place, **row} for place, row in enumerate(rows)])


def _price(plan: Plan, price: Price) -> dict[str, Any]:
    return {**price.model_dump(mode="json", exclude={"versions"}), "plan": plan.plan}


def _version(price: Price, version: PriceVersion) -> dict[str, Any]:
    over = [None, *(tier.up_to for tier in version.tiers)]
    tiers = [
        [str(bound or 0), None if tier.up_to is None else str(tier.up_to), str(tier.unit_amount), str(tier.flat_amount)]
        for bound, tier in zip(over, version.tiers, strict=False)
    ]
    return {**version.model_dump(mode="json", exclude={"tiers"}), "price": price.price, "tiers": tiers}


def _alert(team: Team, alert: Alert) -> dict[str, Any]:
    return {
        **alert.model_dump(mode="json"),
        "team": team.team,
        "measure": "amount" if alert.quantity is None else "quantity",
        "threshold": str(alert.amount if alert.quantity is None else alert.quantity),
    }


def _subscription(team: Team) -> dict[str, Any]:
    said = team.subscription
    assert said is not None
    return {
        "team": team.team,
        "plan": said.plan,
        "currency": said.currency,
        "time_zone": team.subscription_zone,
        "anchor_day": said.anchor_day,
        "starts_at": team.moment(said.starts).isoformat(),
        "ends_at": team.moment(said.ends).isoformat() if said.ends else None,
        "plan_from": team.moment(said.plan_from or said.starts).isoformat(),
    }

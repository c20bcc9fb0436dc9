"""Bring the tables of the billing schema to what a catalog says."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from metering import statements
from metering.catalog import effects
from metering.catalog.effects import SQL as EFFECTS
from metering.catalog.effects import Amounts, Difference, Effect
from metering.catalog.model import Alert, Catalog, Plan, Subscription, Team
from metering.catalog.parts import plain
from metering.catalog.price import PARAMETERS, PlanTerms, Price, PriceVersion, Tier
from metering.database import one, rows
from metering.errors import BillingError

SQL = statements.beside(__file__, "catalog")

# Each kind of row, the statement that adds what is new or records another version, and the one that changes in place.
_STEPS = (
    ("meter", "add_meters", "rename_meters"),
    ("plan", "add_plans", "rename_plans"),
    ("price", "add_prices", "rename_prices"),
    ("plan terms", "add_plan_terms", None),
    ("team", "add_teams", "change_teams"),
    ("price version", "add_price_versions", None),
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
    how: str = ""
    """Of a price version: what it says otherwise than the price did at its moment before."""


@dataclass(frozen=True)
class Changes:
    """What applying a catalog changed, in the order in which it was done, and whom it is about."""

    changes: tuple[Change, ...]
    effects: tuple[Effect, ...] = ()
    differences: tuple[Difference, ...] = ()
    """Of a dry run: what would become of bills that a change of the past is about."""
    refusal: BillingError | None = field(default=None, compare=False)
    """Of a dry run: why applying would be refused."""
    left_out: tuple[str, ...] = ()
    """What stays in force though the files name it no more, such as `price basic/calls`."""

    def __bool__(self) -> bool:
        return bool(self.changes)

    def __len__(self) -> int:
        return len(self.changes)

    def of(self, kind: str) -> tuple[Change, ...]:
        """The changes of one kind, such as `price version`."""
        return tuple(change for change in self.changes if change.kind == kind)


def apply(
    connection: psycopg.Connection[DictRow],
    catalog: Catalog,
    *,
    dry_run: bool = False,
    correction: str | None = None,
    made_by: str = "unknown",
) -> Changes:
    """Apply a catalog in one transaction and return what changed; `dry_run` says what would change and changes nothing.

    Nothing is removed: what the files leave out stays as it is. Prices and subscriptions that changed become further
    versions; names, and the zone of a team without bills, are changed in place. Raises `BillingError` where a meter, a
    price or a team's zone is known to be another, because what was measured or priced by it would silently mean
    something else; and where something is changed for a time in which a team has a billing period, unless `correction`
    says why. Then final bills stay as they are, and the difference is an adjustment on the next open one.
    """
    values = _values(catalog)
    changes: list[Change] = []
    after: Amounts = {}
    with connection.transaction(force_rollback=dry_run):
        connection.execute(SQL["take_turns"])
        since = one(connection, SQL["record_now"])["now"]
        connection.execute(EFFECTS["known_subscriptions"])
        _refuse_redefinitions(connection, catalog, values)
        for kind, add, change in _STEPS:
            for row in connection.execute(SQL[add], values):
                changes.append(Change(kind, row["key"], "changed" if row.get("changed") else "added"))
            if change:
                changes.extend(Change(kind, row["key"], "changed") for row in connection.execute(SQL[change], values))
        _refuse_other_periods(connection, catalog, since)
        left_out = tuple(f"{row['kind']} {row['key']}" for row in connection.execute(SQL["left_out"], values))
        how = {row["key"]: _how(row) for row in rows(connection, SQL["versions_compared"], since=since)}
        changes = [replace(change, how=how.get(change.key, "")) for change in changes]
        found = effects.find(connection, since, since)
        past = tuple(effect for effect in found if effect.in_the_past)
        refusal = _refusal(catalog, past) if past and correction is None else None
        if dry_run:
            after = effects.amounts(connection, (effect.team_id for effect in past))
        elif refusal:
            raise refusal
        elif past:
            told = Jsonb([_told(effect) for effect in past])
            connection.execute(
                EFFECTS["record_correction"], {"made_by": made_by, "reason": correction, "changes": told}
            )
    if not dry_run or not past:
        return Changes(tuple(changes), found, refusal=refusal, left_out=left_out)
    with connection.transaction():
        before = effects.amounts(connection, (effect.team_id for effect in past))
    return Changes(tuple(changes), found, effects.differences(before, after), refusal, left_out)


def _refusal(catalog: Catalog, past: tuple[Effect, ...]) -> BillingError:
    """Why something in the past is not changed in passing, and how it is changed on purpose."""
    said: dict[str, list[Effect]] = {}
    for effect in past:
        if effect.kind == "price version":
            place = f"{catalog.place_of_version(effect.key, effect.version_from)}: the price {effect.key}"
        elif effect.kind == "plan terms":
            place = f"{catalog.place_of_terms(effect.key, effect.version_from)}: the terms of the plan {effect.key}"
        else:
            what = f"is on {effect.key}" if effect.kind == "subscription plan" else "ends"
            place = f"{catalog.place_of_team(effect.team_key)}: when {effect.team_key} {what}"
        said.setdefault(place, []).append(effect)
    lines = []
    for place, about in list(said.items())[:20]:
        final = sum(effect.final_periods for effect in about)
        since = min(effect.changed_from for effect in about)
        teams = len({effect.team_key for effect in about})
        bills = f"{final} final {'bill' if final == 1 else 'bills'}" if final else "bills that are open"
        lines.append(
            f"{place} would change from {since:%Y-%m-%d %H:%M}Z on, for {teams} {'team' if teams == 1 else 'teams'} "
            f"and {bills}"
        )
    return BillingError(
        "What has been billed is never rewritten.\n" + ".\n".join(lines) + ".",
        "To change it from now on, add another version with a moment to come (effective_from, since). To correct the "
        "past, look at `./billing prices plan --correct`, then run `./billing prices apply --correct REASON`: final "
        "bills stay, and the difference is an adjustment on the next open bill.",
    )


def _told(effect: Effect) -> dict[str, Any]:
    return {
        "kind": effect.kind,
        "key": effect.key,
        "changed_from": effect.changed_from.isoformat(),
        "team": effect.team_key,
        "subscription": effect.subscription_key,
        "final_bills": effect.final_periods,
    }


def _refuse_other_periods(connection: psycopg.Connection[DictRow], catalog: Catalog, since: datetime) -> None:
    changed = rows(connection, EFFECTS["subscriptions_redefined"], since=since)
    if changed:
        team = changed[0]["team_key"]
        raise BillingError(
            f"{catalog.place_of_team(team)}: the subscription {changed[0]['subscription_key']} has billing periods, "
            "which follow from its start, anchor day, zone and currency.",
            "Let it end (ends), and give the team another under a key of its own (subscriptions); nothing was changed.",
        )


def _how(row: dict[str, Any]) -> str:
    """What a price version says otherwise than the price before, field by field."""
    before, after = row["before"], row["after"]
    return ", ".join(
        f"{field}: {before.get(field, 'none')} → {after.get(field, 'none')}"
        for field in sorted(before.keys() | after.keys())
        if before.get(field) != after.get(field)
    )


def _refuse_redefinitions(connection: psycopg.Connection[DictRow], catalog: Catalog, values: dict[str, Jsonb]) -> None:
    moved = connection.execute(SQL["teams_moved"], values).fetchone()
    if moved is not None:
        raise BillingError(
            f"{catalog.place_of_team(moved['key'])}: the team has usage or bills by the hours and days of "
            f"{moved['time_zone']}, its zone so far.",
            "Leave its zone as it is. A team that moves is another one from then on: let its subscription end.",
        )
    meters = [row["key"] for row in connection.execute(SQL["meters_redefined"], values)]
    if meters:
        raise BillingError(
            f"{catalog.place_of_meter(meters[0])}: the meter is known with another event, aggregation, unit, value, "
            "dimensions, filters or parameters.",
            "A meter keeps its definition, so that past usage keeps its meaning: add a new meter under another key.",
        )
    prices = [row["key"] for row in connection.execute(SQL["prices_redefined"], values)]
    if prices:
        raise BillingError(
            f"{catalog.place_of_price(prices[0])}: the price is known for another plan, meter, currency, match or "
            "hours.",
            "A price keeps what it is for: add a new price under another key, or a version with other amounts.",
        )


def _values(catalog: Catalog) -> dict[str, Jsonb]:
    """The parameters of the statements: one JSON array a table, rows numbered in the order of the file."""
    prices = [(plan, price) for plan in catalog.plans for price in plan.prices]
    versions: list[tuple[str, str | None, PriceVersion]] = [
        (price.price, None, version) for _, price in prices for version in price.versions
    ]
    versions += [
        (override.price, team.team, version)
        for team in catalog.teams
        for override in team.overrides
        for version in override.versions
    ]
    subscriptions = [(team, said) for team in catalog.teams for said in team.all_subscriptions]
    return {
        "meters": _numbered(
            [{**meter.model_dump(mode="json"), "parameters": meter.parameters} for meter in catalog.meters]
        ),
        "plans": _numbered([plan.model_dump(mode="json", include={"plan", "name"}) for plan in catalog.plans]),
        "prices": _numbered([_price(plan, price) for plan, price in prices]),
        "terms": _numbered([_terms(plan, terms) for plan in catalog.plans for terms in plan.terms]),
        "versions": _numbered([_version(price, team, version) for price, team, version in versions]),
        "teams": _numbered(
            [
                team.model_dump(mode="json", exclude={"subscription", "subscriptions", "alerts", "overrides"})
                for team in catalog.teams
            ]
        ),
        "alerts": _numbered([_alert(team, alert) for team in catalog.teams for alert in team.alerts]),
        "subscriptions": _numbered([_subscription(team, said) for team, said in subscriptions]),
        "plan_changes": _numbered([change for team, said in subscriptions for change in _plan_changes(team, said)]),
    }


def _numbered(rows: list[dict[str, Any]]) -> Jsonb:
    return Jsonb([{"place": place, **row} for place, row in enumerate(rows)])


def _price(plan: Plan, price: Price) -> dict[str, Any]:
    said = price.model_dump(mode="json", exclude={"versions", "hours"})
    return {**said, "plan": plan.plan, "hours": price.hours_as_kept}


def _terms(plan: Plan, terms: PlanTerms) -> dict[str, Any]:
    said = terms.model_dump(mode="json", include={"effective_from", "currency"})
    return {**said, "plan": plan.plan, "parameters": terms.parameters}


def _version(price: str, team: str | None, version: PriceVersion) -> dict[str, Any]:
    tiers = version.priced_tiers
    over = [None, *(tier.up_to for tier in tiers)]
    said = version.model_dump(mode="json", exclude={"tiers", *PARAMETERS})
    rows = [_tier(bound, tier) for bound, tier in zip(over, tiers, strict=False)]
    return {**said, "parameters": version.parameters, "price": price, "team": team, "tiers": rows}


def _tier(over: Decimal | None, tier: Tier) -> dict[str, Any]:
    return {
        "over": str(over or 0),
        "up_to": None if tier.up_to is None else str(tier.up_to),
        "unit_amount": str(tier.price_of_a_unit),
        "flat_amount": str(tier.flat_amount),
        "block_size": None if tier.block_size is None else str(tier.block_size),
        "limits": None if tier.limits is None else {value: plain(limit) for value, limit in tier.limits.items()},
    }


def _alert(team: Team, alert: Alert) -> dict[str, Any]:
    return {
        **alert.model_dump(mode="json"),
        "team": team.team,
        "measure": "amount" if alert.quantity is None else "quantity",
        "threshold": str(alert.amount if alert.quantity is None else alert.quantity),
    }


def _subscription(team: Team, said: Subscription) -> dict[str, Any]:
    return {
        "team": team.team,
        "subscription": said.subscription,
        "currency": said.currency,
        "time_zone": team.zone_of(said),
        "anchor_day": said.anchor_day,
        "starts_at": team.moment(said.starts, said).isoformat(),
        "ends_at": team.moment(said.ends, said).isoformat() if said.ends else None,
        "whole_history": bool(said.plans),
        "cycle_days": said.cycle.days if said.cycle else None,
        "cycle_from": said.cycle.counted_from.isoformat() if said.cycle else None,
    }


def _plan_changes(team: Team, said: Subscription) -> list[dict[str, Any]]:
    return [
        {
            "team": team.team,
            "subscription": said.subscription,
            "plan": change.plan,
            "plan_from": team.moment(change.since or said.starts, said).isoformat(),
        }
        for change in said.plan_changes
    ]

"""Whom a change of the catalog is about, since when, and what it does to bills."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.rows import DictRow

from metering import statements
from metering.database import one, rows

SQL = statements.beside(__file__, "effects")


@dataclass(frozen=True)
class Effect:
    """One change and one subscription that it is about."""

    kind: str
    """`price version`, `subscription plan` or `subscription` (which ends otherwise)."""
    key: str
    version_from: datetime
    """The effective moment of the version, in UTC."""
    changed_from: datetime
    """Since when it changes what this subscription is priced by, in UTC."""
    team_id: int = field(compare=False)
    team_key: str
    subscription_key: str
    final_periods: int
    """How many final bills are about a time that it changes."""
    open_periods: int
    """How many billing periods that are not final it changes for a time that has passed."""
    first_final: str | None

    @property
    def in_the_past(self) -> bool:
        """Whether it changes what something has been priced by already."""
        return bool(self.final_periods or self.open_periods)


@dataclass(frozen=True)
class Difference:
    """What a change does to one part of one bill. Amounts in `currency`'s major unit."""

    team_key: str
    period_label: str
    """The bill."""
    kind: str
    """`usage`, or `adjustment`: about a bill that is final."""
    about_label: str | None
    """The period whose usage it is about."""
    currency: str
    before: Decimal
    after: Decimal


Amounts = dict[tuple[str, str, datetime, str, str, str | None, str], Decimal]


def find(connection: psycopg.Connection[DictRow], since: datetime, now: datetime) -> tuple[Effect, ...]:
    """The effects of all that this transaction has recorded from `since` on, as seen at `now`."""
    return tuple(Effect(**row) for row in rows(connection, SQL["effects"], since=since, now=now))


def amounts(connection: psycopg.Connection[DictRow], teams: Iterable[int]) -> Amounts:
    """What the bills of teams come to in this transaction, in their parts; nothing where no model is deployed yet."""
    teams = sorted(set(teams))
    if not teams or not one(connection, SQL["is_rated"])["found"]:
        return {}
    connection.execute(SQL["join_whole_sets"])
    found: Amounts = {}
    for row in rows(connection, SQL["amounts"], teams=teams):
        amount = row.pop("amount")
        key: Any = tuple(row.values())
        found[key] = amount
    return found


def differences(before: Amounts, after: Amounts) -> tuple[Difference, ...]:
    """The parts of bills that are not what they were, in the order of teams and bills."""
    zero = Decimal(0)
    changed = sorted(
        (key for key in before.keys() | after.keys() if before.get(key, zero) != after.get(key, zero)),
        key=lambda key: (key[0], key[2], key[4] != "usage", key[5] or ""),
    )
    return tuple(
        Difference(key[0], key[3], key[4], key[5], key[6], before.get(key, zero), after.get(key, zero))
        for key in changed
    )

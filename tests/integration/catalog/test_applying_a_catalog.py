"""A catalog in the database: the same file changes nothing, and nothing known is overwritten."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from metering import catalog
from metering.catalog import Catalog
from metering.catalog.currencies import EXPONENTS
from metering.errors import BillingError

Edit = Callable[[str, str], Path]

Connection = psycopg.Connection[dict[str, Any]]


def _scalar(connection: Connection, statement: str) -> Any:
    row = connection.execute(statement).fetchone()
    assert row is not None
    return next(iter(row.values()))


def test_the_same_file_twice_changes_nothing_the_second_time(connection: Connection, file: Path) -> None:
    first = catalog.apply(connection, Catalog.load(file))
    assert {(change.kind, change.key) for change in first.changes} >= {
        ("meter", "api_calls"),
        ("price version", "standard/search from 2025-01-01T00:00Z"),
        ("subscription", "hook"),
        ("subscription plan", "acme on standard"),
    }
    assert all(change.what == "added" for change in first.changes)
    assert not catalog.apply(connection, Catalog.load(file))


def test_tiers_are_stored_continuous_and_exact(connection: Connection, file: Path) -> None:
    catalog.apply(connection, Catalog.load(file))
    tiers = connection.execute(
        "SELECT tier, trim_scale(over)::text AS over, trim_scale(up_to)::text AS up_to,"
        " trim_scale(unit_amount)::text AS amount"
        " FROM billing.price_tiers JOIN billing.price_versions USING (price_version_id)"
        " JOIN billing.prices USING (price_id)"
        " WHERE price_key = 'standard/search' ORDER BY tier"
    ).fetchall()
    assert [tuple(tier.values()) for tier in tiers] == [
        (1, "0", "10000", "0"),
        (2, "10000", "100000", "0.001"),
        (3, "100000", None, "0.0008"),
    ]


def test_a_changed_price_is_another_version_and_the_old_one_stays(
    connection: Connection, file: Path, edit: Edit
) -> None:
    catalog.apply(connection, Catalog.load(file))
    changes = catalog.apply(connection, Catalog.load(edit("unit_amount: 0.001", "unit_amount: 0.002")))
    assert [(c.kind, c.what) for c in changes.changes] == [("price version", "changed")]
    amounts = connection.execute(
        "SELECT trim_scale(unit_amount)::text AS amount FROM billing.price_tiers JOIN billing.price_versions"
        " USING (price_version_id) JOIN billing.prices USING (price_id)"
        " WHERE price_key = 'standard/search' AND tier = 2 ORDER BY recorded_at"
    ).fetchall()
    assert [row["amount"] for row in amounts] == ["0.001", "0.002"]
    assert not catalog.apply(connection, Catalog.load(file))


def test_going_back_to_an_earlier_price_is_a_third_version(connection: Connection, file: Path, edit: Edit) -> None:
    catalog.apply(connection, Catalog.load(file))
    catalog.apply(connection, Catalog.load(edit("unit_amount: 0.001", "unit_amount: 0.002")))
    catalog.apply(connection, Catalog.load(edit("unit_amount: 0.002", "unit_amount: 0.001")))
    assert _scalar(connection, "SELECT count(*) FROM billing.price_versions") == 4


def test_a_changed_subscription_is_another_version(connection: Connection, file: Path, edit: Edit) -> None:
    catalog.apply(connection, Catalog.load(file))
    changes = catalog.apply(connection, Catalog.load(edit("ends: 2026-12-15", "ends: 2027-01-15")))
    assert [(c.kind, c.key, c.what) for c in changes.changes] == [("subscription", "hook", "changed")]
    assert _scalar(connection, "SELECT count(*) FROM billing.subscriptions") == 3


def test_a_plan_changes_from_a_date_on_and_the_old_one_keeps_the_time_before(
    connection: Connection, file: Path, edit: Edit
) -> None:
    catalog.apply(connection, Catalog.load(file))
    edit(
        "plans:\n",
        "plans:\n  - {plan: basic, name: Basic, prices: [{price: basic/s, name: S, meter: storage, currency: USD,"
        " versions: [{effective_from: 2025-01-01T00:00:00Z, model: flat, charge_unit: x,"
        " tiers: [{flat_amount: 5}]}]}]}\n",
    )
    edit(
        "plan: standard, currency: USD, starts: 2026-09-01",
        "plan: basic, currency: USD, starts: 2026-09-01, plan_from: 2026-10-01",
    )
    catalog.apply(connection, Catalog.load(file))
    plans = connection.execute(
        "SELECT plan_key FROM billing.subscription_plans JOIN billing.plans USING (plan_id)"
        " JOIN billing.teams USING (team_id)"
        " WHERE team_key = 'acme' ORDER BY effective_from"
    ).fetchall()
    assert [row["plan_key"] for row in plans] == ["standard", "basic"]


def test_a_meter_keeps_its_definition(connection: Connection, file: Path, edit: Edit) -> None:
    catalog.apply(connection, Catalog.load(file))
    with pytest.raises(
        BillingError, match=r"prices\.yaml, line 2, meters → api_calls: the meter is known with another"
    ):
        catalog.apply(connection, Catalog.load(edit("unit: request, dimensions", "unit: call, dimensions")))


def test_a_price_keeps_what_it_is_for_and_nothing_of_the_file_is_applied(
    connection: Connection, file: Path, edit: Edit
) -> None:
    catalog.apply(connection, Catalog.load(file))
    edit("name: Acme", "name: Acme Incorporated")
    with pytest.raises(
        BillingError,
        match=r"prices\.yaml, line 8, plans → standard → prices → standard/search: the price is known for another",
    ):
        catalog.apply(connection, Catalog.load(edit("match: {endpoint: search}", "match: {endpoint: find}")))
    assert _scalar(connection, "SELECT team_name FROM billing.teams WHERE team_key = 'acme'") == "Acme"


def test_a_dry_run_says_what_would_change_and_changes_nothing(connection: Connection, file: Path) -> None:
    planned = catalog.apply(connection, Catalog.load(file), dry_run=True)
    assert _scalar(connection, "SELECT count(*) FROM billing.teams") == 0
    assert catalog.apply(connection, Catalog.load(file)) == planned


def test_names_are_changed_in_place(connection: Connection, file: Path, edit: Edit) -> None:
    catalog.apply(connection, Catalog.load(file))
    changes = catalog.apply(connection, Catalog.load(edit("name: Search", "name: Search requests")))
    assert [(c.kind, c.key, c.what) for c in changes.changes] == [("price", "standard/search", "changed")]


def test_the_currencies_known_here_are_those_of_the_database(connection: Connection) -> None:
    rows = connection.execute("SELECT currency, exponent FROM billing.currencies").fetchall()
    assert {row["currency"]: row["exponent"] for row in rows} == EXPONENTS


def test_alerts_are_set_and_changed_in_place(connection: Connection) -> None:
    def with_alert(**alert: object) -> Catalog:
        team = {"team": "acme", "name": "Acme", "time_zone": "UTC", "alerts": [{"alert": "budget", **alert}]}
        return Catalog.read({"teams": [team]})

    first = catalog.apply(connection, with_alert(amount="100"))
    assert [(change.kind, change.key, change.what) for change in first.of("alert")] == [
        ("alert", "acme budget", "added")
    ]
    assert not catalog.apply(connection, with_alert(amount="100.0"))
    hook = {"webhook": "https://example.org/alerts"}
    changed = catalog.apply(connection, with_alert(amount="120", severity="hard", channels=["log", hook]))
    assert [change.what for change in changed.of("alert")] == ["changed"]
    alert = connection.execute("SELECT threshold, severity, channels FROM billing.alerts").fetchone()
    assert alert is not None
    assert (alert["threshold"], alert["severity"], alert["channels"]) == (120, "hard", ["log", hook])
    with pytest.raises(BillingError, match="either an amount or a quantity"):
        with_alert()
    with pytest.raises(BillingError, match="no meter calls"):
        with_alert(quantity="5", meter="calls")

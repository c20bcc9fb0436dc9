"""What a change is about: since when and for whom; and that the past is changed on purpose or not at all."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from metering import catalog, periods
from metering.catalog import Catalog
from metering.cli import prices
from metering.errors import BillingError

Edit = Callable[[str, str], Path]
Connection = psycopg.Connection[dict[str, Any]]

NEXT_VERSION = """\
          - effective_from: {moment}
            model: per_unit
            charge_unit: GB-month
            per_period_hour: true
            tiers: [{{unit_amount: 0.20}}]
teams:
"""


@pytest.fixture
def billed(connection: Connection, file: Path) -> Path:
    """The small catalog, applied; its periods are open, and those of September are final."""
    file.write_text(file.read_text(encoding="utf-8").replace("ends: 2026-12-15", "ends: 2086-12-15"), encoding="utf-8")
    catalog.apply(connection, Catalog.load(file))
    periods.open_periods(connection)
    connection.execute(
        "UPDATE billing.billing_periods SET status = 'finalized', finalized_at = now()"
        " WHERE period_label LIKE '2026-09%'"
    )
    return file


def _moment(delta: timedelta) -> str:
    return f"{datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + delta:%Y-%m-%dT%H:%M:%SZ}"


def _with_version(edit: Edit, moment: str) -> Path:
    return edit("teams:\n", NEXT_VERSION.format(moment=moment))


def test_a_version_to_come_is_recorded_and_told_for_whom(connection: Connection, billed: Path, edit: Edit) -> None:
    found = Catalog.load(_with_version(edit, _moment(timedelta(days=2))))
    planned = catalog.apply(connection, found, dry_run=True)
    assert [change.kind for change in planned.changes] == ["price version"]
    assert [(effect.key, effect.team_key, effect.final_periods) for effect in planned.effects] == [
        ("standard/storage", "acme", 0),
        ("standard/storage", "hook", 0),
    ]
    assert planned.refusal is None
    assert catalog.apply(connection, found) == planned
    assert not catalog.apply(connection, found)


def test_a_plan_says_what_a_version_says_otherwise(connection: Connection, file: Path, edit: Edit) -> None:
    assert {change.how for change in catalog.apply(connection, Catalog.load(file)).changes} == {""}
    edit("unit_amount: 0.001", "unit_amount: 0.0025")
    edit("tiers: [{unit_amount: 0.10}]", "tiers: [{unit_amount: 0.10}]\n            minimum_amount: 5")
    changes = catalog.apply(connection, Catalog.load(file), dry_run=True).of("price version")
    assert [change.how for change in changes] == ["tier 2 unit_amount: 0.001 → 0.0025", "minimum_amount: none → 5"]
    _with_version(edit, "2086-01-01T00:00:00Z")
    (added,) = [change for change in catalog.apply(connection, Catalog.load(file)).changes if "2086" in change.key]
    assert added.how == "tier 1 unit_amount: 0.1 → 0.2"


def test_a_plan_says_what_terms_and_own_prices_say_otherwise(connection: Connection, file: Path, edit: Edit) -> None:
    terms = "terms: [{effective_from: 2025-01-01T00:00:00Z, currency: USD, minimum_amount: 50, discount_percent: 5}]"
    edit("    name: Standard\n", f"    name: Standard\n    {terms}\n")
    assert {change.how for change in catalog.apply(connection, Catalog.load(file)).changes} == {""}
    edit("minimum_amount: 50, discount_percent: 5", "minimum_amount: 75, commitment_amount: 40")
    (changed,) = catalog.apply(connection, Catalog.load(file), dry_run=True).changes
    assert changed.kind == "plan terms"
    assert changed.how == "commitment_amount: none → 40, discount_percent: 5 → none, minimum_amount: 50 → 75"
    edit("minimum_amount: 75, commitment_amount: 40", "minimum_amount: 50, discount_percent: 5")
    own = "overrides: [{price: standard/storage, versions: [{effective_from: 2026-01-01T00:00:00Z, model: per_unit,"
    own += " charge_unit: GB-month, per_period_hour: true, tiers: [{unit_amount: 0.07}]}]}]"
    edit("    name: Acme\n", f"    name: Acme\n    {own}\n")
    (added,) = catalog.apply(connection, Catalog.load(file), dry_run=True).changes
    assert added.how == "tier 1 unit_amount: 0.1 → 0.07"


def test_what_the_files_name_no_more_is_told_to_stay_in_force(connection: Connection, file: Path, edit: Edit) -> None:
    own = "overrides: [{price: standard/search, versions: [{effective_from: 2026-01-01T00:00:00Z, model: per_unit,"
    own += " charge_unit: request, tiers: [{unit_amount: 1}]}]}]"
    edit("    name: Acme\n", f"    name: Acme\n    {own}\n")
    assert catalog.apply(connection, Catalog.load(file)).left_out == ()
    edit(f"    {own}\n", "")
    edit("price: standard/storage", "price: standard/stored")
    edit("        meter: storage\n        currency: USD", "        meter: storage\n        currency: EUR")
    changes = catalog.apply(connection, Catalog.load(file), dry_run=True)
    assert changes.left_out == ("override acme of standard/search", "price standard/storage")


def test_a_refusal_names_the_line_of_terms_and_of_a_teams_own_price(
    connection: Connection, billed: Path, edit: Edit
) -> None:
    edit(
        "    name: Standard\n",
        "    name: Standard\n    terms:\n{terms}\n".format(
            terms="      - {effective_from: 2025-01-01T00:00:00Z, currency: USD, minimum_amount: 50}"
        ),
    )
    own = "overrides: [{price: standard/storage, versions: [{effective_from: 2025-01-01T00:00:00Z, model: per_unit,"
    own += " charge_unit: GB-month, per_period_hour: true, tiers: [{unit_amount: 0.07}]}]}]"
    edit("    name: Acme\n", f"    name: Acme\n    {own}\n")
    refusal = catalog.apply(connection, Catalog.load(billed), dry_run=True).refusal
    assert refusal is not None
    lines = billed.read_text(encoding="utf-8").splitlines()
    for text, place in (
        ("minimum_amount: 50", "plans → standard → terms → 2025-01-01"),
        ("unit_amount: 0.07", "teams → acme → overrides → standard/storage → versions"),
    ):
        number = 1 + next(index for index, line in enumerate(lines) if text in line)
        assert f"prices.yaml, line {number}, {place}" in refusal.message


def test_a_team_with_bills_keeps_the_zone_of_its_days(connection: Connection, billed: Path, edit: Edit) -> None:
    edit("Asia/Kathmandu\n", "Asia/Kolkata\n")
    with pytest.raises(BillingError, match=r"prices\.yaml, line 32, teams → acme: the team has usage or bills by"):
        catalog.apply(connection, Catalog.load(billed), dry_run=True)


def test_a_team_with_usage_keeps_it_before_its_first_bill(connection: Connection, file: Path, edit: Edit) -> None:
    catalog.apply(connection, Catalog.load(file))
    edit("Asia/Kathmandu\n", "Asia/Kolkata\n")
    assert catalog.apply(connection, Catalog.load(file), dry_run=True).of("team")
    connection.execute(
        "INSERT INTO landing.event_keys (team_id, key_digest, content_digest, occurred_at)"
        " SELECT team_id, gen_random_uuid(), gen_random_uuid(), now() FROM billing.teams WHERE team_key = 'acme'"
    )
    with pytest.raises(BillingError, match="teams → acme: the team has usage or bills"):
        catalog.apply(connection, Catalog.load(file), dry_run=True)


def test_a_price_that_has_billed_is_not_rewritten_in_passing(connection: Connection, billed: Path, edit: Edit) -> None:
    edit("unit_amount: 0.001", "unit_amount: 0.002")
    lines = billed.read_text(encoding="utf-8").splitlines()
    line = 1 + next(number for number, text in enumerate(lines) if "effective_from" in text)
    planned = catalog.apply(connection, Catalog.load(billed), dry_run=True)
    assert planned.refusal is not None
    with pytest.raises(BillingError) as refused:
        catalog.apply(connection, Catalog.load(billed))
    assert refused.value.message == planned.refusal.message
    assert f"prices.yaml, line {line}, plans → standard → prices → standard/search" in refused.value.message
    assert "for 2 teams and 2 final bills" in refused.value.message
    assert "./billing prices apply --correct REASON" in refused.value.remedy
    assert connection.execute("SELECT FROM billing.price_versions").rowcount == 2


def test_a_correction_says_why_and_is_remembered(connection: Connection, billed: Path, edit: Edit) -> None:
    edit("unit_amount: 0.001", "unit_amount: 0.002")
    changes = catalog.apply(connection, Catalog.load(billed), correction="a digit was wrong", made_by="fay")
    assert [(effect.team_key, effect.final_periods) for effect in changes.effects] == [("acme", 1), ("hook", 1)]
    (kept,) = connection.execute("SELECT reason, made_by, changes FROM billing.catalog_corrections").fetchall()
    assert (kept["reason"], kept["made_by"], len(kept["changes"])) == ("a digit was wrong", "fay", 2)
    assert connection.execute("SELECT FROM billing.price_versions").rowcount == 3


def test_a_version_that_begins_within_an_open_period_is_a_correction_too(
    connection: Connection, billed: Path, edit: Edit
) -> None:
    found = Catalog.load(_with_version(edit, _moment(timedelta(hours=-3))))
    with pytest.raises(BillingError, match="for 2 teams and bills that are open"):
        catalog.apply(connection, found)
    assert catalog.apply(connection, found, correction="agreed yesterday")


def test_a_price_that_nobody_has_a_period_with_may_change_freely(
    connection: Connection, file: Path, edit: Edit
) -> None:
    catalog.apply(connection, Catalog.load(file))
    assert catalog.apply(connection, Catalog.load(edit("unit_amount: 0.001", "unit_amount: 0.002")))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("currency: USD, anchor_day: 15", "currency: USD, anchor_day: 14", "follow from its start, anchor day"),
        ("ends: 2086-12-15", "ends: 2026-10-15", "when hook ends would change from 2026-10-14 22:00Z on"),
    ],
)
def test_a_subscription_keeps_the_periods_that_it_has_had(
    connection: Connection, billed: Path, edit: Edit, old: str, new: str, says: str
) -> None:
    with pytest.raises(BillingError, match=re.escape(says)):
        catalog.apply(connection, Catalog.load(edit(old, new)))


def test_a_plan_of_the_past_is_changed_on_purpose_and_one_to_come_just_so(
    connection: Connection, billed: Path, edit: Edit
) -> None:
    other = "plans:\n  - {plan: basic, name: Basic, prices: [{price: basic/s, name: S, meter: storage, currency: USD, "
    other += "versions: [{effective_from: 2025-01-01T00:00:00Z, model: flat, charge_unit: x, "
    edit("plans:\n", other + "tiers: [{flat_amount: 5}]}]}]}\n")
    history = "plans: [{plan: standard}, {plan: basic, since: SINCE}], currency: USD, starts: 2026-09-01"
    edit("plan: standard, currency: USD, starts: 2026-09-01", history.replace("SINCE", "2026-09-11"))
    with pytest.raises(
        BillingError, match="when acme is on basic would change from 2026-09-10 18:15Z on, for 1 team and 1"
    ):
        catalog.apply(connection, Catalog.load(billed))
    to_come = _moment(timedelta(days=3))
    catalog.apply(connection, Catalog.load(edit("since: 2026-09-11", f"since: {to_come}")))
    plans = "SELECT plan_key FROM billing.subscription_plans JOIN billing.plans USING (plan_id) JOIN billing.teams"
    plans += " USING (team_id) WHERE team_key = 'acme' ORDER BY effective_from, recorded_at"
    assert [row["plan_key"] for row in connection.execute(plans)] == ["standard", "basic"]
    # What the list does not name any more is undone: the plan before it goes on.
    changes = catalog.apply(connection, Catalog.load(edit(f", {{plan: basic, since: {to_come}}}", "")))
    assert [(change.kind, change.key) for change in changes.changes] == [("subscription plan", "acme on standard")]
    assert [row["plan_key"] for row in connection.execute(plans)] == ["standard", "basic", "standard"]


def test_the_command_shows_for_whom_and_refuses_with_the_line(
    database_url: str, billed: Path, edit: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("BILLING_CATALOG", str(billed))
    _with_version(edit, _moment(timedelta(days=2)))
    shown = CliRunner().invoke(prices.app, ["plan"])
    assert shown.exit_code == 0
    assert re.search(r"price version +standard/storage +20\d\d-\d\d-\d\d \d\d:00Z +2 teams: acme, hook", shown.output)
    edit("unit_amount: 0.001", "unit_amount: 0.002")
    refused = CliRunner().invoke(prices.app, ["plan", str(billed)])
    assert refused.exit_code == 1
    assert isinstance(refused.exception, BillingError)
    assert "2 teams: acme, hook  2" in re.sub(" +", lambda gap: "  " if len(gap[0]) > 1 else " ", refused.output)
    assert CliRunner().invoke(prices.app, ["plan", "--correct"]).exit_code == 0
    assert isinstance(CliRunner().invoke(prices.app, ["apply", "--correct", " "]).exception, BillingError)

"""A catalog in several files, and the schema by which editors complete them."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from metering.catalog import Catalog, schema
from metering.errors import BillingError

METERS = "meters:\n  - {meter: calls, name: Calls, event: call, aggregation: sum, unit: call}\n"
PLAN = """\
plans:
  - plan: PLAN
    name: Plan
    prices:
      - price: PLAN/calls
        name: Calls
        meter: calls
        currency: EUR
        versions:
          - effective_from: 2025-01-01T00:00:00Z
            model: per_unit
            charge_unit: call
            tiers: [{unit_amount: "0.001"}]
"""
TEAMS = """\
teams:
  - team: acme
    name: Acme
    time_zone: Europe/Berlin
    subscription: {plan: one, currency: EUR, starts: 2026-09-01}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "one.yaml").write_text(PLAN.replace("PLAN", "one"), encoding="utf-8")
    (tmp_path / "plans" / "two.yml").write_text(PLAN.replace("PLAN", "two"), encoding="utf-8")
    (tmp_path / "meters.yaml").write_text(METERS, encoding="utf-8")
    (tmp_path / "teams.yaml").write_text(TEAMS, encoding="utf-8")
    (tmp_path / "empty.yaml").write_text("# nobody yet\nteams:\n", encoding="utf-8")
    (tmp_path / ".draft.yaml").write_text("nonsense", encoding="utf-8")
    return tmp_path


def test_the_files_of_a_folder_are_one_catalog(folder: Path) -> None:
    catalog = Catalog.load(folder)
    assert [plan.plan for plan in catalog.plans] == ["one", "two"]
    assert [team.team for team in catalog.teams] == ["acme"]


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        (
            "plans/two.yml",
            "meter: calls",
            "meter: call",
            "plans/two.yml, line 7, plans → two → prices → two/calls → meter",
        ),
        (
            "plans/two.yml",
            "plan: two",
            "plan: one",
            "plans/two.yml, line 2, plans → one → plan: another plan is called one",
        ),
        ("teams.yaml", "currency: EUR", "currency: EUX", "teams.yaml, line 5, teams → acme → subscription → currency"),
        (
            "teams.yaml",
            "plan: one",
            "plan: three",
            "teams.yaml, line 5, teams → acme → subscription → plan: there is no",
        ),
        ("empty.yaml", "teams:", "team: []", "empty.yaml, line 2, team: is not a field that is known here"),
        ("empty.yaml", "teams:", "[1]", "empty.yaml: holds no part of a catalog"),
    ],
)
def test_a_mistake_is_named_by_the_file_in_which_it_stands(
    folder: Path, name: str, old: str, new: str, says: str
) -> None:
    path = folder / name
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(BillingError) as raised:
        Catalog.load(folder)
    assert says in raised.value.message


@pytest.mark.parametrize(
    ("subscription", "says"),
    [
        (
            "{plans: [{plan: one}], ends: 2026-08-01, currency: EUR, starts: 2026-09-01}",
            "ends at 2026-07-31 22:00Z, before",
        ),
        (
            "{plans: [{plan: one}, {plan: two}], currency: EUR, starts: 2026-09-01}",
            "plans → two: does not say since when",
        ),
        (
            "{plans: [{plan: one}, {plan: two, since: 2026-09-01}], currency: EUR, starts: 2026-09-01}",
            "no later than the plan before it, which would end before it starts",
        ),
        (
            "{plans: [{plan: one, since: 2026-10-01}], currency: EUR, starts: 2026-09-01}",
            "counts from when the subscription",
        ),
        ("{plan: one, plans: [{plan: two}], currency: EUR, starts: 2026-09-01}", "either a plan or a list of plans"),
        ("{currency: EUR, starts: 2026-09-01}", "either a plan or a list of plans"),
        (
            "{plans: [{plan: one}, {plan: two, since: 2026-10-01}], currency: EUR, starts: 2026-09-01, "
            "ends: 2026-10-01}",
            "begins when the subscription is over",
        ),
    ],
)
def test_a_history_of_plans_has_one_at_each_moment(folder: Path, subscription: str, says: str) -> None:
    teams = folder / "teams.yaml"
    text = TEAMS.replace("{plan: one, currency: EUR, starts: 2026-09-01}", subscription)
    teams.write_text(text, encoding="utf-8")
    with pytest.raises(BillingError) as raised:
        Catalog.load(folder)
    assert "teams.yaml, line 5" in raised.value.message
    assert says in raised.value.message


def test_subscriptions_of_a_team_follow_one_another(folder: Path) -> None:
    first = "{plan: one, currency: EUR, starts: 2026-09-01, ends: 2026-10-01}"
    second = "{subscription: again, plan: two, currency: EUR, anchor_day: 10, starts: 2026-10-01}"
    teams = folder / "teams.yaml"
    old = "subscription: {plan: one, currency: EUR, starts: 2026-09-01}"
    teams.write_text(TEAMS.replace(old, f"subscriptions: [{first}, {second}]"), encoding="utf-8")
    assert [said.subscription for said in Catalog.load(folder).teams[0].all_subscriptions] == ["main", "again"]
    overlapping = first.replace("2026-10-01", "2026-10-02")
    teams.write_text(TEAMS.replace(old, f"subscriptions: [{overlapping}, {second}]"), encoding="utf-8")
    with pytest.raises(BillingError, match="begins before the subscription before it ends"):
        Catalog.load(folder)


def test_a_folder_without_a_catalog_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(BillingError) as raised:
        Catalog.load(tmp_path)
    assert "./billing init --preset" in raised.value.remedy


def test_the_schema_is_that_of_the_models() -> None:
    current = schema.FILE.read_text(encoding="utf-8")
    assert current == schema.text(), (
        "Run `./billing prices schema > include/metering/catalog/catalog.schema.json`, and commit it."
    )


def test_the_schema_takes_a_good_file_and_names_a_bad_field(file: Path) -> None:
    known = json.loads(schema.text())
    validator = jsonschema.Draft202012Validator(known)
    # As an editor reads it: times are text there.
    good = yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    good["teams"][1]["subscription"]["anchor_day"] = 15
    good["plans"][0]["prices"][1]["versions"][0]["per_period_hour"] = True
    assert [*validator.iter_errors(good)] == []
    good["meters"][0]["aggregation"] = "total"
    good["plans"][0]["prices"][0]["colour"] = "red"
    assert {error.json_path for error in validator.iter_errors(good)} == {
        "$.meters[0].aggregation",
        "$.plans[0].prices[0]",
    }


def test_every_field_of_the_schema_is_described_to_whoever_completes_it() -> None:
    known = json.loads(schema.text())
    parts = {"the catalog": known, **known["$defs"]}
    assert [
        f"{part}: {field}"
        for part, said in parts.items()
        for field, of in said.get("properties", {}).items()
        if not of.get("description")
    ] == []

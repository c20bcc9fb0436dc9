"""The worked examples of docs/prices.md, billed as they stand there: what each comes to is what it says beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from metering import catalog

PAGE = Path(__file__).parents[3] / "docs" / "prices.md"
CENTURY = "2000-01-01T00:00:00Z"
DAY = "2026-09-02"


@dataclass(frozen=True)
class Use:
    """Usage under one example, and the figures that its comment has for it."""

    usage: list[tuple[str, dict[str, str]]]
    """Values, hour by hour, each with its properties."""
    lines: dict[str, str]
    """What the lines come to by kind; each figure stands in the comment, in this writing."""
    starts: str = "2026-09-01"
    meter: dict[str, Any] = field(default_factory=dict)


def used(*values: str, **properties: str) -> list[tuple[str, dict[str, str]]]:
    return [(value, properties) for value in values]


# By the comment's first words, what is used under the example; the page has the prices.
EXAMPLES: dict[str, list[Use]] = {
    "Owed for the month": [Use([], {"usage": "49.90"}), Use([], {"usage": "24.95"}, starts="2026-09-16")],
    "1,500 units": [Use(used("1500"), {"usage": "0.60"})],
    "150 units": [Use(used("150"), {"usage": "170"}), Use(used("100"), {"usage": "200"})],
    "10 packages are begun": [Use(used("3900"), {"usage": "29.50"})],
    "15 units:": [Use(used("15"), {"usage": "30"})],
    "200.00 of payments": [Use(used("50", "150"), {"usage": "6.40"})],
    "Events say that they cost": [Use(used("0.70", "0.55", "2.20"), {"usage": "4.31"})],
    "150.00 of payments": [Use(used("150"), {"usage": "16.00"})],
    "10 of a and 30 of b": [
        Use(used("10", unit="a") + used("30", unit="b"), {"usage": "20"}, meter={"aggregation": "max"})
    ],
    "3,661 seconds": [Use(used("3661"), {"usage": "3"})],
    "9 units in one hour": [Use(used("9", "11"), {"usage": "4.50"})],
    "15 units of eu": [Use(used("15", region="eu") + used("5", region="us"), {"usage": "35"})],
    "Events of 50, 100": [Use(used("50", "100", "250", "400"), {"usage": "11.15"}, meter={"keep_events": True})],
    "700 units": [
        Use(used("700"), {"usage": "1400.00", "overage": "200.00"}),
        Use(used("300"), {"usage": "600.00", "true_up": "400.00"}),
    ],
    "300 units": [
        Use(used("300"), {"usage": "300.00", "discount": "-30.00", "maximum": "-20.00"}),
        Use(used("20"), {"usage": "20.00", "discount": "-2.00", "minimum": "82.00"}),
    ],
}


def examples() -> dict[str, dict[str, Any]]:
    """Every block of the page that is a version of a price, by its comment."""
    blocks = re.findall(r"```yaml\n((?:# [^\n]*\n)+)(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return {comment: yaml.safe_load(text) for comment, text in blocks}


def test_each_example_of_the_page_comes_to_what_it_says(house: Any) -> None:
    content: dict[str, list[Any]] = {"meters": [], "plans": [], "teams": []}
    found = {comment: said for comment, said in examples().items() if "model" in said}
    billed: list[tuple[str, str, Use]] = []
    for place, (comment, version) in enumerate(found.items()):
        (uses,) = [uses for words, uses in EXAMPLES.items() if comment.startswith(f"# {words}")]
        key = f"example-{place}"
        meter = {
            "meter": key, "name": key, "event": key, "aggregation": "sum", "unit": "unit",
            "dimensions": ["unit", "region"], **uses[0].meter,
        }  # fmt: skip
        price = {
            "price": key, "name": key, "meter": key, "currency": "USD",
            "versions": [{"effective_from": CENTURY, "charge_unit": "unit", **texts(version)}],
        }  # fmt: skip
        content["meters"].append(meter)
        content["plans"].append({"plan": key, "name": key, "prices": [price]})
        for number, use in enumerate(uses):
            team = f"{key}-{number}"
            subscription = {"plan": key, "currency": "USD", "starts": use.starts, "ends": "2026-10-01"}
            content["teams"].append({"team": team, "name": team, "time_zone": "UTC", "subscription": subscription})
            billed.append((team, comment, use))
    assert len(found) == len(EXAMPLES)
    catalog.apply(house.connection, catalog.Catalog.read(content))
    house.teams |= {
        row["team_key"]: row["team_id"] for row in house.query("select team_key, team_id from billing.teams")
    }
    for team, _, use in billed:
        for hour, (value, properties) in enumerate(use.usage):
            house.event(team, f"{hour}", team.rpartition("-")[0], f"{DAY}T{hour:02}:30:00Z", value, **properties)
    house.aggregate()
    for team, comment, use in billed:
        rows = house.query("select kind, amount from marts.fct_bill_lines where team_key = %s", team)
        assert {row["kind"]: row["amount"] for row in rows} == {
            kind: Decimal(figure) for kind, figure in use.lines.items()
        }, comment
        for figure in use.lines.values():
            assert re.search(rf"(?<![\d.,]){re.escape(figure)}(?![\d,]|\.\d)", comment), (figure, comment)


def test_the_matrix_of_the_page_tells_markets_and_hours_apart(house: Any) -> None:
    (comment,) = [comment for comment, said in examples().items() if "prices" in said]
    prices = texts(examples()[comment]["prices"])
    meter = {
        "meter": "vm_hours", "name": "Hours", "event": "vm", "aggregation": "sum", "unit": "hour",
        "dimensions": ["market"],
    }  # fmt: skip
    subscription = {"plan": "vm", "currency": "USD", "starts": "2026-09-01"}
    content = {
        "meters": [meter],
        "plans": [{"plan": "vm", "name": "vm", "prices": prices}],
        "teams": [{"team": "t", "name": "t", "time_zone": "Asia/Kathmandu", "subscription": subscription}],
    }
    catalog.apply(house.connection, catalog.Catalog.read(content))
    house.teams["t"] = house.value("select team_id from billing.teams")
    # 08:00 in Kathmandu is 02:15 UTC.
    house.event("t", "spot", "vm", f"{DAY}T05:00:00Z", "10", market="spot")
    house.event("t", "peak", "vm", f"{DAY}T02:15:00Z", "6", market="on-demand")
    house.event("t", "night", "vm", f"{DAY}T02:14:59Z", "4", market="on-demand")
    house.aggregate()
    rows = house.query("select line_key, amount from marts.fct_bill_lines where period_label = '2026-09'")
    amounts = {row["line_key"].partition("@")[0]: row["amount"] for row in rows}
    assert amounts == {"vm/spot": 3, "vm/peak": 12, "vm/on-demand": 4}
    assert "cost 3," in comment and "6 × 2 + 4 × 1 = 16." in comment


def texts(said: Any) -> Any:
    """The same, its numbers as texts: YAML makes floats of them here, and the catalog takes none."""
    if isinstance(said, dict):
        return {name: texts(value) for name, value in said.items()}
    if isinstance(said, list):
        return [texts(value) for value in said]
    return str(said) if isinstance(said, float) else said

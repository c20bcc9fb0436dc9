"""What a meter may say beside its aggregation: filters, dimensions, conversion of units, rounding."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from metering import catalog
from metering.catalog import Catalog

METERS: dict[str, dict[str, Any]] = {
    "eu": {"filters": {"region": ["eu", "uk"], "tier": ["gold"]}},
    "gigabytes": {"multiplier": "0.000000001", "unit": "GB", "value_property": "bytes"},
    "hours": {"value_property": "seconds", "unit": "second"},  # its price divides by 3600
    "up": {"rounding": "up"},
    "down": {"rounding": "down", "precision": 1},
    "round": {"rounding": "round", "precision": 1},
    "hundreds": {"rounding": "round", "precision": -2},
    "up_to_hundreds": {"rounding": "up", "precision": -2},
    "average": {"aggregation": "average", "rounding": "round", "precision": 3},
    "peaks_a_day": {"aggregation": "bucketed_max", "bucket": "day"},
    "sums_a_day": {"aggregation": "bucketed_sum", "bucket": "day", "multiplier": "2"},
    "slices": {"dimensions": ["region", "tier", "kind"]},
    "users": {"aggregation": "unique_count", "value_property": "user", "filters": {"region": ["eu"]}},
}
EVENTS = [
    ("2026-10-02T10:00:00Z", "120.25", "eu", "gold", {"bytes": "1500000000", "seconds": "5400", "user": "a"}),
    ("2026-10-02T11:00:00Z", "10.5", "uk", "gold", {"bytes": "1", "seconds": "1800", "user": "b"}),
    ("2026-10-02T23:59:59Z", "7", "eu", "free", {"kind": "x", "bytes": "500000000", "seconds": "0", "user": "a"}),
    # Landed before there was a meter that takes a number from its bytes.
    ("2026-10-03T00:00:00Z", "12", "us", "gold", {"bytes": "many", "seconds": "0", "user": "c"}),
]


def test_meters_filter_convert_and_round(house: Any) -> None:
    version = {"effective_from": "2020-01-01T00:00:00Z", "model": "per_unit", "tiers": [{"unit_amount": "1"}]}
    plan = {"plan": "all", "name": "All", "prices": []}
    meters = []
    for key, said in METERS.items():
        meters.append({"meter": key, "name": key, "event": "reading", "aggregation": "sum", "unit": "unit", **said})
        divided = {"charge_unit": "hour", "unit_divisor": 3600} if key == "hours" else {"charge_unit": "unit"}
        price = {"price": f"all/{key}", "name": key, "meter": key, "currency": "USD"}
        plan["prices"].append({**price, "versions": [{**version, **divided}]})
    subscription = {"plan": "all", "currency": "USD", "starts": "2026-10-01"}
    team = {"team": "acme", "name": "Acme", "time_zone": "UTC", "subscription": subscription}
    catalog.apply(house.connection, Catalog.read({"meters": meters, "plans": [plan], "teams": [team]}))
    house.teams["acme"] = house.value("select team_id from billing.teams")
    for number, (at, quantity, region, tier, properties) in enumerate(EVENTS):
        house.event("acme", f"r{number}", "reading", at, quantity, region=region, tier=tier, **properties)
    house.aggregate()

    lines = house.query(
        "select meter_key, quantity, charge_quantity from marts.fct_bill_lines where period_label = '2026-10'"
    )
    found = {row["meter_key"]: row["quantity"].normalize() + 0 for row in lines}
    assert found == {
        "eu": Decimal("130.75"),
        "gigabytes": Decimal("2.000000001"),
        "hours": 7200,
        "up": 150,  # of 149.75
        "down": Decimal("149.7"),
        "round": Decimal("149.8"),
        "hundreds": 100,
        "up_to_hundreds": 200,
        "average": Decimal("37.438"),  # 37.4375
        "peaks_a_day": Decimal("132.25"),
        "sums_a_day": Decimal("299.5"),
        "slices": Decimal("149.75"),
        "users": 1,
    }
    assert {row["charge_quantity"] for row in lines if row["meter_key"] == "hours"} == {2}
    # Rounded in each window as in the period, and told apart by all dimensions that an event names.
    days = house.query(
        "select meter_key, local_day::date::text as day, daily.dimensions, quantity from marts.fct_usage_daily as daily"
        " join billing.meters using (meter_id) where meter_key in ('up', 'slices') order by 1, 2, quantity"
    )
    assert [(row["day"], row["quantity"]) for row in days if row["meter_key"] == "up"] == [
        ("2026-10-02", 138),
        ("2026-10-03", 12),
    ]
    assert [(row["dimensions"], row["quantity"]) for row in days if row["meter_key"] == "slices"] == [
        ({"region": "eu", "tier": "free", "kind": "x"}, 7),
        ({"region": "uk", "tier": "gold"}, Decimal("10.5")),
        ({"region": "eu", "tier": "gold"}, Decimal("120.25")),
        ({"region": "us", "tier": "gold"}, 12),
    ]

"""The catalog of the sample: three products, one plan a currency, and prices that change in the middle of a month.

The dates follow the sample's moment, so it is made here and written out as YAML for people to read.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from metering.catalog import Catalog
from metering.sample.calendar import first_period, months_before
from metering.sample.teams import TEAMS

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)

METERS = [
    {
        "meter": "api_calls", "name": "API calls", "event": "api_request", "aggregation": "sum", "unit": "request",
        "dimensions": ["endpoint"],
    },
    {
        "meter": "storage_gb_hours", "name": "Storage", "event": "storage_sampled", "aggregation": "sum",
        "unit": "GB-hour", "dimensions": [],
    },
    {
        "meter": "compute_hours", "name": "Compute hours", "event": "compute_used", "aggregation": "sum",
        "unit": "hour", "dimensions": ["instance_type"],
    },
    {
        "meter": "compute_jobs", "name": "Compute jobs", "event": "compute_used", "aggregation": "count", "unit": "job",
        "dimensions": [],
    },
]  # fmt: skip

# Amounts of each price by currency: yen have no cents, so these are no conversions.
_SEARCH = {"USD": ("0.0012", "0.001", "0.001", "0.0008"), "JPY": ("0.18", "0.15", "0.15", "0.12")}
_EMBED = {"USD": "0.0004", "JPY": "0.06"}
_EXPORT = {"USD": ("0.012", "0.009", "0.006", "2"), "JPY": ("1.8", "1.35", "0.9", "300")}
_STORAGE = {"USD": "0.10", "JPY": "15"}
_COMPUTE = {"small": {"USD": "0.05", "JPY": "7.5"}, "large": {"USD": "0.40", "JPY": "60"}}
_GPU = {"USD": ("2.75", "2.50"), "JPY": ("410", "375")}
_FEE = {"USD": "25", "JPY": "3800"}
_BUDGET = {"USD": "400", "JPY": "60000"}


def price_change(now: datetime) -> datetime:
    """When some prices change: in the middle (UTC) of the last full month before `now`."""
    year, month = months_before(now.year, now.month, 1)
    return datetime(year, month, 15, tzinfo=UTC)


def catalog_content(now: datetime) -> dict[str, Any]:
    """The sample's catalog, in the shape of a catalog file."""
    change = price_change(now)
    return {"meters": METERS, "plans": [_plan(currency, change) for currency in ("USD", "JPY")], "teams": _teams(now)}


def catalog(now: datetime) -> Catalog:
    """The sample's catalog."""
    return Catalog.read(catalog_content(now))


def dump(now: datetime, path: Path) -> None:
    """Write the sample's catalog as a file that its owner can read and apply: it names customers and their prices."""
    head = f"# The sample's catalog, for usage up to {now:%Y-%m-%d %H:%M} UTC. Made by the demo.\n"
    text = yaml.safe_dump(catalog_content(now), sort_keys=False, allow_unicode=True, width=120)
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(head + text, encoding="utf-8")


def _teams(now: datetime) -> list[dict[str, Any]]:
    return [
        {
            "team": team.key,
            "name": team.name,
            "time_zone": team.time_zone,
            "subscription": {
                "plan": team.plan,
                "currency": team.currency,
                "anchor_day": team.anchor_day,
                "starts": first_period(team, now),
            },
            "alerts": [{"alert": "budget", "amount": _BUDGET[team.currency]}] if team.size >= 100 else [],
        }
        for team in TEAMS
    ]


def _plan(currency: str, change: datetime) -> dict[str, Any]:
    old_middle, old_top, middle, top = _SEARCH[currency]
    few, some, many, fee = _EXPORT[currency]
    prices = [
        _price(currency, "api-search", "Search requests", "api_calls", {"endpoint": "search"}, [
            (LONG_AGO, "graduated", _search(old_middle, old_top)), (change, "graduated", _search(middle, top))]),
        _price(currency, "api-embed", "Embedding requests", "api_calls", {"endpoint": "embed"}, [
            (LONG_AGO, "per_unit", [{"unit_amount": _EMBED[currency]}])]),
        _price(currency, "api-export", "Export requests", "api_calls", {"endpoint": "export"}, [
            (LONG_AGO, "volume", [
                {"up_to": "1000", "unit_amount": few, "flat_amount": fee},
                {"up_to": "5000", "unit_amount": some},
                {"unit_amount": many}])]),
        _price(currency, "storage", "Storage", "storage_gb_hours", {}, [
            (LONG_AGO, "per_unit", [{"unit_amount": _STORAGE[currency]}])],
            charge_unit="GB-month", per_period_hour=True),
        *(
            _price(currency, f"compute-{kind}", f"Compute, {kind}", "compute_hours", {"instance_type": kind}, [
                (LONG_AGO, "per_unit", [{"unit_amount": amounts[currency]}])])
            for kind, amounts in _COMPUTE.items()
        ),
        _price(currency, "compute-gpu", "Compute, GPU", "compute_hours", {"instance_type": "gpu"}, [
            (LONG_AGO, "per_unit", [{"unit_amount": _GPU[currency][0]}]),
            (change, "per_unit", [{"unit_amount": _GPU[currency][1]}])]),
        _price(currency, "platform", "Platform fee", "compute_jobs", {}, [
            (LONG_AGO, "flat", [{"flat_amount": _FEE[currency]}])]),
    ]  # fmt: skip
    return {"plan": f"standard-{currency.lower()}", "name": f"Standard ({currency})", "prices": prices}


def _search(middle: str, top: str) -> list[dict[str, str]]:
    return [
        {"up_to": "10000", "unit_amount": "0"},
        {"up_to": "100000", "unit_amount": middle},
        {"unit_amount": top},
    ]


def _price(
    currency: str,
    key: str,
    name: str,
    meter: str,
    match: dict[str, str],
    versions: list[tuple[datetime, str, list[dict[str, str]]]],
    *,
    charge_unit: str | None = None,
    per_period_hour: bool = False,
) -> dict[str, Any]:
    unit = charge_unit or next(str(known["unit"]) for known in METERS if known["meter"] == meter)
    return {
        "price": f"standard-{currency.lower()}/{key}",
        "name": name,
        "meter": meter,
        "currency": currency,
        "match": match,
        "versions": [
            {
                "effective_from": since,
                "model": model,
                "charge_unit": unit,
                "per_period_hour": per_period_hour,
                "tiers": tiers,
            }
            for since, model, tiers in versions
        ],
    }

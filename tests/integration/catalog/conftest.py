"""A small catalog that tests change in one place each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

CATALOG = """\
meters:
  - {meter: api_calls, name: API calls, event: api_request, aggregation: sum, unit: request, dimensions: [endpoint]}
  - {meter: storage, name: Storage, event: storage_sampled, aggregation: sum, unit: GB-hour}
plans:
  - plan: standard
    name: Standard
    prices:
      - price: standard/search
        name: Search
        meter: api_calls
        currency: USD
        match: {endpoint: search}
        versions:
          - effective_from: 2025-01-01T00:00:00Z
            model: graduated
            charge_unit: request
            tiers:
              - {up_to: 10000, unit_amount: 0}
              - {up_to: 100000, unit_amount: 0.001}
              - {unit_amount: "0.0008", flat_amount: "0"}
      - price: standard/storage
        name: Storage
        meter: storage
        currency: USD
        versions:
          - effective_from: 2025-01-01T00:00:00Z
            model: per_unit
            charge_unit: GB-month
            per_period_hour: true
            tiers: [{unit_amount: 0.10}]
teams:
  - team: acme
    name: Acme
    time_zone: Asia/Kathmandu
    subscription: {plan: standard, currency: USD, starts: 2026-09-01}
  - team: hook
    name: Hook
    time_zone: Europe/Berlin
    subscription: {plan: standard, currency: USD, anchor_day: 15, starts: "2026-09-15T00:00:00+02:00", ends: 2026-12-15}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The small catalog as a file."""
    path = tmp_path / "prices.yaml"
    path.write_text(CATALOG, encoding="utf-8")
    return path


Edit = Callable[[str, str], Path]


@pytest.fixture
def edit(file: Path) -> Edit:
    """Change one place of the small catalog's file."""

    def change(old: str, new: str) -> Path:
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new, 1), encoding="utf-8")
        return file

    return change

"""Batches of long ago are merged: sums, horizons and what was known at any moment stay as they were."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from metering import batches, quality
from metering.bills import bill

# Great Expectations imports what Python will drop one day; that is its own affair.
pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning")


def test_what_was_known_at_any_moment_is_known_after_batches_were_merged(house: Any) -> None:
    plan, meter = house.plan("p"), house.meter("calls", "call")
    house.version(house.price("p/calls", plan, meter), "2020-01-01Z", "per_unit", [("0", None, "1", "0")])
    house.team("acme", plan, "2026-08-01")
    moments: list[datetime] = []
    for run in range(3):
        for number in range(5):
            # The last of each run is about another month than the others.
            day = f"2026-{8 + (number == 4) + (run == 2):02d}-0{number + 1}T10:00:00Z"
            house.event("acme", f"{run}-{number}", "call", day, str(run + 1))
            moments.append(house.value("select clock_timestamp()"))
        if run < 2:
            house.aggregate()
    house.connection.execute("update landing.batches set source = 'http'")

    def known() -> list[Any]:
        asked = [(moment, period) for moment in moments[6:11:2] for period in ("2026-08", "2026-09")]
        return [bill(house.connection, "acme", period, as_of=moment).lines for moment, period in asked]

    before, said = known(), "select sum(accepted), sum(duplicates), min(recorded_at), max(last_occurred_at)"
    sums = house.query(f"{said} from landing.batches")
    assert batches.merge(house.connection, days=1) == {"merged": 0, "kept": 0}, "they are not old enough"
    assert batches.merge(house.connection, days=0) == {"merged": 10, "kept": 4}, "what is not metered yet stays"
    assert batches.merge(house.connection, days=0) == {"merged": 0, "kept": 0}
    assert house.query(f"{said} from landing.batches") == sums
    assert known() == before
    # What is held, and what comes next, is checked as ever.
    outcome = quality.gate_arrivals(house.connection, house.aggregate())
    assert (outcome["failed"], outcome["arrived"]) == ({}, 15)

"""A sample to bill: three products, teams all over the world, and every bill's total known beforehand.

Usage is planned first (`plan`), then split into events (`events`); `expected` says what each bill comes to, from the
plan and the catalog (`prices`) alone. Nothing here reads a clock: the same moment gives the same events everywhere.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal

from metering.sample.events import Sample, SampleEvent, make_sample
from metering.sample.expected import ExpectedBill, Usage, expected_bills
from metering.sample.plan import MILLION, Plan, make_plan
from metering.sample.prices import catalog, catalog_content, dump

__all__ = ["Sample", "SampleEvent", "bills_of_plan", "catalog", "catalog_content", "dump", "make_plan", "make_sample"]


def planned_usage(plan: Plan) -> Iterator[Usage]:
    """The plan's usage by meter, for the oracle."""
    jobs: dict[tuple[str, datetime], int] = defaultdict(int)
    for part in plan.usage:
        product = part.product
        dimensions = {product.dimension: product.value} if product.dimension else {}
        quantity = Decimal(part.total) if product.whole else Decimal(part.total) / MILLION
        yield Usage(part.team.key, product.meter, dimensions, part.start, quantity)
        if product.event == "compute_used":
            jobs[part.team.key, part.start] += part.events
    for (team, start), count in jobs.items():
        yield Usage(team, "compute_jobs", {}, start, Decimal(count))


def bills_of_plan(plan: Plan, until: datetime | None = None) -> list[ExpectedBill]:
    """What each bill comes to, for the periods that have begun by `until` (default: the plan's moment)."""
    return expected_bills(catalog_content(plan.now), planned_usage(plan), until or plan.now)

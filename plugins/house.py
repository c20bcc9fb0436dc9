"""What all DAGs of this house have in common: tags, assets, pools, and what a task does when it fails."""

from __future__ import annotations

import json
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from airflow.sdk import Asset
from notifiers.failure import FailureNotifier


class Tag(StrEnum):
    """What a DAG is about; its tags come from here and nowhere else."""

    METERING = "metering"
    BILLING = "billing"
    ALERTS = "alerts"
    STRIPE = "stripe"
    FINANCE = "finance"
    UPKEEP = "upkeep"


class Pool(StrEnum):
    """Who takes turns with whom. `./billing up` makes what stands in pools.json."""

    MARTS = "marts"
    """Whoever writes the marts, or needs them between two writes: one at a time."""
    STRIPE_API = "stripe_api"
    """Whoever talks to Stripe: one at a time, at the pace that the submission keeps."""


POOLS: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("pools.json").read_text(encoding="utf-8"))
"""Name to slots and description, as `airflow pools import` reads them."""

BILLS = Asset(
    name="bills",
    uri="billing://marts/fct_bills",
    extra={"description": "The bills that are not final, made again and gated. Events carry their number and totals."},
)

DEFAULTS: dict[str, Any] = {
    "owner": "data-engineering",
    # What a second look mends (a deadlock, a restart of the database) is mended within minutes; then people are told.
    "retries": 2,
    "retry_delay": timedelta(seconds=20),
    "retry_exponential_backoff": 3,
    "max_retry_delay": timedelta(minutes=10),
    "on_failure_callback": [FailureNotifier()],
}

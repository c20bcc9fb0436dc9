"""Archive: closed months of events go to Parquet, proved to be the same, and come back the same."""

from metering.archive.months import Month, archive, candidates, check, drop, listing, restore, verify
from metering.archive.upkeep import keep_up

__all__ = ["Month", "archive", "candidates", "check", "drop", "keep_up", "listing", "restore", "verify"]

"""What `maintain_partitions` does about old months, by the settings."""

from __future__ import annotations

from typing import Any

from metering import settings as settings_module
from metering.archive import months
from metering.archive.totals import Connection
from metering.errors import BillingError
from metering.settings import Settings


def keep_up(connection: Connection, settings: Settings | None = None) -> dict[str, Any]:
    """Archive the months that are old enough and closed; drop what is archived only where the setting says so.

    What can't be done about one month stops no other. Returns the events archived and the months dropped; raises
    `BillingError` at the end, with what was wrong.
    """
    chosen = settings or settings_module.load()
    archived: dict[str, int] = {}
    dropped: list[str] = []
    failures: list[BillingError] = []
    for month in months.candidates(connection, chosen.archive_after_months):
        try:
            archived[month.month] = months.archive(connection, month, chosen.archive)["rows"]
        except BillingError as error:
            failures.append(error)
    for month in months.listing(connection) if chosen.archive_drops else ():
        if month.state == "detached":
            try:
                months.drop(connection, month)
                dropped.append(month.month)
            except BillingError as error:
                failures.append(error)
    if failures:
        raise BillingError(" ".join(error.message for error in failures), failures[0].remedy)
    return {"archived": archived, "dropped": dropped}

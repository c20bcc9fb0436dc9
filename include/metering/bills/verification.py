"""Final bills, built again as of their moments and compared with what was kept."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from metering import database, statements
from metering.bills.known import Connection, known
from metering.errors import BillingError

SQL = statements.beside(__file__, "verification")


class DigestError(BillingError):
    """A final bill does not come out again as it was kept."""


def verify(
    connection: Connection,
    since: datetime,
    sample: int,
    seed: str,
    *,
    team: str | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, Any]:
    """Rebuild every bill that became final since a moment, and `sample` of the others, and say how many there were.

    `seed`: with another one, other bills are the sample. Raises `DigestError` naming the bills that are not what they
    were.
    """
    chosen = database.rows(connection, SQL["choose"], since=since, sample=sample, seed=seed, team=team)
    differing = []
    for number, kept in enumerate(chosen):
        progress(number, len(chosen))
        with known(connection, kept["team_key"], kept["as_of"]):
            rebuilt = database.one(connection, SQL["rebuild"], **kept)
        if rebuilt["digest"] != kept["digest"]:
            differing.append(
                f"{kept['team_key']} {kept['period_label']} ({kept['total']} {kept['currency']} was kept, "
                f"{rebuilt['total']} comes out as of {kept['as_of'].isoformat()})"
            )
    if differing:
        raise DigestError(
            f"{len(differing)} of {len(chosen)} final bills do not come out as they were kept: {'; '.join(differing)}.",
            "Nothing was changed; the kept bills stand. See docs/runbooks/verify_final_bills.md.",
        )
    return {"rebuilt": len(chosen), "equal": len(chosen)}

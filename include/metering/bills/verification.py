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
    period: str | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, Any]:
    """Rebuild every bill that became final since a moment, and `sample` of the others, and say how many there were.

    `team`, `period` (a label such as 2026-10): only those. `seed`: with another one, other bills are the sample. Raises
    `DigestError` naming the bills that are not what they were, by their kept lines or by what comes out.
    """
    chosen = database.rows(connection, SQL["choose"], since=since, sample=sample, seed=seed, team=team, period=period)
    differing = []
    for number, kept in enumerate(chosen):
        progress(number, len(chosen))
        with known(connection, kept["team_key"], kept["as_of"]):
            (rebuilt,) = database.planned_once(connection, SQL["rebuild"], kept)
        for what, total, digest in (
            ("is the sum of the lines that stand for it", kept["total_of_lines"], kept["digest_of_lines"]),
            (f"comes out as of {kept['as_of'].isoformat()}", rebuilt["total"], rebuilt["digest"]),
        ):
            if (total, digest) != (kept["total"], kept["digest"]):
                told = f"{kept['total']} {kept['currency']} was kept, {total} {what}"
                differing.append(f"{kept['team_key']} {kept['period_label']} ({told})")
    if differing:
        raise DigestError(
            f"Of {len(chosen)} final bills, some are not as they were kept: {'; '.join(differing)}.",
            "Nothing was changed; the kept bills stand. See docs/runbooks/verify_final_bills.md.",
        )
    return {"rebuilt": len(chosen), "equal": len(chosen)}

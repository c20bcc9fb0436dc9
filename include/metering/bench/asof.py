"""What bills of the past are measured by: a bill as of a moment, a difference, a line's events, a month rebuilt."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from metering import closing, statements
from metering.bench.house import House
from metering.bench.rating import HOUR, LATE, Bench, Result, deployed
from metering.bills import bill, known, lineage, verification
from metering.bills.difference import difference
from metering.bills.known import Connection
from metering.database import one, rows
from metering.errors import BillingError

SQL = statements.beside(__file__, "asof")

TIMES = 20
"""So many teams are asked about; the middle one counts."""
YEAR = timedelta(days=300)
"""How far back usage goes: the periods that the bench opens, but for the first days."""


def measure(events: int, teams: int, meters: int, told: Callable[[str], None]) -> list[Result]:
    """Measure on so many events of a year, 1 % of them late; `told` hears what is under way."""
    with House(service=False) as house:
        bench = Bench(deployed(house), teams, meters, told)
        connection = bench.connection
        bench.land_history(events, YEAR, bench.until - HOUR)
        told("Making bills final.")
        closing.close_periods(connection, timedelta(0))
        past = known.moment(connection, None)
        told("Landing what changes them: late usage, and a price that is corrected.")
        bench.land(max(events // 100, 1), LATE * 50, HOUR, bench.until)
        connection.execute(SQL["change_price"])
        increment, _ = bench.aggregate()
        versions = one(connection, SQL["versions"])
        closing_rows, forgetting = (_rolled_back(connection, SQL[name]) for name in ("supersede", "forget"))
        label = one(connection, SQL["last_period"])["label"]
        asked = [row["team_key"] for row in rows(connection, SQL["some_teams"], teams=TIMES)]
        what = f"of {teams:,} teams × {meters} meters, {events:,} events"

        def middle(ask: Callable[[str], Any]) -> float:
            taken = []
            for team in asked:
                begun = time.perf_counter()
                ask(team)
                taken.append(time.perf_counter() - begun)
            return statistics.median(taken)

        told("Asking.")
        plain = middle(lambda team: rows(connection, SQL["plain"], team=team, period=label))
        then = middle(lambda team: bill(connection, team, label, as_of=past))
        both = middle(lambda team: difference(connection, team, _current(connection, team), past))
        line = bill(connection, asked[0], label).lines[0].line
        page = middle(lambda team: lineage.explain(connection, f"{team}/{label}/{line}"))
        told(f"Rebuilding {teams:,} bills.")
        begun = time.perf_counter()
        rebuilt = verification.verify(connection, datetime.now(UTC) + HOUR, teams, "bench")["rebuilt"]
        month = time.perf_counter() - begun
        if rebuilt != min(teams, one(connection, SQL["final_bills"])["bills"]):
            raise BillingError(f"{rebuilt:,} bills were rebuilt.", "This is a defect.")
    return [
        Result("a bill as of a past moment", what, then, "0.3 s", then <= 0.3, plain),
        Result("a difference", what, both, "1 s", both <= 1),
        Result("the first page of a line's events", what, page, "0.2 s", page <= 0.2),
        Result("bills rebuilt and compared", f"{rebuilt:,}", month, "120 s", month <= 120, None, rebuilt / month),
        _cost_in_time(closing_rows - forgetting, increment),
        _cost_on_disk(versions["rows"], versions["standing"], versions["size"]),
    ]


def _cost_in_time(seconds: float, increment: float) -> Result:
    """What it takes an increment more to close the rows that it replaces than it would to delete them."""
    more = max(seconds, 0.0)
    met = more <= (increment - more) / 4
    return Result("versions, in the time of an increment", "", more, "a quarter more", met, increment)


def _cost_on_disk(rows: int, standing: int, size: int) -> Result:
    """How much of the quarter-hours is of rows that stand no more."""
    gone = rows - standing
    what = f"{gone:,} of {rows:,} quarter-hours are superseded, of {size / 1e6:,.0f} MB: {gone / standing:.1%} more"
    return Result("versions, on disk", what, None, "a third more", gone <= standing / 3)


def _rolled_back(connection: Connection, statement: str) -> float:
    """Seconds of a statement that is taken back."""
    with connection.transaction(force_rollback=True):
        begun = time.perf_counter()
        connection.execute(statement)
        return time.perf_counter() - begun


def _current(connection: Any, team: str) -> str:
    return bill(connection, team).period

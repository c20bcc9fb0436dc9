"""What bills of the past are measured by: a bill as of a moment, a difference, a line's events, a month rebuilt."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from metering import closing, statements
from metering.bench import history
from metering.bench.house import House
from metering.bench.rating import HOUR, LATE, Bench, Place, Result, deployed
from metering.bills import bill, known, lineage, verification
from metering.bills.difference import difference
from metering.bills.known import Connection
from metering.database import one, rows
from metering.errors import BillingError

SQL = statements.beside(__file__, "asof")

TIMES = 20
"""So many teams are asked about; the middle one counts."""


def measure(events: int, teams: int, meters: int, told: Callable[[str], None]) -> list[Result]:
    """Measure on so many events of twelve months and the one that runs; `told` hears what is under way."""
    with House(service=False) as house:
        return measure_at(deployed(house), events, teams, meters, told)


def measure_at(place: Place, events: int, teams: int, meters: int, told: Callable[[str], None]) -> list[Result]:
    """The same in a database in which the models are deployed, and which has nothing else."""
    bench = Bench(place, teams, meters, told)
    prepared = prepare(bench, events)
    return [*ask(bench, prepared, f"of {teams:,} teams × {meters} meters, {events:,} events"), *prepared.versions]


@dataclass(frozen=True)
class Prepared:
    """What there is to ask about."""

    label: str
    """Of the billing periods that ended last."""
    before: datetime
    """A moment before bills became final."""
    past: datetime
    """One after that, and before what changed them."""
    versions: list[Result]


def prepare(bench: Bench, events: int) -> Prepared:
    """Make a history and final bills, and what changes them; measure what keeping versions of it costs."""
    connection = bench.connection
    history.make(bench, events)
    last = one(connection, SQL["last_period"])
    bench.told("Making bills final.")
    before = known.moment(connection, None)
    closing.close_periods(connection, timedelta(0))
    past = known.moment(connection, None)
    bench.told("Landing an hour's usage and late usage, and taking it to bills.")
    bench.land(max(events // 100, 1), LATE, HOUR, bench.until)
    connection.execute(SQL["land_late"], {"events": max(events // 200, 1)})
    increment, _ = bench.aggregate()
    closing_rows, forgetting = (_rolled_back(connection, SQL[name]) for name in ("supersede", "forget"))
    kept = _versions(connection, last)
    bench.told("Correcting a price for all of the time, and taking that to bills.")
    connection.execute(SQL["change_price"])
    bench.aggregate()
    costs = [_cost_in_time(closing_rows - forgetting, increment), _cost_on_disk(kept)]
    return Prepared(last["label"], before, past, costs)


def ask(bench: Bench, prepared: Prepared, what: str) -> list[Result]:
    """Ask about bills of the past, each time about several teams."""
    connection, label = bench.connection, prepared.label
    asked = [row["team_key"] for row in rows(connection, SQL["some_teams"], teams=TIMES)]

    def middle(question: Callable[[str], Any]) -> float:
        taken = []
        for team in asked:
            begun = time.perf_counter()
            question(team)
            taken.append(time.perf_counter() - begun)
        return statistics.median(taken)

    bench.told("Asking.")
    plain = middle(lambda team: rows(connection, SQL["plain"], team=team, period=label))
    then = middle(lambda team: bill(connection, team, label, as_of=prepared.before))
    running = bill(connection, asked[0]).period
    both = middle(lambda team: difference(connection, team, running, prepared.past))
    line = next(line.line for line in bill(connection, asked[0], label, as_of=prepared.before).lines if line.quantity)
    page = middle(lambda team: lineage.explain(connection, f"{team}/{label}/{line}"))
    bills = one(connection, SQL["final_bills"], label=label)["bills"]
    bench.told(f"Rebuilding {bills:,} bills.")
    begun = time.perf_counter()
    rebuilt = verification.verify(connection, datetime.now(UTC) + HOUR, bills, "bench", period=label)["rebuilt"]
    month = time.perf_counter() - begun
    if rebuilt != bills:
        raise BillingError(f"{rebuilt:,} bills of {bills:,} were rebuilt.", "This is a defect.")
    return [
        Result("a bill as of a past moment", what, then, "0.3 s", then <= 0.3, plain),
        Result("a difference", "of the bill that runs, after all that came", both, "1 s", both <= 1),
        Result("the first page of a line's events", "", page, "0.2 s", page <= 0.2),
        Result("a month's bills, again", f"{rebuilt:,} compared", month, "120 s", month <= 120, None, rebuilt / month),
    ]


def _versions(connection: Connection, month: dict[str, Any]) -> dict[str, Any]:
    """Rows and bytes of a month's quarter-hours, with and without versions."""
    with connection.transaction(force_rollback=True):
        for name in ("copy_versions", "index_versions", "copy_standing", "index_standing"):
            connection.execute(SQL[name], month if name == "copy_versions" else None)
        return one(connection, SQL["versions"])


def _cost_in_time(seconds: float, increment: float) -> Result:
    """What it takes an increment more to close the rows that it replaces than it would to delete them."""
    more = max(seconds, 0.0)
    met = more <= (increment - more) / 4
    return Result("versions, in the time of an increment", "", more, "a quarter more", met, increment)


def _cost_on_disk(versions: dict[str, Any]) -> Result:
    """How many bytes quarter-hours and their key have more than they would have without versions."""
    kept, plain = versions["kept"], versions["plain"]
    what = (
        f"{versions['gone']:,} of {versions['rows']:,} quarter-hours of the month are superseded; "
        f"{kept / 1e6:,.0f} MB instead of {plain / 1e6:,.0f}: {kept / plain - 1:.1%} more"
    )
    return Result("versions, on disk", what, None, "a third more", kept <= plain * 4 / 3)


def _rolled_back(connection: Connection, statement: str) -> float:
    """Seconds of a statement that is taken back."""
    with connection.transaction(force_rollback=True):
        begun = time.perf_counter()
        connection.execute(statement)
        return time.perf_counter() - begun

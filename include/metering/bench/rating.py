"""What rating is measured by: an hour's increment, the same with more history, a month again, all bills, one bill."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import psycopg
from psycopg.rows import DictRow

from metering import periods, runs, statements, transform
from metering.bench import history
from metering.bench.house import House
from metering.bench.part import Part
from metering.database import one, rows
from metering.errors import BillingError
from metering.reading.report import report
from metering.reading.teams import Team
from metering.settings import Settings

SQL = statements.beside(__file__, "rating")

MONTH = timedelta(days=30)
HOUR = timedelta(hours=1)
LATE = 10_000
"""Of a million events of an increment, how many occurred up to 30 days ago."""
HISTORY_TEAMS = 200
"""Teams among whom the events of increments are spread, unless there are fewer."""
PREVIEWS = 20
SESSION = HOUR
"""Within so long a time of each day lie the events that a team's meter has in the history of increments."""
BUSY = timedelta(minutes=15)
"""The same in the month that is as dense as an increment."""


@dataclass(frozen=True)
class Result:
    """One line of the report. Times in seconds."""

    name: str
    what: str
    seconds: float | None
    target: str
    met: bool
    beside: float | None = None
    """What it is compared with: the plain query, or the increment with less history."""
    per_second: float | None = None
    steps: dict[str, float] | None = None

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


Told = Callable[[str], None]


def measure(events: int, teams: int, meters: int, told: Told, only: Part | None = None) -> list[Result]:
    """Measure everything, or `only` a part: increments of `events`, months from raw, bills of `teams` × `meters`.

    Each part has a database of its own. `told` hears what is under way.
    """
    results: list[Result] = []

    def keep(*found: Result) -> None:
        results.extend(found)
        for result in found:
            told(f"{result.name}: {result.seconds:,.3f} s (target: {result.target}).")

    for part in [only] if only else Part:
        with House(service=False) as house:
            bench = Bench(deployed(house), teams if part is Part.BILLS else min(teams, HISTORY_TEAMS), meters, told)
            match part:
                case Part.INCREMENTS:
                    keep(*bench.increments(events))
                case Part.MONTHS:
                    keep(*bench.months(events))
                case Part.BILLS:
                    keep(bench.bills(), bench.preview())
    return results


def deployed(house: House) -> House:
    transform.deploy(Settings(home=house.home, values={"DATABASE_URL": house.url}))
    return house


class Place(Protocol):
    """A database in which the models are deployed."""

    home: Path
    url: str
    connection: psycopg.Connection[DictRow]


class Bench:
    """One database with a catalog, and what is done to it."""

    def __init__(self, place: Place, teams: int, meters: int, told: Told) -> None:
        """Make the catalog: teams on one plan, which prices each meter in three tiers."""
        self.connection = place.connection
        self.settings = Settings(home=place.home, values={"DATABASE_URL": place.url})
        self._teams, self._meters, self.told = teams, meters, told
        self.until = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        self._seed = 0
        told(f"Making a catalog of {teams:,} teams and {meters} meters.")
        self.connection.execute(SQL["make_teams"], {"teams": teams})
        self.connection.execute(SQL["make_meters"], {"meters": meters})
        for name in ("make_prices", "subscribe", "put_on_plan"):
            self.connection.execute(SQL[name], {})
        self.connection.execute(SQL["ensure_months"], {"until": self.until})
        periods.open_periods(self.connection)
        self.connection.execute(SQL["analyze_catalog"])

    def increments(self, events: int) -> list[Result]:
        """An increment after as many events as it has, and one after ten times as many."""
        before = self.until - HOUR
        self.land_history(events, 1, before - HOUR)
        plain, first, steps = self.increment(events, before)
        # With the first increment, it is ten times what there was before that; as dense, so that it goes back as far.
        self.land_history(8 * events, 8, before - HOUR - MONTH)
        again, second, later_steps = self.increment(events, self.until)
        what = f"{events:,} new events, 1 % late over 30 days"
        return [
            Result(
                "increment", f"{what}, after a month of {events:,}", first, f"2.5 × {plain:.2f} s (plain query) + 20 s",
                first <= 2.5 * plain + 20, plain, events / first, steps,
            ),
            Result(
                "increment, ten times the history", f"{what}, after nine months of {10 * events:,}", second,
                f"1.1 × {first:.2f} s (the plain query took {again:.2f} s)",
                second <= 1.1 * first, first, events / second, later_steps,
            ),
        ]  # fmt: skip

    def increment(self, events: int, until: datetime) -> tuple[float, float, dict[str, float]]:
        """Land the events of the hour before `until`; return seconds: the plain query, the way to bills, its steps."""
        self.told(f"Landing {events:,} events of an hour.")
        self.land(events, LATE, HOUR, until)
        plain = self._plain(events)
        self.told("Taking them to bills.")
        seconds, steps = self.aggregate()
        self._agree()
        return plain, seconds, steps

    def months(self, events: int) -> list[Result]:
        """Thirty days metered and rated again from raw: as dense as an increment, and as sparse as can be."""
        self.land_history(5 * events, 1, self.until, BUSY)
        self.land_history(events, 1, self.until - MONTH, None)
        return [
            self.month("month again, from raw", self.until),
            self.month("month again, where usage is sparse", self.until - MONTH),
        ]

    def month(self, name: str, until: datetime) -> Result:
        """The thirty days before `until`, metered and rated again from raw events."""
        since = until - MONTH
        begun = time.perf_counter()
        found = one(self.connection, SQL["plain_of_range"], occurred_from=since, occurred_until=until)
        plain = time.perf_counter() - begun
        self.told(f"Rating {found['events']:,} events of 30 days again.")
        seconds, steps = self.aggregate(since, until)
        self._agree()
        rate = found["events"] / seconds
        what = f"{found['events']:,} events of {found['teams']:,} teams in {found['groups']:,} quarter-hours"
        return Result(name, what, seconds, "500,000 events/s", rate >= 500_000, plain, rate, steps)

    def bills(self) -> Result:
        """Every bill of the month that ended last, from what metering makes of usage."""
        self.told("Filling quarter-hours, hours, days and months.")
        run = runs.open_run(self.connection, "bench")
        self.connection.execute(SQL["fill_quarter_hours"], {})
        history.fill_windows(self.connection, **one(self.connection, SQL["last_month"]))
        self.connection.execute(SQL["empty_queue"])
        self.connection.execute(SQL["vacuum"])
        self.connection.execute(SQL["queue_last_month"], {"run_id": run})
        self.connection.execute(SQL["analyze_catalog"])
        self.told(f"Making {self._teams:,} bills.")
        begun = time.perf_counter()
        transform.build("tag:billing", self.settings)
        seconds = time.perf_counter() - begun
        runs.close_run(self.connection, run)
        made = one(self.connection, SQL["bills_made"])
        if (made["bills"], made["lines"]) != (self._teams, self._teams * self._meters):
            raise BillingError(f"{made['bills']:,} bills with {made['lines']:,} lines were made.", "This is a defect.")
        if made["billed"] != made["used"]:
            raise BillingError(f"Of {made['used']:,} used, {made['billed']:,} was billed.", "This is a defect.")
        what = f"{self._teams:,} teams × {self._meters} meters"
        return Result("all bills, from aggregates", what, seconds, "60 s", seconds <= 60, None, self._teams / seconds)

    def preview(self) -> Result:
        """One bill as a report shows it, of a team among all; the middle one of several."""
        self.told("Previewing bills.")
        chosen = rows(self.connection, SQL["some_teams"], teams=PREVIEWS)
        taken = []
        for row in chosen:
            begun = time.perf_counter()
            found = report(self.connection, Team(row["team_id"], row["team_key"]), history=0)
            taken.append(time.perf_counter() - begun)
            if len(found.periods[0].lines) != self._meters:
                raise BillingError(f"A preview has {len(found.periods[0].lines)} lines.", "This is a defect.")
        middle = statistics.median(taken)
        what = f"of a team among {self._teams:,}, the middle of {len(taken)}"
        return Result("one preview bill", what, middle, "100 ms", middle <= 0.1)

    def land_history(self, events: int, months: int, until: datetime, daily: timedelta | None = SESSION) -> None:
        """Events of so many times thirty days before `until`, as metering and rating leave them."""
        for number in range(months):
            self.told(f"Landing {events // months:,} events as history ({number + 1} of {months}).")
            self.land(events // months, 0, MONTH, until - number * MONTH, daily)
        history.meter(self, events // months * months, until - months * MONTH, until)

    def land(self, events: int, late: int, width: timedelta, until: datetime, daily: timedelta | None = None) -> None:
        """Land events of the `width` of time before `until`, of a million so many late ones up to 30 days before.

        With `daily`, a team's events of a meter lie within so long a time of each day.
        """
        self._seed += 1
        values = {
            "events": events, "late": late, "width": width, "until": until, "seed": self._seed, "daily": daily,
            "teams": self._teams, "meters": self._meters,
        }  # fmt: skip
        self.connection.execute(SQL["land"], values)
        self.connection.execute(SQL["analyze_events"])

    def _plain(self, events: int) -> float:
        """Seconds of a plain GROUP BY over the rows of the last increment: the middle of three."""
        self.connection.execute(SQL["forget_increment"])
        self.connection.execute(SQL["keep_increment"])
        taken = []
        for _ in range(3):
            begun = time.perf_counter()
            found = one(self.connection, SQL["plain"])
            taken.append(time.perf_counter() - begun)
            if found["events"] != events:
                raise BillingError(f"The plain query saw {found['events']:,} events.", "This is a defect.")
        self.connection.execute(SQL["forget_increment"])
        return statistics.median(taken)

    def aggregate(self, since: datetime | None = None, until: datetime | None = None) -> tuple[float, dict[str, float]]:
        """What aggregate_usage does, but for its gates; seconds, in all and by step."""
        steps: dict[str, float] = {}
        begun = mark = time.perf_counter()

        def step(name: str) -> None:
            nonlocal mark
            now = time.perf_counter()
            steps[name] = round(now - mark, 3)
            mark = now

        run = runs.open_run(self.connection, "bench", since, until)
        step("queue")
        for tag in ("usage", "billing"):
            summary = transform.build(f"tag:{tag}", self.settings)
            steps.update({result["name"]: result["seconds"] for result in summary.results if result["seconds"] >= 1})
            step(tag)
        runs.close_run(self.connection, run)
        step("close")
        return mark - begun, steps

    def _agree(self) -> None:
        landed, metered = one(self.connection, SQL["landed"]), one(self.connection, SQL["metered"])
        if landed != metered:
            raise BillingError(f"Landed is {landed}, and metered {metered}.", "This is a defect.")

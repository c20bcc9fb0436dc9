"""Months of events: which may be archived, archiving, proving, dropping and bringing back.

Each step either is done or is not, and none needs the one that was interrupted to be cleared up: files are written
beside, proved and only then given their name; the month leaves the table, its archive is known and its place is kept
by one transaction. Until then, all of it is in landing.usage_events; from then on it is in its files, and in a table
of its own until that is dropped.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from metering.archive import files
from metering.archive.totals import FAR, SQL, Connection, Totals, differences, formatted, totals_of
from metering.database import one, rows
from metering.errors import BillingError

RESTORED_STAYS = timedelta(days=14)
"""How long a month that was brought back stays, unless it is archived by name."""
JUST_RESTORED = "it was restored a short while ago"
LOCK_ATTEMPTS = 30
_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Month:
    """One month of events (UTC) and where it is."""

    month: str
    """Such as 2025-01."""
    state: str
    """in place, detached (archived, and still in the database), dropped (archived only) or restored."""
    rows: int
    """Exactly where it is archived, else the planner's estimate."""
    bytes: int
    """Of its partition, indexes included."""
    folder: str | None
    manifest: Totals | None
    why_not: str | None
    """Why it may not be archived now, as the second half of a sentence; None where it may."""
    needed_by: tuple[str, ...]
    """Meters that count its events once it has been restored."""
    detached_at: datetime | None
    dropped_at: datetime | None
    restored_at: datetime | None

    @property
    def archived(self) -> bool:
        """Whether its events are in its files only, or beside."""
        return self.state in ("detached", "dropped")

    @property
    def table(self) -> sql.Identifier:
        """Its partition, or the table that it became."""
        kind = "archived" if self.state == "detached" else "usage"
        return sql.Identifier("landing", f"{kind}_events_{self.month.replace('-', '_')}")

    @property
    def first(self) -> date:
        """Its first day."""
        return date.fromisoformat(f"{self.month}-01")


def listing(connection: Connection, older_than: int = 0) -> list[Month]:
    """Every month that has a place, the oldest first; `older_than` whole months since its end make it old enough."""
    found = rows(connection, SQL["months"], older_than=older_than, restored_stays=RESTORED_STAYS,
                 just_restored=JUST_RESTORED)  # fmt: skip
    return [Month(**{**row, "needed_by": tuple(row["needed_by"])}) for row in map(_without_bounds, found)]


def candidates(connection: Connection, older_than: int) -> list[Month]:
    """The months that may be archived now, the oldest first; none where `older_than` is 0."""
    return [] if not older_than else [month for month in listing(connection, older_than) if month.why_not is None]


def find(connection: Connection, name: str) -> Month:
    """One month; raises `BillingError` where there is none of that name."""
    if not _MONTH.fullmatch(name):
        raise BillingError(f"{name!r} is not a month.", "Write it as 2025-01.")
    found = {month.month: month for month in listing(connection)}
    if name not in found:
        raise BillingError(f"There are no events of {name}, here or archived.", "See `./billing archive list`.")
    return found[name]


def check(connection: Connection, month: Month) -> None:
    """Raise `BillingError` where a month may not be archived now."""
    known = {each.month: each for each in listing(connection)}[month.month]
    if known.archived:
        raise BillingError(f"{month.month} is archived.", "See `./billing archive list`.")
    if known.why_not not in (None, JUST_RESTORED):
        raise BillingError(
            f"{month.month} can't be archived: {known.why_not}.", "Nothing was changed; run it again when that is over."
        )


def archive(connection: Connection, month: Month, folder: Path, say: Say = lambda _: None) -> Totals:
    """Write a month to files below `folder`, prove them by reading them back, and take the month out of the table.

    Its events stay in the database, in a table of their own, until `drop`. Raises `BillingError`, and leaves the month
    where it is, where it may not be archived (yet) or where what was read back is not what is in the database.
    """
    with turn(connection):
        check(connection, month)
        name = f"usage_events_{month.month.replace('-', '_')}"
        final, partial = folder / name, folder / f".{name}.partial"
        horizon: datetime = one(connection, SQL["take_horizon"])["horizon"]
        say(f"{month.month}: writing Parquet")
        try:
            manifest = files.write(connection, month.table, partial, horizon)
            say(f"{month.month}: {manifest['rows']:,} events written, reading them back")
            prove(connection, partial, manifest)
            # A name that is taken is that of an archive that was restored since, or of one that was interrupted here.
            shutil.rmtree(final, ignore_errors=True)
            partial.rename(final)
            files.sync(folder)
        except OSError as error:
            raise BillingError(
                f"{folder} can't be written to: {error.strerror or error}.",
                "Free some space, or set BILLING_ARCHIVE; the month is where it was.",
            ) from error
        values = {"month": month.first, "horizon": horizon, "folder": str(final), "manifest": json.dumps(manifest)}
        why_not = _patiently(connection, lambda: one(connection, SQL["detach"], **values)["why_not"])
        if why_not is not None:
            raise BillingError(
                f"{month.month} was not archived: {why_not}.", "Run it again later; nothing was changed."
            )
        say(f"{month.month}: archived in {final}")
        return manifest


def prove(connection: Connection, folder: Path, manifest: Totals) -> None:
    """Read an archive back into the database and compare; raises `BillingError` where it is not what it should be.

    What it is compared with are the counts, sums and checksums that were made of the month before it was written.
    """
    files.check(folder, manifest)
    with connection.transaction():
        connection.execute(SQL["make_copy"])
        files.load(connection, folder, manifest, sql.Identifier("archive_copy"))
        _compare(folder, manifest, totals_of(connection, sql.Identifier("archive_copy"), FAR))


def verify(connection: Connection, month: Month) -> Totals:
    """Prove the files of an archived month; raises `BillingError` where they are not what they should be."""
    folder, manifest = _archived(month)
    if files.read_manifest(folder) != manifest:
        raise BillingError(
            f"The manifest in {folder} is not the one that the database has.", "Bring the folder back from its copy."
        )
    prove(connection, folder, manifest)
    return manifest


def drop(connection: Connection, month: Month) -> None:
    """Drop an archived month from the database after proving its files once more; keys stay."""
    with turn(connection):
        verify(connection, month)
        connection.execute(SQL["drop"], {"month": month.first})


def restore(connection: Connection, month: Month, say: Say = lambda _: None) -> Totals:
    """Bring an archived month back; its events are as they were, row for row, or nothing is changed."""
    with turn(connection):
        folder, manifest = _archived(month)
        if month.state == "dropped":
            say(f"{month.month}: reading {folder}")
            files.check(folder, manifest)
        target = sql.Identifier("landing", f"archived_events_{month.month.replace('-', '_')}")
        with connection.transaction():
            if month.state == "dropped":
                connection.execute(SQL["make"], {"month": month.first})
                files.load(connection, folder, manifest, target)
            _compare(folder, manifest, totals_of(connection, target, FAR))
        _patiently(connection, lambda: connection.execute(SQL["attach"], {"month": month.first}))
        back = sql.Identifier("landing", f"usage_events_{month.month.replace('-', '_')}")
        connection.execute(formatted("analyze", back))
        return manifest


@contextmanager
def turn(connection: Connection) -> Iterator[None]:
    """Be the only one who archives or restores; raises `BillingError` where somebody else does."""
    if not one(connection, SQL["take_turn"])["taken"]:
        raise BillingError("Another archiving or restoring is under way.", "Wait for it to end.")
    try:
        yield
    finally:
        if not connection.broken:
            connection.execute(SQL["leave"])


def _archived(month: Month) -> tuple[Path, Totals]:
    if not month.archived or month.folder is None or month.manifest is None:
        raise BillingError(f"{month.month} is not archived; it is {month.state}.", "See `./billing archive list`.")
    return Path(month.folder), month.manifest


def _compare(folder: Path, manifest: Totals, found: Totals) -> None:
    differing = differences(manifest, found)
    if differing:
        raise BillingError(
            f"What {folder} holds is not what was archived: {'; '.join(differing)}.",
            "Nothing was changed. Bring the folder back from its copy, and report this.",
        )


def _patiently(connection: Connection, act: Callable[[], Any]) -> Any:
    """Do what needs the whole table for an instant, without making those wait long who come after us."""
    for attempt in range(1, LOCK_ATTEMPTS + 1):
        try:
            with connection.transaction():
                connection.execute(SQL["patience"])
                return act()
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
            if attempt == LOCK_ATTEMPTS:
                raise BillingError(
                    "landing.usage_events was in use the whole time, so no month could be moved.",
                    "Run it again when long transactions have ended; nothing was changed.",
                ) from error
            time.sleep(min(attempt, 5))
    raise AssertionError("unreachable")


def _without_bounds(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("starts_at", "ends_at")}

"""Sessions that ask as of a moment: what was acknowledged and recorded by then, and nothing later."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
from psycopg.rows import DictRow

from metering import database, statements
from metering.errors import BillingError

SQL = statements.beside(__file__, "known")

Connection = psycopg.Connection[DictRow]


@dataclass(frozen=True, slots=True)
class Known:
    """About whom and as of which moment a session asks."""

    team_id: int
    team_key: str
    as_of: datetime
    """In UTC."""


def moment(connection: Connection, as_of: datetime | None) -> datetime:
    """The moment to ask as of: the given one, or now; in UTC.

    Now is a moment before which everything recorded has been committed, so that asking as of it again later sees the
    same. Raises `BillingError` for one to come, of which nothing can be known, and for one before any usage.
    """
    horizon: datetime = database.one(connection, SQL["take_horizon"])["horizon"].astimezone(UTC)
    if as_of is None:
        return horizon
    if as_of > horizon:
        raise BillingError(f"{as_of.isoformat()} is in the future.", "Give a moment that has passed, or leave it out.")
    first: datetime | None = database.one(connection, SQL["first_recorded"])["recorded_at"]
    if first is None or as_of < first:
        since = f"the first usage was recorded at {first.astimezone(UTC).isoformat()}" if first else "nothing is yet"
        raise BillingError(f"No usage had been recorded as of {as_of.isoformat()}: {since}.", "Give a later moment.")
    return as_of.astimezone(UTC)


def known_team(connection: Connection, team: str) -> int:
    """The number of a team; raises `BillingError` where there is none of this key."""
    found = database.rows(connection, SQL["team"], team=team)
    if not found:
        raise BillingError(f"There is no team {team!r}.", 'See them: ./billing psql -c "TABLE billing.teams"')
    number: int = found[0]["team_id"]
    return number


@contextlib.contextmanager
def known(connection: Connection, team: str, as_of: datetime) -> Iterator[Known]:
    """A transaction in which the views say what was known of a team at `as_of` (see `moment`); it can't write.

    Needs a connection in autocommit mode. Raises `BillingError` for an unknown team, and where usage that was recorded
    by then and metered later has been archived.
    """
    about = Known(known_team(connection, team), team, as_of)
    with connection.transaction():
        connection.execute(SQL["one_snapshot"])
        connection.execute(SQL["ask"], {"as_of": as_of, "team_id": about.team_id})
        archived = [row["month"] for row in database.rows(connection, SQL["archived_arrivals"], as_of=as_of)]
        if archived:
            raise BillingError(
                f"What was known at {as_of.isoformat()} takes usage of archived months ({', '.join(archived)}).",
                f"Run `./billing archive restore {' '.join(archived)}`, then this again.",
            )
        connection.execute(SQL["hand_in_what_is_unmetered"])
        yield about

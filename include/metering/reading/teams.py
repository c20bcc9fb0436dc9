"""Whose usage is asked for: an API key's own team, or the one that a key for any team names."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import psycopg
from psycopg.rows import DictRow

from metering import database, statements
from metering.ingestion.access import Access
from metering.ingestion.replies import Refusal

SQL = statements.beside(__file__, "teams")


class NotFound(Refusal):
    """Something that the asked team does not have; status 404."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(404, code, message)


class Unusable(Refusal):
    """A parameter that can't be used; status 400."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(400, code, message)


Connection = psycopg.Connection[DictRow]


@dataclass(frozen=True, slots=True)
class Team:
    """A team, by its number and by its name."""

    team_id: int
    team_key: str


def own_team(access: Access, named: str | None) -> Team | None:
    """The team of a key that works for one only; None for a key that works for any.

    Naming another team is refused alike whether that exists or not. Raises `Refusal`.
    """
    if access.team_id is None:
        return None
    if named is not None and named != access.team_key:
        raise Refusal(403, "foreign_team", "This API key works for another team.")
    return Team(access.team_id, access.team_key or "")


def find_team(connection: Connection, access: Access, named: str | None) -> Team:
    """The team that is asked for: the key's own, or for a key that works for any the one that is named.

    Raises `Refusal`.
    """
    own = own_team(access, named)
    if own is not None:
        return own
    if named is None:
        raise Unusable("missing_team", "The API key works for any team: say which with the parameter `team`.")
    found = database.rows(connection, SQL["team"], team_key=named.replace("\0", ""))
    if not found:
        raise NotFound("unknown_team", f"There is no team {named[:80]!r}.")
    return Team(found[0]["team_id"], found[0]["team_key"])


def with_key(connection: Connection, key_digest: UUID, named: str | None = None) -> list[Team]:
    """The teams of which an event with this key has counted, or of them the one that is named."""
    found = database.rows(connection, SQL["with_key"], key_digest=key_digest, team=named)
    return [Team(row["team_id"], row["team_key"]) for row in found]

"""A deployed database in which two teams have usage of their own, and the real service in front of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from ..reading.conftest import World, world

__all__ = ["world"]

SECRETS = ("secret-value", "secret-payload")
"""What only acme has sent: nobody else may ever be told any of it."""


@dataclass
class Planted:
    """What acme has in the database."""

    world: World
    key: str
    """The idempotency key of an event that counts."""
    entry: str
    """What it has in quarantine, as the API names it."""
    period: str
    """The label of the period in which the event is."""

    @property
    def named(self) -> dict[str, str]:
        """The value of acme's own for a parameter of an operation, by the parameter's name."""
        return {
            "team": "acme",
            "key": self.key,
            "period": self.period,
            "subject": "acme-subject",
            "reason": "negative_quantity",
            "id": self.entry,
        }


@pytest.fixture(scope="module")
def planted(world: World) -> Planted:
    """Two events of acme that count, one in quarantine, and one event of globex."""
    when = datetime.now(UTC) - timedelta(minutes=5)
    event = {
        "event": "call",
        "idempotency_key": "acme-key",
        "time": when.isoformat(),
        "quantity": "7",
        "subject": "acme-subject",
        "properties": {"endpoint": "search", "detail": SECRETS[0]},
    }
    broken = {**event, "idempotency_key": "acme-broken", "quantity": "-1"}
    broken["properties"] = {"detail": SECRETS[1]}
    said = world.send([event, {**event, "idempotency_key": "acme-two"}, broken], "acme")
    assert (said["accepted"], said["quarantined"]) == (2, 1)
    world.send([{"event": "call", "idempotency_key": "globex-key", "time": when.isoformat()}], "globex")
    held = world.house.query(
        "select replace(quarantine_digest::text, '-', '') as digest, payload from landing.quarantined_events"
        " where team_id = %s",
        world.house.teams["acme"],
    )
    assert SECRETS[1] in held[0]["payload"]
    entry = f"{world.house.teams['acme']}-{held[0]['digest']}"
    return Planted(world, "acme-key", entry, when.strftime("%Y-%m"))

"""What was counted, compared with what was used: event by event, and by the marts that bills are made from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

import psycopg
from psycopg.rows import DictRow

from metering import database
from usage_client import Tally

from .load import Fact

LANDED = (
    "SELECT team_key, event_key, quantity, occurred_at FROM landing.usage_events JOIN billing.teams USING (team_id)"
)
KEYS = "SELECT count(*) AS n FROM landing.event_keys"
BOOKED = "SELECT coalesce(sum(accepted), 0) AS n FROM landing.batches"
HELD = "SELECT count(*) AS n FROM landing.quarantined_events"
MARTS = {
    name: f"SELECT team_key, sum(quantity) AS quantity, sum(event_count) AS events"
    f" FROM marts.{name} JOIN billing.teams USING (team_id) GROUP BY team_key"
    for name in ("fct_usage_hourly", "fct_usage_daily", "fct_usage_monthly")
}
BILLED = "SELECT team_key, period_label, sum(amount) AS amount FROM marts.fct_bill_lines GROUP BY 1, 2"


@dataclass(frozen=True)
class Figures:
    """What a test found, to be printed."""

    tracked: int
    facts: int
    acknowledged: int
    counted: int
    lost: int
    twice: int
    answered_duplicate: int
    spooled: int
    retries: int


def landed(connection: psycopg.Connection[DictRow], expected: Mapping[tuple[str, str], Fact], tally: Tally) -> Figures:
    """Compare what landed with the facts and with the client's tally; every difference fails."""
    rows = database.rows(connection, LANDED)
    times = Counter((row["team_key"], row["event_key"]) for row in rows)
    figures = Figures(
        tracked=tally.tracked,
        facts=len(expected),
        acknowledged=tally.accepted + tally.duplicate,
        counted=len(rows),
        lost=len(expected.keys() - times.keys()),
        twice=sum(times.values()) - len(times),
        answered_duplicate=tally.duplicate,
        spooled=tally.spooled,
        retries=tally.retries,
    )
    assert (figures.lost, figures.twice) == (0, 0), figures
    assert {(row["team_key"], row["event_key"]): (row["quantity"], row["occurred_at"]) for row in rows} == {
        identity: (fact.quantity, fact.time) for identity, fact in expected.items()
    }
    for statement in (KEYS, BOOKED):
        assert database.one(connection, statement)["n"] == len(expected), statement
    assert database.one(connection, HELD)["n"] == 0
    # The client's own books: each event tracked has been answered for, and no fact was accepted twice.
    assert not any((tally.quarantined, tally.refused, tally.failed, tally.lost, tally.dropped)), tally
    assert tally.spooled == tally.recovered, tally
    assert tally.accepted + tally.duplicate == tally.tracked, tally
    assert tally.accepted <= len(expected) <= tally.tracked, tally
    return figures


def metered(connection: psycopg.Connection[DictRow], expected: Mapping[tuple[str, str], Fact]) -> None:
    """Compare the marts with the facts: quantities to the last digit, numbers of events, and what is billed."""
    events: Counter[str] = Counter()
    quantities: defaultdict[str, Decimal] = defaultdict(Decimal)
    months: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for (team, _), fact in expected.items():
        events[team] += 1
        quantities[team] += fact.quantity
        months[team, f"{fact.time:%Y-%m}"] += fact.quantity
    for name, statement in MARTS.items():
        found = {row["team_key"]: (row["quantity"], row["events"]) for row in database.rows(connection, statement)}
        assert found == {team: (quantities[team], events[team]) for team in events}, name
    # One currency unit for each unit used.
    billed = {(row["team_key"], row["period_label"]): row["amount"] for row in database.rows(connection, BILLED)}
    due = {bill: amount.quantize(Decimal("0.01"), ROUND_HALF_UP) for bill, amount in months.items()}
    assert {bill: amount for bill, amount in billed.items() if amount} == due

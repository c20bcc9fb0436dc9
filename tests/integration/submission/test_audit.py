"""A billing period is proved from its events to what Stripe says now; what nothing explains fails."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from metering import submission
from metering.cli.app import app
from metering.database import connect
from metering.errors import BillingError
from metering.reading.teams import Team
from metering.reading.trace import trace
from metering.settings import Settings
from metering.submission import client
from metering.submission.audit import Audit, audit

from ..metering.conftest import House
from .conftest import NOON, TODAY, Emulator

PERIOD = f"{TODAY:%Y-%m}"


@pytest.fixture
def house(deployed_database_url: str, dbt_home: Path, settings: Settings) -> Iterator[House]:
    """One team whose calls of today are billed and at Stripe."""
    values = {**settings.values, "DATABASE_URL": deployed_database_url}
    with connect(deployed_database_url) as connection:
        house = House(connection, Settings(home=dbt_home, values=values))
        plan, calls = house.plan("plan"), house.meter("calls", "call")
        house.version(house.price("plan/calls", plan, calls), "2020-01-01Z", "per_unit", [("0", None, "0.5", "0")])
        house.team("acme", plan, f"{TODAY.replace(day=1):%Y-%m-%d}")
        house.event("acme", "one", "call", f"{TODAY:%Y-%m-%d}T00:00:01Z", "3")
        house.event("acme", "two", "call", f"{TODAY:%Y-%m-%d}T00:00:02Z", "4.5")
        house.aggregate()
        yield house


def _submit(house: House, emulator: Emulator) -> None:
    emulator.set_clock(NOON + timedelta(hours=12))
    submission.prepare(house.connection, house.settings)
    submission.plan(house.connection, house.settings)
    submission.submit(house.connection, house.settings)
    submission.resolve(house.connection, house.settings)


def _audit(house: House) -> Audit:
    (found,) = audit(house.connection, client.connect(house.settings), "acme", PERIOD)
    return found


# dbt leaves its log files to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_a_period_is_proved_with_both_sides_evidence_and_what_nothing_explains_fails(
    house: House, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _audit(house)
    assert before.verdict == "explained"
    assert "next submission" in " ".join(
        reason for difference in before.chain.meters[0].differences for reason in difference.because
    )

    _submit(house, emulator)
    proved = _audit(house)
    assert proved.verdict == "equal"
    (side,), (sent,), (line,) = proved.stripe, proved.submissions, proved.lines
    assert side.quantity == sent.quantity == line.quantity == Decimal("7.5")
    assert (sent.state, sent.attempts) == ("confirmed", 1) and sent.request_id and sent.identifier.startswith("mb1-")
    assert line.amount == Decimal("3.75")

    # What somebody else writes into the account is seen at once, and nothing is written about it here.
    for name, value in house.settings.values.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(BillingError, match="no billing period '1999-01'"):
        audit(house.connection, client.connect(house.settings), "acme", "1999-01")
    with pytest.raises(BillingError, match="no team 'nobody'"):
        audit(house.connection, client.connect(house.settings), "nobody", PERIOD)
    stripe = client.connect(house.settings).api
    stripe.v1.billing.meter_events.create(
        {
            "event_name": str(house.value("select event_name from billing.stripe_meters")),
            "payload": {"stripe_customer_id": str(side.customer), "value": "100"},
            "timestamp": int((TODAY + timedelta(hours=1)).timestamp()),
        }
    )
    assert _audit(house).stripe[0].quantity == Decimal("107.5")
    told = CliRunner().invoke(app, ["audit", "acme", PERIOD])
    assert told.exit_code == 1
    assert "Stripe has 107.5 and has accepted 7.5 from here." in " ".join(told.stdout.split())
    assert house.value("select count(*) from billing.holds") == 0
    as_json = json.loads(CliRunner().invoke(app, ["audit", "acme", PERIOD, "--format", "json"]).stdout)
    assert as_json[0]["stripe"][0]["quantity"] == "107.5"
    rows = list(
        csv.DictReader(io.StringIO(CliRunner().invoke(app, ["audit", "acme", PERIOD, "--format", "csv"]).stdout))
    )
    assert [(row["meter"], row["quantity"], row["state"]) for row in rows] == [("calls", "7.5", "confirmed")]

    # More usage of a day that Stripe was told of: it is rated, and what Stripe has confirmed is not it.
    assert trace(house.connection, Team(house.teams["acme"], "acme"), "one").meters[0].reached == "confirmed"
    house.event("acme", "three", "call", f"{TODAY:%Y-%m-%d}T00:00:03Z", "2")
    house.aggregate()
    (meter,) = trace(house.connection, Team(house.teams["acme"], "acme"), "three").meters
    (window,) = meter.stripe
    assert (meter.reached, window.due, window.target) == ("rated", Decimal("9.5"), Decimal("7.5"))

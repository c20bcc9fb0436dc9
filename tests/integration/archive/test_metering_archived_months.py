"""Bills of an archived month stay what they are, whatever is asked; restored, they are made again the same."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from typer.testing import CliRunner

from metering import archive, bills, runs, transform
from metering.bills import lineage, verification
from metering.cli import app as cli
from metering.errors import BillingError

from .conftest import House, Marts, event

JANUARY, MARCH = datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 3, 1, tzinfo=UTC)


# dbt leaves its log files to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_a_bill_built_from_a_restored_month_is_identical(billed: House, marts: Marts) -> None:
    built = marts()
    assert all(built.values())
    archive.drop(billed.connection, billed.archive())

    # A run that would need the month says so, changes nothing, and the hourly run goes on.
    opened = billed.value("SELECT max(run_id) FROM billing.metering_runs")
    with pytest.raises(BillingError, match=r"touches archived months \(2025-01\)") as refused:
        billed.aggregate(datetime(2025, 1, 31, 23, tzinfo=UTC), MARCH)
    assert "./billing archive restore 2025-01" in refused.value.remedy
    assert billed.value("SELECT max(run_id) FROM billing.metering_runs") == opened
    billed.land(event(1000, at="2025-01-15T00:00:00Z"))
    billed.aggregate()
    billed.aggregate(datetime(2025, 2, 1, tzinfo=UTC), MARCH)
    assert marts() == built
    transform.build("tag:finance", billed.settings)
    assert billed.value("SELECT count(*) FROM marts.fct_reconciliation WHERE landed_minus_metered <> 0") == 0

    archive.restore(billed.connection, billed.find())
    billed.connection.execute("UPDATE marts.fct_bill_lines SET amount = amount + 1")
    billed.connection.execute("TRUNCATE intermediate.int_usage_buckets, marts.fct_usage_hourly, marts.fct_usage_daily,"
                              " marts.fct_usage_monthly, marts.fct_rated_usage")  # fmt: skip
    billed.connection.execute(
        "UPDATE billing.billing_periods SET opened_at = clock_timestamp(), status = 'active', finalized_at = NULL"
    )
    billed.connection.execute("TRUNCATE billing.finalized_bill_lines, billing.finalized_bills")
    billed.aggregate(JANUARY, datetime(2025, 4, 1, tzinfo=UTC))
    again = marts()
    assert again["buckets"] == built["buckets"]
    assert {name: _without_status(rows) for name, rows in again.items()} == {
        name: _without_status(rows) for name, rows in built.items()
    }
    transform.build("tag:finance", billed.settings)
    assert billed.value("SELECT count(*) FROM marts.fct_reconciliation WHERE landed_minus_metered <> 0") == 0


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_bills_of_the_past_and_the_events_under_lines_are_the_same_once_a_month_is_back(billed: House) -> None:
    connection = billed.connection
    before_metering = connection.execute("SELECT min(recorded_at) AS at FROM landing.batches").fetchone()
    assert before_metering is not None
    january = [("acme", "2025-01"), ("delhi", "2025-01")]

    def seen() -> list[tuple[object, ...]]:
        """Each bill as it first was known and as it became final, and every event under each of its lines."""
        found: list[tuple[object, ...]] = []
        for team, period in january:
            early = bills.bill(connection, team, period, as_of=before_metering["at"])
            final = bills.bill(connection, team, period)
            found += [(line.line, line.quantity, line.amount, line.tiers) for line in (*early.lines, *final.lines)]
            for line in final.lines:
                for page in lineage.explain_all(connection, f"{team}/{period}/{line.line}"):
                    found += [(event.key, event.occurred_at, event.counts, event.running) for event in page.events]
        return found

    was = seen()
    assert len(was) > 80
    final = [bills.bill(connection, team, period).lines for team, period in january]
    archive.drop(connection, billed.archive())

    # A final bill needs no events. What was known before a run had metered them does, and so does what is under a line.
    assert [bills.bill(connection, team, period).lines for team, period in january] == final
    assert verification.verify(connection, datetime.now(UTC) + timedelta(hours=1), 100, "test")["rebuilt"] == 9
    with pytest.raises(BillingError, match=r"takes usage of archived months \(2025-01\)") as refused:
        bills.bill(connection, "acme", "2025-01", as_of=before_metering["at"])
    assert "./billing archive restore 2025-01" in refused.value.remedy
    with pytest.raises(BillingError, match=r"are of archived months \(2025-01\)") as refused:
        lineage.explain(connection, f"acme/2025-01/{final[0][0].line}")
    assert "./billing archive restore 2025-01" in refused.value.remedy

    archive.restore(connection, billed.find())
    assert seen() == was


def _without_status(rows: list[str]) -> list[str]:
    moving = ("status", "finalized_at", "stripe_invoice_id", "is_finalized")
    if not rows or not rows[0].startswith("{"):
        return rows
    found = [{k: v for k, v in json.loads(row).items() if k not in moving} for row in rows]
    return sorted(json.dumps(row, sort_keys=True) for row in found)


def test_a_meter_that_is_newer_than_an_archived_month_counts_it_once_it_is_restored(used: House) -> None:
    used.archive()
    used.connection.execute(
        "INSERT INTO billing.meters (meter_key, meter_name, event_name, aggregation, unit)"
        " VALUES ('requests', 'Requests', 'call', 'count', 'call'), ('mails', 'Mails', 'mail', 'count', 'mail')"
    )
    queued = "SELECT count(*) FROM billing.buckets_to_meter WHERE meter_id = 3 AND bucket_start < '2025-02-01Z'"
    runs.close_run(used.connection, runs.open_run(used.connection, "test"))
    assert used.find().needed_by == ("requests",)
    archive.restore(used.connection, used.find())
    run = runs.open_run(used.connection, "test")
    calls = used.value(
        "SELECT count(*) FROM landing.usage_events WHERE event_name = 'call' AND occurred_at < '2025-02-01Z'"
    )
    assert used.value(queued) == calls > 0
    runs.close_run(used.connection, run)
    assert used.find().needed_by == ()


def test_no_way_leads_to_counting_an_archived_month_again(used: House) -> None:
    used.archive()
    for statement in (
        "INSERT INTO billing.buckets_to_meter VALUES (1, 1, '2025-02-01Z', 1), (1, 1, '2025-01-31 23:45Z', 1)",
        "INSERT INTO landing.event_withdrawals SELECT team_id, key_digest, occurred_at, now(), 'test'"
        " FROM landing.event_keys WHERE occurred_at < '2025-02-01Z' LIMIT 1",
    ):
        with pytest.raises(psycopg.DataError, match="billing archive restore 2025-01"):
            used.connection.execute(statement)
    used.connection.execute("INSERT INTO billing.buckets_to_meter VALUES (1, 1, '2025-02-01Z', 1)")


def test_the_commands_say_what_is_archived_and_what_would_be(used: House, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (*used.settings.values.items(), ("BILLING_HOME", str(used.settings.home))):
        monkeypatch.setitem(os.environ, name, value)
    monkeypatch.setitem(os.environ, "BILLING_ARCHIVE_AFTER_MONTHS", "1")

    def run(*arguments: str) -> str:
        shown = CliRunner().invoke(cli.app, ["archive", *arguments])
        assert shown.exit_code == 0, shown.output
        return shown.output

    used.connection.execute("INSERT INTO billing.buckets_to_meter VALUES (1, 1, '2025-01-10Z', 1)")
    for arguments in (["2025-01"], ["2025-01", "--dry-run"]):
        refused = CliRunner().invoke(cli.app, ["archive", "run", *arguments])
        assert isinstance(refused.exception, BillingError) and "wait to be metered" in refused.exception.message
    used.connection.execute("DELETE FROM billing.buckets_to_meter")
    assert "2025-01 would be archived" in run("run", "--dry-run")
    assert used.find().state == "in place"
    assert "Archived: 2025-01, 2025-02, 2025-03." in run("run")
    assert "No month is to be archived" in run("run")
    assert run("verify").count("the same as when they were archived") == 3
    assert "2025-02 would be dropped" in run("run", "2025-02", "--drop", "--dry-run")
    assert "2025-02 was dropped" in run("run", "2025-02", "--drop")
    assert [line.split()[:2] for line in run("list").splitlines() if line.startswith("2025")] == [
        ["2025-01", "detached"], ["2025-02", "dropped"], ["2025-03", "detached"],
    ]  # fmt: skip
    assert "would come back" in run("restore", "2025-02", "--dry-run")
    assert "events are back" in run("restore", "2025-02")
    assert "2025-02 is not archived" in run("restore", "2025-02")
    listed = {month["month"]: month for month in json.loads(run("list", "--json"))}
    assert listed["2025-02"]["why_not"] == "it was restored a short while ago"
    shown = CliRunner().invoke(cli.app, ["archive", "restore", "january"])
    assert isinstance(shown.exception, BillingError) and "is not a month" in shown.exception.message


def test_upkeep_archives_by_the_settings_and_drops_only_where_they_say_so(used: House) -> None:
    def keep_up(**values: str) -> dict[str, object]:
        settings = type(used.settings)(home=used.settings.home, values={**used.settings.values, **values})
        return archive.keep_up(used.connection, settings)

    assert keep_up(BILLING_ARCHIVE_AFTER_MONTHS="0") == {"archived": {}, "dropped": []}
    assert keep_up(BILLING_ARCHIVE_AFTER_MONTHS="1000") == {"archived": {}, "dropped": []}
    done = keep_up(BILLING_ARCHIVE_AFTER_MONTHS="12")
    assert list(done["archived"]) == ["2025-01", "2025-02", "2025-03"] and done["dropped"] == []  # type: ignore[call-overload]
    assert keep_up(BILLING_ARCHIVE_DROP="1")["dropped"] == ["2025-01", "2025-02", "2025-03"]

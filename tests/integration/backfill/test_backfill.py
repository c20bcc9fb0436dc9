"""Late, twice, half-way, or as a backfill over any range: the tables come out the same, row by row."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from metering import runs, transform
from metering.settings import Settings

HERE = Path(__file__).parent

TABLES = {
    "intermediate.int_usage_buckets": (
        "SELECT team_id, meter_id, bucket_start, dimensions::text, quantity, event_count"
        " FROM intermediate.int_usage_buckets WHERE recorded_to = 'infinity'"
    ),
    **{
        f"marts.{name}": f"SELECT to_jsonb(mart)::text FROM marts.{name} AS mart"
        for name in (
            "fct_usage_hourly", "fct_usage_daily", "fct_usage_monthly", "fct_rated_usage", "fct_bill_lines",
            "fct_bills", "fct_stripe_usage",
        )
    },
}  # fmt: skip


@pytest.fixture
def database_url(deployed_database_url) -> str:
    return deployed_database_url


@pytest.fixture
def settings(database_url, dbt_home, monkeypatch) -> Settings:
    """dbt builds in this test's database."""
    settings = Settings(home=dbt_home, values={"DATABASE_URL": database_url})
    for name, value in transform.environment(settings).items():
        monkeypatch.setenv(name, value)
    return settings


def land(connection, *late: bool) -> None:
    connection.execute((HERE / "land.sql").read_text(encoding="utf-8"), {"late": list(late)})


def meter(connection, settings, since: datetime | None = None, until: datetime | None = None) -> int:
    """One run, as aggregate_usage makes it, without its gates."""
    run = runs.open_run(connection, "test", since, until)
    transform.build("tag:usage", settings)
    transform.build("tag:billing", settings)
    runs.close_run(connection, run)
    return run


def tables(connection) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table that usage becomes, in an order of its own."""
    return {
        name: sorted(tuple(row.values()) for row in connection.execute(query).fetchall())
        for name, query in TABLES.items()
    }


def day(month: int, number: int, hour: int = 0) -> datetime:
    return datetime(2026, month, number, hour, tzinfo=UTC)


# dbt leaves its log files to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_a_late_run_a_second_run_and_backfills_over_any_range_give_the_same_tables(connection, settings):
    connection.execute((HERE / "usage.sql").read_text(encoding="utf-8"))
    land(connection, False)
    meter(connection, settings)
    on_time = tables(connection)
    land(connection, True)
    meter(connection, settings)
    expected = tables(connection)
    assert all(expected.values())
    assert sum(row[-1] for row in expected["intermediate.int_usage_buckets"]) == 600
    assert expected["marts.fct_bill_lines"] != on_time["marts.fct_bill_lines"]

    # Again, with nothing new.
    meter(connection, settings)
    assert tables(connection) == expected
    # A range that cuts hours, days, months and billing periods; killed half-way, then done by the run after it.
    runs.open_run(connection, "killed", day(7, 20, 7), day(8, 3, 11))
    transform.build("tag:usage", settings)
    meter(connection, settings)
    assert tables(connection) == expected
    # A backfill of everything, from tables that were spoilt.
    connection.execute("UPDATE marts.fct_bill_lines SET amount = amount + 1 WHERE quantity > 0")
    connection.execute("UPDATE marts.fct_usage_hourly SET quantity = quantity * 2")
    connection.execute("DELETE FROM marts.fct_stripe_usage WHERE team_id = 1")
    meter(connection, settings, day(6, 30), day(9, 1))
    assert tables(connection) == expected
    # From raw events at once.
    connection.execute(
        "TRUNCATE intermediate.int_usage_buckets, marts.fct_usage_hourly, marts.fct_usage_daily,"
        " marts.fct_usage_monthly, marts.fct_rated_usage, marts.fct_bill_lines, marts.fct_stripe_usage"
    )
    connection.execute("UPDATE billing.billing_periods SET opened_at = clock_timestamp()")
    meter(connection, settings, day(6, 30), day(9, 1))
    assert tables(connection) == expected

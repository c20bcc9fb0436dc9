"""A database made by an earlier version of the product becomes one of this version, and keeps what it knows."""

from __future__ import annotations

import shutil
from decimal import Decimal
from pathlib import Path

import pytest
from psycopg.types.json import Jsonb

from metering import database, migrate, transform
from metering.settings import Settings

MARTS = Path(__file__).with_name("marts_of_then.sql")
LAST = "0016_exchange_rates"


def test_a_database_from_before_prices_in_full_is_migrated_and_its_models_are_deployed(
    empty_database_url: str, dbt_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    then = tmp_path / "migrations"
    then.mkdir()
    for file in sorted(migrate.MIGRATIONS.glob("*.sql")):
        if file.stem <= LAST:
            shutil.copy(file, then)
    with monkeypatch.context() as earlier:
        earlier.setattr(migrate, "MIGRATIONS", then)
        assert migrate.migrate(empty_database_url)[-1] == LAST
    with database.connect(empty_database_url) as connection:
        connection.execute(MARTS.read_text(encoding="utf-8").encode())

        assert migrate.migrate(empty_database_url)[0] == "0017_price_models"
        transform.deploy(Settings(home=dbt_home, values={"DATABASE_URL": empty_database_url}))

        lines = connection.execute("select quantity, amount, exact_amount, kind from marts.fct_bill_lines").fetchall()
        assert lines == [
            {
                "quantity": Decimal("12.5"),
                "amount": Decimal("11.25"),
                "exact_amount": Decimal("11.25"),
                "kind": "usage",
            }
        ]
        tiers = connection.execute(
            "select tier, part, billed_units, block_size from marts.fct_rated_usage order by tier"
        ).fetchall()
        assert [tuple(tier.values()) for tier in tiers] == [(1, "", 10, None), (2, "", Decimal("2.5"), None)]
        # A line may have parts now, each with tiers of its own.
        connection.execute(
            "insert into marts.fct_rated_usage"
            " select (jsonb_populate_record(rated, %s)).* from marts.fct_rated_usage as rated",
            (Jsonb({"part": "a"}),),
        )
        bills = connection.execute("select total from marts.fct_bills where period_label = '2026-05'").fetchall()
        assert [bill["total"] for bill in bills] == [Decimal("11.25")]
        # Days of a clock that is set at midnight are made again from quarter-hours, of which there are none here.
        assert connection.execute("select from marts.fct_usage_daily").fetchall() == []

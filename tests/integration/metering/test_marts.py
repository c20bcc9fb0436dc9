"""Every mart says what it is: its grain first, each column in the database too; a contract, its users, its readers."""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import yaml
from psycopg import sql

from metering import database, deployment
from metering.settings import PROJECT_ROOT

FOLDER = PROJECT_ROOT / "dbt_project" / "models" / "marts"
# What finance asks for by name, each in a mart of its own.
ASKED = {
    "fct_usage_minutely", "fct_usage_hourly", "fct_usage_daily", "fct_usage_monthly", "fct_rated_usage",
    "fct_bill_lines", "fct_bills", "fct_billing_periods", "fct_adjustments", "fct_credits", "fct_revenue",
    "fct_revenue_monthly", "fct_revenue_earned_daily", "fct_revenue_change", "fct_reconciliation",
    "fct_reconciliation_by_period",
}  # fmt: skip


def _documents() -> Iterator[dict[str, Any]]:
    for path in sorted(FOLDER.rglob("_*.yml")):
        yield yaml.safe_load(path.read_text(encoding="utf-8"))


MODELS = {model["name"]: model for document in _documents() for model in document.get("models", [])}
EXPOSURES = [exposure for document in _documents() for exposure in document.get("exposures", [])]


def test_every_mart_has_a_contract_says_its_grain_and_is_used_by_somebody() -> None:
    assert {path.stem for path in FOLDER.rglob("*.sql")} == set(MODELS) >= ASKED
    for name, model in MODELS.items():
        assert model["config"]["contract"]["enforced"] is True, name
        assert model["description"].splitlines()[0].startswith("One row "), name
        assert all(column["description"].strip() for column in model["columns"]), name
    used = set(itertools.chain.from_iterable(exposure["depends_on"] for exposure in EXPOSURES))
    assert {re.sub(r"ref\('(\w+)'\)", r"\1", reference) for reference in used} == set(MODELS)


def test_what_marts_and_columns_say_is_in_the_database(deployed_database_url: str) -> None:
    with database.connect(deployed_database_url) as connection:
        found = connection.execute(
            """
            SELECT relation.relname AS mart, attname AS name, obj_description(relation.oid) AS about,
                col_description(relation.oid, attnum) AS said
            FROM pg_attribute JOIN pg_class AS relation ON relation.oid = attrelid
            WHERE relnamespace = 'marts'::regnamespace AND relkind IN ('r', 'v') AND attnum > 0 AND NOT attisdropped
            """
        ).fetchall()
    assert {row["mart"] for row in found} == set(MODELS)
    for row in found:
        columns = {column["name"]: column["description"] for column in MODELS[row["mart"]]["columns"]}
        assert row["said"] == columns[row["name"]], row
        assert row["about"].strip() == MODELS[row["mart"]]["description"].strip(), row


def test_somebody_of_finance_reads_every_mart_and_nothing_else(
    deployed_database_url: str, postgres_server: str
) -> None:
    name, password = f"jane_{secrets.token_hex(4)}", secrets.token_urlsafe(12)
    parts = urlsplit(deployed_database_url)
    address = urlunsplit(parts._replace(netloc=f"{name}:{password}@{parts.hostname}:{parts.port}"))
    with database.connect(deployed_database_url) as owner:
        deployment.let_readers_read(owner)
        # As docs/finance.md has it.
        owner.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE billing_reader").format(sql.Identifier(name), password)
        )
        try:
            with database.connect(address) as jane:
                for mart in MODELS:
                    jane.execute(sql.SQL("SELECT * FROM marts.{} LIMIT 1").format(sql.Identifier(mart)))
                elsewhere = jane.execute(
                    "SELECT schemaname || '.' || tablename AS name FROM pg_tables"
                    " WHERE schemaname NOT IN ('marts', 'pg_catalog', 'information_schema')"
                ).fetchall()
                assert {"billing.api_keys", "landing.usage_events"} <= {row["name"] for row in elsewhere}
                for row in elsewhere:
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        jane.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(*row["name"].split("."))))
                for statement in (
                    "INSERT INTO marts.fct_bill_lines DEFAULT VALUES", "UPDATE marts.fct_bill_lines SET amount = 0",
                    "DELETE FROM marts.fct_bill_lines", "TRUNCATE marts.fct_bill_lines", "DROP VIEW marts.fct_bills",
                    "CREATE TABLE marts.mine (n int)", "CREATE TABLE billing.mine (n int)",

                ):  # fmt: skip
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        jane.execute(statement)
        finally:
            owner.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))

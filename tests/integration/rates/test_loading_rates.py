"""Exchange rates in the database: only ever added."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from metering import rates
from metering.cli import rates as command
from metering.rates.load import latest

Connection = psycopg.Connection[dict[str, Any]]

HISTORY = "Date,USD,JPY,EEK,\n2026-11-20,1.0567,163.21,N/A,\n2026-11-19,1.1,160,15.6466,\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rates.csv"
    path.write_text(HISTORY, encoding="utf-8")
    return path


def test_a_file_that_is_loaded_again_adds_nothing(connection: Connection, file: Path) -> None:
    quotes = rates.read(file)
    assert rates.load(connection, quotes, "ECB", dry_run=True) == rates.Loaded(5, 4, 0, ("EEK",))
    assert rates.load(connection, quotes, "ECB") == rates.Loaded(5, 4, 0, ("EEK",))
    assert rates.load(connection, quotes, "ECB") == rates.Loaded(5, 0, 0, ("EEK",))


def test_a_rate_that_was_wrong_stays_beside_the_one_that_counts(connection: Connection, file: Path) -> None:
    rates.load(connection, rates.read(file), "ECB")
    file.write_text(HISTORY.replace("1.0567", "1.0576"), encoding="utf-8")
    assert rates.load(connection, rates.read(file), "ECB, corrected").corrected == 1
    assert not rates.load(connection, rates.read(file), "ECB").added
    usd = next(row for row in latest(connection) if row["currency"] == "USD")
    assert (str(usd["per_euro"]), usd["source"]) == ("1.0576", "ECB, corrected")
    kept = "SELECT per_euro FROM billing.exchange_rates WHERE currency = 'USD' AND quoted_at::date = '2026-11-20'"
    assert len(connection.execute(kept).fetchall()) == 2
    before = latest(connection, datetime(2026, 11, 20, 14, tzinfo=UTC))
    assert [str(row["per_euro"]) for row in before] == ["160", "1.1"]


def test_the_command_says_what_it_did(database_url: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    assert "No rates are known" in CliRunner().invoke(command.app, ["list"]).output
    said = CliRunner().invoke(command.app, ["load", str(file)])
    assert said.exit_code == 0
    assert "5 rates read, 4 added." in said.output
    assert "EEK" in said.output
    listed = CliRunner().invoke(command.app, ["list", "--at", "2026-11-19T20:00:00"])
    assert "USD       1.1          2026-11-19 15:00Z  ECB" in listed.output

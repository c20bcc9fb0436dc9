"""Files of exchange rates as the European Central Bank publishes them."""

from __future__ import annotations

import zipfile
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from metering import rates
from metering.errors import BillingError

HISTORY = "Date,USD,JPY,EEK,\n2026-11-20,1.0567,163.21,N/A,\n2026-07-01,1.1,160,15.6466,\n"
DAILY = "Date, USD, JPY, \n20 November 2026, 1.0567, 163.21, \n"


def read(folder: Path, text: str) -> rates.Quotes:
    file = folder / "rates.csv"
    file.write_text(text, encoding="utf-8")
    return rates.read(file)


def test_rates_are_exact_and_dated_by_their_publication(tmp_path: Path) -> None:
    found = read(tmp_path, HISTORY)
    assert found.currencies == ("USD", "JPY", "EEK")
    assert [(quote.currency, quote.per_euro) for quote in found.quotes] == [
        ("USD", Decimal("1.0567")),
        ("JPY", Decimal("163.21")),
        ("USD", Decimal("1.1")),
        ("JPY", Decimal(160)),
        ("EEK", Decimal("15.6466")),
    ]
    # Four in the afternoon in Frankfurt, in winter and in summer.
    assert {quote.quoted_at.astimezone(UTC) for quote in found.quotes} == {
        datetime(2026, 11, 20, 15, tzinfo=UTC),
        datetime(2026, 7, 1, 14, tzinfo=UTC),
    }


def test_the_daily_file_and_the_zip_are_read_as_well(tmp_path: Path) -> None:
    assert read(tmp_path, DAILY).quotes == read(tmp_path, HISTORY).quotes[:2]
    with zipfile.ZipFile(tmp_path / "rates.zip", "w") as archive:
        archive.writestr("eurofxref-hist.csv", HISTORY)
    assert rates.read(tmp_path / "rates.zip") == read(tmp_path, HISTORY)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("Date,", "Day,", "line 1: does not begin with Date"),
        ("USD", "usd", "line 1: usd is no currency"),
        ("JPY", "USD", "line 1: a currency stands there twice"),
        ("2026-11-20", "20.11.2026", "line 2: '20.11.2026' is no day"),
        ("2026-07-01", "2026-11-20", "line 3: the day 2026-11-20 stands there twice"),
        ("163.21", "163,21", "line 2: has 5 values, and there are 3 currencies"),
        ("163.21", "-163.21", "line 2: '-163.21' is no rate of JPY"),
        ("163.21", "0", "line 2: '0' is no rate of JPY"),
        ("163.21", "1e3", "line 2: '1e3' is no rate of JPY"),
        (",163.21,N/A,", "", "line 2: has 1 values, and there are 3 currencies"),
    ],
)
def test_what_is_no_rate_is_named_by_its_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(BillingError) as raised:
        read(tmp_path, HISTORY.replace(old, new, 1))
    assert f"rates.csv, {says}" in raised.value.message
    assert "nothing was loaded" in raised.value.remedy


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BillingError, match="can't be read: No such file"):
        rates.read(tmp_path / "none.csv")
    with zipfile.ZipFile(tmp_path / "rates.zip", "w") as archive:
        archive.writestr("readme.txt", "no rates")
    with pytest.raises(BillingError, match="holds 0 CSV files"):
        rates.read(tmp_path / "rates.zip")
    (tmp_path / "image.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BillingError, match="is not UTF-8"):
        rates.read(tmp_path / "image.csv")

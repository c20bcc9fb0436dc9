"""The CSV in which the European Central Bank publishes its reference rates, or the zip that it stands in.

    Date,USD,JPY,BGN,                       eurofxref-hist.csv: one row a day, N/A where there was no rate
    2026-11-20,1.0567,163.21,1.9558,
    Date, USD, JPY, BGN,                    eurofxref.csv: the latest day
    20 November 2026, 1.0567, 163.21, 1.9558,

A number is how many units of the currency one euro was worth.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

from metering.errors import BillingError

PUBLISHED = time(16, 0, tzinfo=ZoneInfo("Europe/Berlin"))
"""When the rates of a day are published: https://www.ecb.europa.eu, euro foreign exchange reference rates."""
LARGEST = 64 * 2**20
"""Bytes of CSV that are read; thirty years of daily rates are 2 MB."""

_NUMBER = re.compile(r"\d{1,20}(\.\d{1,12})?", re.ASCII)
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
_NONE = ("N/A", "-", "")


@dataclass(frozen=True)
class Quote:
    """One rate of one day."""

    currency: str
    quoted_at: datetime
    per_euro: Decimal


@dataclass(frozen=True)
class Quotes:
    """A file: its currencies in their order, and the rates, day by day."""

    currencies: tuple[str, ...]
    quotes: tuple[Quote, ...]


def read(path: Path) -> Quotes:
    """Read a file; raises `BillingError` that names the line and the reason of what can't be a rate."""
    rows = csv.reader(io.StringIO(_text(path)))
    header = [cell.strip() for cell in next(rows, [])]
    while header and not header[-1]:  # each line ends with a comma
        header.pop()
    if len(header) < 2 or header[0] != "Date":
        raise _mistake(path, 1, "does not begin with Date and currencies")
    for currency in header[1:]:
        if not _CURRENCY.fullmatch(currency):
            raise _mistake(path, 1, f"{currency} is no currency")
    if len({*header}) < len(header):
        raise _mistake(path, 1, "a currency stands there twice")
    quotes: list[Quote] = []
    seen: set[date] = set()
    for cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        day = _day(path, rows.line_num, cells[0].strip())
        if day in seen:
            raise _mistake(path, rows.line_num, f"the day {day} stands there twice")
        seen.add(day)
        quotes += _quotes(path, rows.line_num, datetime.combine(day, PUBLISHED), header[1:], cells[1:])
    return Quotes(tuple(header[1:]), tuple(quotes))


def _quotes(path: Path, line: int, moment: datetime, currencies: list[str], cells: list[str]) -> Iterator[Quote]:
    if len(cells) < len(currencies) or any(cell.strip() for cell in cells[len(currencies) :]):
        raise _mistake(path, line, f"has {len(cells)} values, and there are {len(currencies)} currencies")
    for currency, cell in zip(currencies, (cell.strip() for cell in cells), strict=False):
        if cell in _NONE:
            continue
        if not _NUMBER.fullmatch(cell) or not (rate := Decimal(cell)):
            raise _mistake(path, line, f"{cell!r} is no rate of {currency}")
        yield Quote(currency, moment, rate)


def _day(path: Path, line: int, text: str) -> date:
    for form in ("%Y-%m-%d", "%d %B %Y"):
        try:
            return datetime.strptime(text, form).date()
        except ValueError:
            continue
    raise _mistake(path, line, f"{text!r} is no day, such as 2026-11-20")


def _text(path: Path) -> str:
    try:
        if not zipfile.is_zipfile(path):
            with path.open("rb") as file:
                return _decoded(path, file.read(LARGEST + 1))
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".csv")]
            if len(names) != 1:
                raise BillingError(f"{path} holds {len(names)} CSV files.", "Give the ECB's zip, which holds one.")
            with archive.open(names[0]) as member:
                return _decoded(path, member.read(LARGEST + 1))
    # zipfile raises the last two for a compression that it doesn't know, and for what needs a password.
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BillingError(f"{path} can't be read: {reason}.", "Give a CSV or zip of the ECB's.") from error


def _decoded(path: Path, content: bytes) -> str:
    if len(content) > LARGEST:
        raise BillingError(f"{path} holds more than {LARGEST // 2**20} MiB.", "That is no file of exchange rates.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BillingError(f"{path} is not UTF-8 text.", "Give a CSV or zip of the ECB's.") from error


def _mistake(path: Path, line: int, reason: str) -> BillingError:
    return BillingError(f"{path.name}, line {line}: {reason}.", "Mend the file and load it again; nothing was loaded.")

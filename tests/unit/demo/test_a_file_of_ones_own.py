"""The demo's own pass over a file: what counts, counts once, and what can't be counted does not."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from metering.demo.file_source import FileSource, usage_of
from metering.errors import BillingError

CATALOG = """\
meters:
  - {meter: tokens, name: T, event: call, aggregation: sum, value_property: tokens, unit: token, dimensions: [model]}
  - {meter: calls, name: C, event: call, aggregation: count, unit: call}
plans:
  - plan: p
    name: P
    prices:
      - {price: p/tokens, name: T, meter: tokens, currency: USD, versions: [
          {effective_from: 2023-01-01T00:00:00Z, model: per_unit, charge_unit: token, tiers: [{unit_amount: 0.01}]}]}
      - {price: p/calls, name: C, meter: calls, currency: USD, versions: [
          {effective_from: 2023-01-01T00:00:00Z, model: per_unit, charge_unit: call, tiers: [{unit_amount: 1}]}]}
teams:
  - {team: a, name: A, time_zone: UTC, subscription: {plan: p, currency: USD, starts: 2023-11-01, ends: 2023-12-01}}
"""
MAP = """\
time: {column: at, zone: UTC}
key: [at, n]
team: {column: who}
event: {value: call}
properties:
  tokens: {column: n, type: number}
  model: {value: m1}
catalog: catalog.yaml
"""
ROWS = """\
at,n,who
2023-11-16 18:15:46.6805900,10,a
2023-11-16 18:15:46.6805900,10,a
2023-11-16 18:15:47.0000000,2.5,a
2023-11-16 18:15:48.0000000,many,a
2023-11-16 18:15:49.0000000,-1,a
2023-11-16 18:15:50.0000000,4,nobody
not a time,4,a
2023-11-16 18:15:51.0000000,4
2023-12-01 00:00:00.0000000,1000,a
"""


@pytest.fixture
def source(tmp_path: Path) -> FileSource:
    (tmp_path / "catalog.yaml").write_text(CATALOG)
    (tmp_path / "map.yaml").write_text(MAP)
    (tmp_path / "usage.csv").write_text(ROWS)
    return FileSource(tmp_path / "usage.csv", tmp_path / "map.yaml")


def test_each_key_counts_once_and_wrong_rows_not_at_all(source: FileSource) -> None:
    (bill,) = source.expected(datetime(2026, 1, 1, tzinfo=UTC))
    # 12.5 tokens and 2 calls; what occurred after the end is on no bill.
    assert (bill.team, bill.period, bill.total) == ("a", "2023-11", Decimal("0.13") + Decimal("2.00"))


def test_a_gzip_of_the_same_file_is_the_same_usage(source: FileSource, tmp_path: Path) -> None:
    (tmp_path / "usage.csv.gz").write_bytes(gzip.compress(ROWS.encode()))
    catalog = source.catalog.model_dump()
    packed = list(usage_of(tmp_path / "usage.csv.gz", source._content, catalog))
    assert packed == list(usage_of(tmp_path / "usage.csv", source._content, catalog))
    assert packed[0].dimensions == {"model": "m1"}


def test_what_the_import_reads_the_pass_reads_too(source: FileSource, tmp_path: Path) -> None:
    """A mark of UTF-8, blanks in the header, a quote that is never closed, a text over two lines, broken bytes."""
    catalog = source.catalog.model_dump()
    plain = list(usage_of(tmp_path / "usage.csv", source._content, catalog))
    header, *rows = ROWS.splitlines()
    odd = [
        "\ufeff" + header.replace(",", " , "),
        '2023-11-16 18:15:40.0000000,"5,a',
        *rows[:4],
        '2023-11-16 18:15:41.0000000,7,"nobody',
        ' at all"',
        *rows[4:],
    ]
    (tmp_path / "odd.csv").write_bytes("\r\n".join(odd).encode() + b"\r\n2023-11-16 18:15:42.0000000,1,\xff\r\n")
    assert list(usage_of(tmp_path / "odd.csv", source._content, catalog)) == plain


def test_a_map_without_a_catalog_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text(MAP.replace("catalog: catalog.yaml\n", ""))
    (tmp_path / "usage.csv").write_text(ROWS)
    with pytest.raises(BillingError, match="names no catalog"):
        FileSource(tmp_path / "usage.csv", tmp_path / "map.yaml")

"""Parquet, access logs and packed files; which files are meant; pieces are the same rows however they are cut."""

from __future__ import annotations

import csv
import gzip
import io
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.errors import BillingError
from metering.files import mapping as mapping_module
from metering.files import paths
from metering.files.access_log import number_repeats
from metering.files.content import Content
from metering.files.mapping import Mapping
from metering.files.pieces import Piece, cut
from metering.files.reader import UsageFile
from metering.files.records import CsvRows
from metering.ingestion.events import Event, Malformed

LOG_MAP = Mapping.load(Path(mapping_module.__file__).parent / "maps" / "access_log.yaml")
COMMON = '192.0.2.1 - frank [10/Oct/2026:13:55:36 -0700] "GET /apache.gif?a=1 HTTP/1.0" 200 2326'
COMBINED = f'{COMMON} "http://example.com/start.html" "Mozilla/4.08 \\"x\\" [en]"'


def write(tmp_path: Path, content: bytes, name: str = "usage") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def events(path: Path, mapping: Mapping | None = None, piece: int = 1000) -> list[Event | Malformed]:
    file = UsageFile(path, mapping)
    return [event for found in file.pieces(piece) for event in file.decoder.decode(found).events]


def test_lines_of_both_log_formats_become_requests_of_their_users(tmp_path: Path) -> None:
    path = write(tmp_path, f"{COMMON}\n{COMBINED}\n".encode())
    common, combined = events(path, LOG_MAP)
    assert isinstance(common, Event) and isinstance(combined, Event)
    assert (common.team, common.event, common.time) == ("frank", "http_request", "2026-10-10T13:55:36-07:00")
    assert common.properties == {"method": "GET", "path": "/apache.gif", "status": "200", "bytes": Decimal(2326)}
    assert common.idempotency_key != combined.idempotency_key
    file = UsageFile(path, LOG_MAP)
    _, record = (record for found in file.pieces() for record in file.decoder.records(found))
    assert isinstance(record.values, dict)
    assert record.values["referer"] == "http://example.com/start.html"
    assert record.values["user_agent"] == 'Mozilla/4.08 \\"x\\" [en]'
    assert (record.values["query"], record.values["protocol"]) == ("a=1", "HTTP/1.0")


def test_what_a_log_leaves_out_is_left_out_and_broken_lines_are_told(tmp_path: Path) -> None:
    lines = [
        '2001:db8::1 - - [01/Jan/2026:00:00:00 +0545] "-" 408 - "-" "-"',
        '192.0.2.1 - a b [01/Jan/2026:00:00:00 +0000] "\\x16\\x03" 400 0 "-" "-"',
        "nonsense",
        '192.0.2.1 - - [01/Foo/2026:00:00:00 +0000] "GET / HTTP/1.1" 200 1',
        '192.0.2.1 - - [01/Jan/2026:00:00:00 +0000] "GET / HTTP/1.1" 200 1 "\\xff',
    ]
    path = write(tmp_path, "\n".join(lines).encode() + b"\n\xff\n")
    file = UsageFile(path, LOG_MAP)
    records = [record for piece in file.pieces() for record in file.decoder.records(piece)]
    first, second, *broken = (record.values for record in records)
    assert isinstance(first, dict) and isinstance(second, dict)
    assert (first["user"], first["method"], first["bytes"], first["time"]) == (
        None, None, "0", "2026-01-01T00:00:00+05:45",
    )  # fmt: skip
    assert (second["user"], second["request"], second["path"]) == ("a b", "\\x16\\x03", None)
    assert [(record.line, broken.reason) for record, broken in zip(records[2:], broken, strict=True)] == [
        (3, "invalid_row"), (4, "invalid_row"), (5, "invalid_row"), (6, "invalid_encoding"),
    ]  # fmt: skip


def test_equal_lines_of_a_log_are_different_requests_and_the_same_ones_when_it_is_read_again(tmp_path: Path) -> None:
    lines = [COMMON, COMBINED, COMMON, "", COMMON, COMBINED]
    path = write(tmp_path, "\n".join(lines).encode())
    keys = [event.idempotency_key for event in events(path, LOG_MAP) if isinstance(event, Event)]
    assert len(set(keys)) == 5
    for piece in (1, 2, 3):
        assert [e.idempotency_key for e in events(path, LOG_MAP, piece) if isinstance(e, Event)] == keys
    file = UsageFile(path, LOG_MAP)
    first, *rest = file.pieces(2)
    after = UsageFile(path, LOG_MAP).pieces(2, after=first.position, lines=2)
    assert [piece.repeats for piece in after] == [piece.repeats for piece in rest]
    packed = write(tmp_path, gzip.compress("\n".join(lines).encode()), "access.log.1.gz")
    assert [event.idempotency_key for event in events(packed, LOG_MAP) if isinstance(event, Event)] == keys


def test_repeats_are_forgotten_so_that_memory_stays_flat(monkeypatch: pytest.MonkeyPatch) -> None:
    from metering.files import access_log

    monkeypatch.setattr(access_log, "REMEMBERED", 10)
    content = b"\n".join([b"same", *(b"%d" % n for n in range(15)), b"same", *(b"%d" % n for n in range(30)), b"same"])
    (piece,) = number_repeats([Piece(1, content, len(content), 48, {})])
    assert piece.repeats.get(16) == 2 and 47 not in piece.repeats


def test_an_access_log_needs_a_map(tmp_path: Path) -> None:
    with pytest.raises(BillingError, match="says neither whose a request is"):
        UsageFile(write(tmp_path, COMMON.encode()))


def parquet(tmp_path: Path, **columns: Any) -> Path:
    path = tmp_path / "usage.parquet"
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path


def test_parquet_is_read_exactly(tmp_path: Path) -> None:
    moment = datetime(2026, 10, 1, 0, 0, 0, 1, UTC)
    path = parquet(
        tmp_path,
        team=pa.array(["acme", "acme", None]).dictionary_encode(),
        event=["call"] * 3,
        quantity=pa.array([Decimal("12345678901234567890.000001"), Decimal("0.5"), None], pa.decimal128(38, 12)),
        time=pa.array([moment, moment, None], pa.timestamp("us", "Asia/Kathmandu")),
        idempotency_key=pa.array(["a", None, "c"]),
        **{"properties.n": pa.array([2**63 - 1, None, 3]), "properties.ok": [True, False, None]},
    )
    first, second, third = events(path)
    assert isinstance(first, Event) and isinstance(second, Event) and isinstance(third, Malformed)
    assert first.quantity == Decimal("12345678901234567890.000001")
    assert (first.time, first.idempotency_key) == ("2026-10-01T00:00:00.000001Z", "a")
    assert first.properties == {"n": 2**63 - 1, "ok": True}
    assert (second.quantity, second.idempotency_key, second.properties) == (Decimal("0.5"), None, {"ok": False})
    assert third.reason == "invalid_quantity"
    file = UsageFile(path)
    for after in range(4):
        left = [r for p in UsageFile(path).pieces(2, after=after) for r in file.decoder.records(p)]
        assert [record.line for record in left] == list(range(after + 1, 4))
    batch = file.decoder.decode(list(file.pieces(2))[1])
    assert len(batch.events) == 1 and batch.line(0) == 3 and '"idempotency_key":"c"' in batch.payload(0)


def test_times_without_a_zone_take_that_of_the_map(tmp_path: Path) -> None:
    path = parquet(tmp_path, at=pa.array([datetime(2026, 10, 1)], pa.timestamp("ns")), id=[7])
    mapping = Mapping.model_validate(
        {
            "time": {"column": "at", "zone": "Asia/Kathmandu"},
            "team": {"value": "a"},
            "event": {"value": "b"},
            "key": "id",
        }
    )
    (event,) = events(path, mapping)
    assert isinstance(event, Event) and (event.time, event.idempotency_key) == ("2026-09-30T18:15:00+00:00", "7")


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"team": ["a"], "event": ["b"], "time": ["c"], "quantity": [1.5]}, "'quantity' .* is of floating point"),
        ({"team": ["a"], "event": ["b"], "quantity": [1]}, "neither a column time nor a column idempotency_key"),
    ],
)
def test_a_parquet_file_that_is_not_exact_or_not_usage_is_one_sentence(
    tmp_path: Path, columns: dict[str, Any], said: str
) -> None:
    with pytest.raises(BillingError, match=said):
        UsageFile(parquet(tmp_path, **columns))


def test_a_damaged_parquet_file_is_one_sentence(tmp_path: Path) -> None:
    good = parquet(tmp_path, team=["a"], event=["b"], time=["c"]).read_bytes()
    with pytest.raises(BillingError, match=r"Parquet file .* can't be read"):
        UsageFile(write(tmp_path, good[:-20]))
    with pytest.raises(BillingError, match="packed Parquet"):
        UsageFile(write(tmp_path, gzip.compress(good)))


def test_zstd_and_gzip_of_several_members_are_read_as_what_they_hold(tmp_path: Path) -> None:
    header, rows = b"team,event,time\n", [b"acme,call,2026-10-01T00:00:%02dZ\n" % n for n in range(60)]
    parts = [header + b"".join(rows[:20]), b"".join(rows[20:])]
    plain = events(write(tmp_path, b"".join(parts), "plain.csv"))
    assert len(plain) == 60
    zstd = b"".join(pa.compress(part, "zstd", asbytes=True) for part in parts)
    assert events(write(tmp_path, zstd, "a.csv.zst")) == plain
    assert events(write(tmp_path, b"".join(gzip.compress(part) for part in parts) + b"\0" * 100, "a.csv.gz")) == plain
    with pytest.raises(BillingError, match=r"zstd file .* damaged or ends too early"):
        events(write(tmp_path, zstd[:-3], "b.csv.zst"))


def test_directories_and_patterns_mean_the_usage_files_in_them(tmp_path: Path) -> None:
    for name in ("b/usage.csv", "a.jsonl.gz", "access.log.1", "c/d.parquet", "notes.txt", ".hidden.csv", "b/.x/e.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        write(tmp_path, b"", name)
    found = paths.find([tmp_path, tmp_path / "a.jsonl.gz", tmp_path / "*.txt"])
    names = [str(path.relative_to(tmp_path)) for path in found]
    assert names == ["a.jsonl.gz", "access.log.1", "b/usage.csv", "c/d.parquet", "notes.txt"]
    (tmp_path / "empty").mkdir()
    for nothing, said in ((tmp_path / "empty", "holds no usage files"), (tmp_path / "*.orc", "matches no file")):
        with pytest.raises(BillingError, match=said):
            paths.find([nothing])


CELL = st.text(alphabet='ab,"\n\r é', max_size=4)


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(st.tuples(CELL, CELL), max_size=12), broken=st.sampled_from([b"", b'x,"y\n', b'"\n', b"1,2,3\n"]),
       at=st.integers(0, 12), piece=st.integers(1, 5))  # fmt: skip
def test_rows_are_the_same_whole_and_in_pieces(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], broken: bytes, at: int, piece: int
) -> None:
    """And, where nothing is broken, those that were written."""
    texts = []
    for row in rows:
        sink = io.StringIO()
        csv.writer(sink, lineterminator="\n").writerow(row)
        texts.append(sink.getvalue().encode())
    content = b"".join([*texts[:at], broken, *texts[at:]])
    path = tmp_path_factory.mktemp("pieces") / "usage.csv"
    path.write_bytes(content)
    reader = CsvRows(["a", "b"], ",")

    def read(size: int) -> list[tuple[int, object]]:
        made = cut(Content(path), piece=size, whole=reader.whole)
        return [(r.line, r.values) for p in made for r in reader.records(p.content, p.first)]

    whole = read(10_000)
    assert read(piece) == whole
    quick = reader.quick(content)
    columns = reader.columns(content)
    assert (columns is None) == (quick is None)
    if quick is not None and columns is not None:
        assert [*zip(*columns, strict=True)] == [tuple(row) for row in quick if row]
        assert [dict(zip("ab", row, strict=True)) for row in quick if row] == [values for _, values in whole]
    if not broken and not any("\r" in cell for row in rows for cell in row):
        assert [tuple(values.values()) for _, values in whole] == rows  # type: ignore[attr-defined]

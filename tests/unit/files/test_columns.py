"""The quick way from rows to events: what passes there is what the careful way makes of the same row."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.files.mapping import Mapping
from metering.files.reader import UsageFile
from metering.ingestion.catalog import Catalog, Listeners, Meter, Named
from metering.ingestion.events import Sorted
from metering.ingestion.facts import Facts
from metering.ingestion.validation import Judge

HEADER = ["team", "event", "meter", "quantity", "unit", "key", "time", "subject", "n", "flag", "text"]
LISTENERS = {
    "call": Listeners(frozenset({"call"}), (), False, ()),
    "heavy": Listeners(frozenset({"call"}), (), True, (), most=Decimal(1)),
    "size": Listeners(frozenset({"GB"}), (), True, (Meter("n", True, False, {}),)),
}
METERS = {
    "calls": Named("call", "call", Meter(None, True, False, {})),
    "ones": Named("call", "call", Meter(None, True, False, {"n": ["1"]})),
}
TEAMS = {"acme": 1, "t-acme": 2, **{f"h-{number}": 3 + number for number in range(4)}}
ANY = st.text(alphabet='a,"\\\0\n é\t1', max_size=3)
CELLS = st.fixed_dictionaries(
    {
        "team": st.sampled_from(["acme", "acme", "acme", "", "nobody"]) | ANY,
        "event": st.sampled_from(["call", "call", "size", "heavy", ""]) | ANY,
        "meter": st.sampled_from(["calls", "ones", "", "size"]),
        "quantity": st.sampled_from(["1", "1.50", " 2 ", "+3", "-1", "1e3", "", "NaN", "1_0", "٣", "1.0000000000001"]),
        "unit": st.sampled_from(["call", "", "GB"]) | ANY,
        "key": st.sampled_from(["a", "b", "", "k" * 256]) | ANY,
        "time": st.sampled_from(
            [
                "2026-10-01T00:00:00Z", "2026-10-01 00:00:00", "2026-10-01 00:00:00.1234567", "2026-10-01T00:00:00.5Z",
                "2026-10-01 00:00:00Z", "2026-10-01T00:00:00+05:45", "2026-10-01T00:00:00-0700", "2026-10-01 00:00",
                "1790812800", "1790812800123", "2026-02-30 00:00:00", "2026-10-01 00:00:00.123456x9",
                "2026-10-01T00:00:00z",
                "2099-01-01T00:00:00Z", "2026-10-01X00:00:00Z", " 2026-10-01 00:00:00 ",
                "2026-10-01 00:00:00.123456٣", "",
            ]
        ),
        "subject": ANY,
        "n": st.sampled_from(["1", "1.0", "", "-2", "x", "1" * 40]),
        "flag": st.sampled_from(["true", "FALSE", "", "maybe"]),
        "text": ANY,
    }
)  # fmt: skip
MAPS: list[dict[str, Any]] = [
    {"team": "team", "key": "key", "quantity": "quantity", "unit": "unit", "subject": "subject"},
    {"team": {"column": "team", "prefix": "t-"}, "key": ["key", "text"], "key_prefix": "p-"},
    {"team": {"hash_of": ["team", "text"], "into": 4, "prefix": "h-"}, "key": {"hash_of": ["key", "n"]}},
    {"team": {"value": "acme"}, "quantity": {"value": 2}, "unit": {"value": "call"}, "key": "key", "key_prefix": "p-"},
    {"team": {"value": "acme"}, "key": {"value": "always"}, "event": {"value": "call"}},
    {"team": {"value": "acme"}, "key": "key", "meter": "meter"},
    {"team": {"value": "acme"}, "key": "key", "meter": "meter", "event": None},
    {"team": {"value": "acme"}, "key": "key", "meter": {"value": "calls"}, "event": None},
]
PROPERTIES = [
    {},
    {"n": {"column": "n", "type": "number"}, "flag": {"column": "flag", "type": "boolean"}},
    {"n": "n", "text": {"column": "text", "type": "text"}, "always": {"value": True}},
]


def told(result: Sorted) -> tuple[list[Any], list[Any]]:
    """Everything about facts and rejects but whose way they came."""
    facts = [
        (f.index, f.team_id, f.key, f.key_derived, f.key_digest, f.content_digest, f.moment, f.row)
        for f in result.facts
    ]
    rejects = [(r.index, r.team_id, r.reason, r.field, r.message, r.origin.line(r.index)) for r in result.rejects]
    return facts, rejects


def both_ways(path: Path, mapping: Mapping) -> None:
    file = UsageFile(path, mapping)
    for piece in file.pieces():
        batch = file.decoder.decode(piece)
        judge = Judge(Catalog(TEAMS, LISTENERS, METERS))
        quick, careful = judge.sort_body(batch), judge.sort(batch.events, batch)
        facts, rejects = told(careful)
        # Without a time, an event's moment is that of its judge, which is one here.
        assert told(quick) == (facts, rejects)


@settings(max_examples=120, deadline=None)
@given(
    rows=st.lists(CELLS, min_size=1, max_size=25),
    fields=st.sampled_from(MAPS),
    properties=st.sampled_from(PROPERTIES),
    time=st.sampled_from(
        [{"column": "time", "zone": "UTC"}, {"column": "time"}, {"column": "time", "zone": "Asia/Tokyo"}]
    ),
    kind=st.sampled_from(["csv", "jsonl", "parquet"]),
)
def test_what_passes_the_quick_way_is_what_the_careful_one_makes(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[dict[str, str]],
    fields: dict[str, Any],
    properties: dict[str, Any],
    time: dict[str, str],
    kind: str,
) -> None:
    path = tmp_path_factory.mktemp("columns") / "usage"
    if kind == "csv":
        sink = io.StringIO()
        csv.writer(sink, lineterminator="\n").writerows([HEADER, *([row[name] for name in HEADER] for row in rows)])
        path.write_text(sink.getvalue(), encoding="utf-8", newline="")
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        pq.write_table(pa.table({name: [row[name] for row in rows] for name in HEADER}), path)
    both_ways(path, Mapping.model_validate({"event": "event", "time": time, "properties": properties, **fields}))


def test_values_that_are_equal_and_not_alike_are_told_apart(tmp_path: Path) -> None:
    """1, 1.0 and true are equal in Python."""
    path = tmp_path / "usage.jsonl"
    values = ["1", "1.0", "true", '"1"', "null", '"true"', "[1]", "1e0"]
    path.write_text("".join(f'{{"v": {value}, "key": "k{place}"}}\n' for place, value in enumerate(values)))
    for kind in (None, "text", "number", "boolean"):
        fields = {"team": {"value": "acme"}, "event": {"value": "call"}, "key": "key"}
        both_ways(path, Mapping.model_validate({**fields, "properties": {"v": {"column": "v", "type": kind}}}))
        both_ways(path, Mapping.model_validate({**fields, "quantity": "v", "key": ["v", "key"]}))


def test_typed_columns_of_parquet_come_the_same_both_ways(tmp_path: Path) -> None:
    path = tmp_path / "usage.parquet"
    columns = {
        "key": pa.array([1, 2, None, 2**62]),
        "quantity": pa.array([Decimal("1.50"), Decimal(0), None, Decimal("-3")], pa.decimal128(38, 12)),
        "flag": pa.array([True, False, None, True]),
        "at": pa.array([10**15, 10**15 + 1, 0, None], pa.timestamp("us", "UTC")),
    }
    pq.write_table(pa.table(columns), path)
    fields = {"team": {"value": "acme"}, "event": {"value": "call"}, "key": "key", "quantity": "quantity", "time": "at"}
    both_ways(path, Mapping.model_validate({**fields, "properties": {"flag": "flag", "key": "key"}}))


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_usual_files_go_in_arrays_and_keep_their_order(tmp_path: Path, kind: str) -> None:
    """What is in doubt among them is judged by itself, and stands where it stood."""
    rows = [
        {"team": "acme", "event": "call", "quantity": f"{n}.5", "key": f"k{n}", "time": f"2026-10-01T00:00:{n:02d}Z"}
        for n in range(60)
    ]
    rows[7]["quantity"] = "+7"
    rows[9]["team"] = "nobody"
    rows[11]["time"] = "2026-10-01T05:45:00+05:45"
    path = tmp_path / "usage"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        between = "\t" if kind == "tsv" else ","
        path.write_text("".join(between.join(row) + "\n" for row in ([*rows[0]], *(row.values() for row in rows))))
    mapping = Mapping.model_validate(
        {
            **{"team": "team", "event": "event", "quantity": "quantity", "key": "key", "time": "time"},
            **({"delimiter": "\t"} if kind == "tsv" else {}),
        }
    )
    both_ways(path, mapping)
    file = UsageFile(path, mapping)
    (piece,) = file.pieces()
    batch = file.decoder.decode(piece)
    assert batch.vectors is not None and len(batch.vectors) == 60
    result = Judge(Catalog(TEAMS, LISTENERS, METERS)).sort_body(batch)
    assert [fact.index for fact in result.facts] == [n for n in range(60) if n != 9]
    assert not isinstance(result.facts.rows, list)


def test_times_of_arrow_are_read_as_their_texts_are(tmp_path: Path) -> None:
    fields = {"team": {"value": "acme"}, "event": {"value": "call"}, "key": "key"}
    moments = [1790812800, 1790812801, None, 10**9, -(10**9), 2**33]
    for unit, scale in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)):
        for zone in ("UTC", "Asia/Tokyo", None):
            values = [at if at is None else at * scale + (scale > 1) * 123 for at in moments]
            path = tmp_path / f"{unit}-{zone}.parquet".replace("/", "-")
            columns = {"key": [f"k{n}" for n in range(len(values))], "at": pa.array(values, pa.timestamp(unit, zone))}
            pq.write_table(pa.table(columns), path)
            for time in ({"column": "at"}, {"column": "at", "zone": "UTC"}, {"column": "at", "zone": "Asia/Tokyo"}):
                both_ways(path, Mapping.model_validate({**fields, "time": time}))


def test_whole_numbers_of_decimal_columns_take_the_quick_way(tmp_path: Path) -> None:
    path = tmp_path / "usage.parquet"
    quantities = pa.array([Decimal(1000), Decimal("10.50"), Decimal(0)], pa.decimal128(38, 12))
    pq.write_table(pa.table({"key": ["a", "b", "c"], "quantity": quantities}), path)
    fields = {"team": {"value": "acme"}, "event": {"value": "call"}, "key": "key", "quantity": "quantity"}
    mapping = Mapping.model_validate(fields)
    both_ways(path, mapping)
    file = UsageFile(path, mapping)
    (piece,) = file.pieces()
    judge = Judge(Catalog(TEAMS, LISTENERS, METERS))
    vectors = file.decoder.decode(piece).vectors
    assert vectors is not None
    careful: list[int] = []
    vectors.sort(judge, careful.append, Facts(file.decoder.decode(piece)))
    assert careful == []


LOG_LINES = st.sampled_from(
    [
        '192.0.2.1 - acme [01/Oct/2026:00:00:00 +0000] "GET /a HTTP/1.1" 200 1',
        '192.0.2.1 - acme [01/Oct/2026:05:45:00 +0545] "GET /a?b=1,2 HTTP/2" 200 1 "-" "Mozilla/5.0 (X, like Y)"',
        '192.0.2.1 - acme [30/Sep/2026:22:00:00 -0230] "get /a? HTTP/1.1" 404 - "http://x/" ""',
        '- - - [01/Oct/2026:00:00:00 +0000] "GET /a HTTP/1.1" 200 1',
        'host id a b [01/Oct/2026:00:00:00 +0000] "GET /a HTTP/1.1" 200 0',
        '192.0.2.1 - acme [01/Xyz/2026:00:00:00 +0000] "GET /a HTTP/1.1" 200 1',
        '192.0.2.1 - acme [31/Sep/2026:00:00:00 +0000] "GET /a HTTP/1.1" 200 1',
        '192.0.2.1 - acme [01/Oct/2026:00:00:00 +9900] "GET /a HTTP/1.1" 200 1',
        '192.0.2.1 - acme [01/Oct/2026:00:00:00 +0000] "-" - 0 "-" "-"',
        r'192.0.2.1 - acme [01/Oct/2026:00:00:00 +0000] "GET /\x22 HTTP/1.1" 200 1 "a\"b" "c"',
        '192.0.2.1 - acme [01/Oct/2026:00:00:00 +0000] "\\x16\\x03" 400 1',
        '192.0.2.1 -\tacme [01/Oct/2026:00:00:00 +0000] "GET /a HTTP/1.1" 200 1',
        '192.0.2.1 - acme [01/Oct/2026:00:00:00 +0000] "GET /ü HTTP/1.1" 200 1',
        "no line of a log",
        "",
        "  ",
    ]
)


@settings(max_examples=80, deadline=None)
@given(lines=st.lists(LOG_LINES, min_size=1, max_size=12), user=st.sampled_from(["user", "host"]))
def test_lines_of_a_log_are_taken_apart_as_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], user: str
) -> None:
    path = tmp_path_factory.mktemp("log") / "access.log"
    usual = '192.0.2.9 - acme [01/Oct/2026:00:00:00 +0000] "GET /z HTTP/1.1" 200 7'
    path.write_text("".join(line + "\n" for line in [usual, *lines]))
    columns = ("host", "user", "time", "request", "status", "bytes", "referer", "user_agent", "occurrence")
    number = {"column": "bytes", "type": "number"}
    fields = {"team": "user", "event": {"value": "call"}, "subject": user, "time": "time", "key": {"hash_of": columns}}
    properties = {"n": number, "path": "path", "query": "query", "protocol": "protocol", "agent": "user_agent"}
    both_ways(path, Mapping.model_validate({**fields, "properties": properties}))
    both_ways(path, Mapping.model_validate({**fields, "key": columns}))


@settings(max_examples=80, deadline=None)
@given(
    events=st.lists(
        st.fixed_dictionaries(
            {"team": st.sampled_from(["acme", "acme", "nobody"]), "event": st.sampled_from(["call", "call", "size"])},
            optional={
                "quantity": st.sampled_from(["1", "1.50", "-1", "1e3", "2", "x"]),
                "unit": st.sampled_from(["call", "GB"]),
                "meter": st.sampled_from(["calls", "ones"]),
                "idempotency_key": st.sampled_from(["a", "b", "", "k" * 256, "\n", "\0", "ü"]) | ANY,
                "time": st.sampled_from(
                    [
                        "2026-10-01T00:00:00Z",
                        "2026-10-01T00:00:00.5Z",
                        "2026-10-01 00:00:00Z",
                        "2026-10-01T00:00:00+05:45",
                    ]
                ),
                "subject": ANY,
                "properties": st.dictionaries(st.sampled_from(["n", "a"]), st.sampled_from([1, "1", True, None, "\0"])),
                "observed_at": st.just("2026-10-01T00:00:00Z"),
            },
        ),
        min_size=1,
        max_size=12,
    ),
    alike=st.booleans(),
)
def test_events_of_json_lines_in_arrays_are_what_each_is_by_itself(
    tmp_path_factory: pytest.TempPathFactory, events: list[dict[str, Any]], alike: bool
) -> None:
    usual = {"quantity": "1", "time": "2026-10-01T00:00:00Z", "idempotency_key": "usual"}
    if alike:  # no column has gaps, so that all of them go in arrays
        events = [{**usual, **event} for event in events]
        for event in events:
            event.pop("observed_at", None)
    path = tmp_path_factory.mktemp("lines") / "usage.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    file = UsageFile(path)
    for piece in file.pieces():
        batch = file.decoder.decode(piece)
        judge = Judge(Catalog(TEAMS, LISTENERS, METERS))
        assert told(judge.sort_body(batch)) == told(judge.sort(batch.events, batch))
        assert not alike or batch.vectors is not None

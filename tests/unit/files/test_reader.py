"""Reading of files: what is broken in a row stays in that row; what is broken in a file is one sentence."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from metering.errors import BillingError
from metering.files.mapping import Mapping
from metering.files.reader import UsageFile
from metering.ingestion.events import Malformed

MAPPING = Mapping.model_validate({"team": {"value": "acme"}, "event": {"value": "call"}, "key": {"value": "a"}})


def rows(tmp_path: Path, content: bytes) -> list[tuple[int, object]]:
    """The records of a file, which are the same however small the pieces are into which it is cut."""
    path = tmp_path / "usage.csv"
    path.write_bytes(content)
    whole = _rows(path)
    assert [_rows(path, 1), _rows(path, 2)] == [whole, whole]
    return whole


def _rows(path: Path, piece: int = 1000) -> list[tuple[int, object]]:
    file = UsageFile(path, MAPPING)
    records = [record for found in file.pieces(piece) for record in file.decoder.records(found)]
    return [(r.line, r.values.reason if isinstance(r.values, Malformed) else r.values) for r in records]


def test_rows_come_with_the_line_on_which_they_begin(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbfa,b\r\n1,2\r\n\r\n"x\r\ny",3\r\n4,5'
    assert rows(tmp_path, content) == [
        (2, {"a": "1", "b": "2"}),
        (4, {"a": "x\ny", "b": "3"}),
        (6, {"a": "4", "b": "5"}),
    ]


def test_short_long_and_undecodable_rows_are_told_apart(tmp_path: Path) -> None:
    assert rows(tmp_path, b"a,b\n1\n1,2,3\n\xff,2\n3,4\n") == [
        (2, "invalid_row"),
        (3, "invalid_row"),
        (4, "invalid_encoding"),
        (5, {"a": "3", "b": "4"}),
    ]


def test_a_quote_that_is_never_closed_swallows_no_other_row(tmp_path: Path) -> None:
    assert rows(tmp_path, b'a,b\n1,2\n3,"4\n5,6\n7,8\n') == [
        (2, {"a": "1", "b": "2"}),
        (3, "invalid_row"),
        (4, {"a": "5", "b": "6"}),
        (5, {"a": "7", "b": "8"}),
    ]
    assert rows(tmp_path, b'a,b\n1,"2\n3,4\n5,"6"\n7,8\n') == [
        (2, "invalid_row"),
        (3, {"a": "3", "b": "4"}),
        (4, {"a": "5", "b": "6"}),
        (5, {"a": "7", "b": "8"}),
    ]


def test_lines_of_json_are_objects_of_plain_values(tmp_path: Path) -> None:
    assert rows(tmp_path, b'{"a": 1}\n\n{"a": [1]}\nnonsense\n7\n{"a": "\xff"}\n{"a": null}\n') == [
        (1, {"a": 1}),
        (3, "invalid_json"),
        (4, "invalid_json"),
        (5, "invalid_json"),
        (6, "invalid_encoding"),
        (7, {"a": None}),
    ]


def test_gzip_is_read_as_what_it_holds(tmp_path: Path) -> None:
    assert rows(tmp_path, gzip.compress(b"a\n1\n")) == [(2, {"a": "1"})]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"[1]", "one JSON list"),
        (b"a,a\n1,2\n", "two columns 'a'"),
        ("a\n1\n".encode("utf-16"), "UTF-16"),
        (b"\xff\n1\n", "header"),
        (b"a,b\r1,2\r", "header .* can't be read: new-line character seen"),
        (gzip.compress(b"a\n" + bytes(range(65, 91)) * 500, mtime=0)[:-20], "damaged or ends too early"),
        (b"\x1f\x8bnonsense", "damaged or ends too early"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(BillingError, match=said):
        rows(tmp_path, content)


def test_a_missing_file_and_a_directory_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BillingError, match="does not exist"):
        UsageFile(tmp_path / "none.csv")
    with pytest.raises(BillingError, match="is a directory"):
        UsageFile(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BillingError, match="a pipe or a device"):  # and it is not waited for what comes out of it
        UsageFile(tmp_path / "pipe")

"""Named SQL: each statement has a name and says what it is for."""

from __future__ import annotations

from pathlib import Path

import pytest

from metering import statements
from metering.settings import PROJECT_ROOT

NAMED = [
    path
    for path in sorted((PROJECT_ROOT / "include").rglob("*.sql"))
    if "migrations" not in path.parts and "-- name:" in path.read_text(encoding="utf-8")
]


def write(folder: Path, text: str) -> Path:
    path = folder / "some.sql"
    path.write_text(text, encoding="utf-8")
    return path


def test_statements_are_found_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, "-- name: one\n-- The first.\nSELECT 1;\n\n-- name: two\n-- The second.\nSELECT 2;\n")
    assert statements.load(path) == {"one": "-- The first.\nSELECT 1;", "two": "-- The second.\nSELECT 2;"}
    assert statements.beside(str(tmp_path / "module.py"), "some") is statements.load(path)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("SELECT 1;", "no '-- name:' header"),
        ("-- name: one\nSELECT 1;", "has no description"),
        ("-- name: one\n-- A.\nSELECT 1;\n-- name: one\n-- B.\nSELECT 2;", "twice"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        statements.load(write(tmp_path, text))


@pytest.mark.parametrize("path", NAMED, ids=lambda path: str(path.relative_to(PROJECT_ROOT)))
def test_every_file_of_statements_can_be_read(path: Path) -> None:
    assert statements.load(path)

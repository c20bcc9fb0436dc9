"""Which files are meant: files, directories of them, and patterns."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable
from pathlib import Path

from metering.errors import BillingError

USAGE_FILE = re.compile(r".+\.(csv|jsonl|ndjson|json|parquet|log)([.-]\d+)?(\.(gz|zst))?", re.IGNORECASE)
"""What a file is named that a directory is searched for; a file that is named itself may be called anything."""


def find(given: Iterable[Path]) -> list[Path]:
    """The files that paths, directories (with all beneath them) and patterns mean, each once.

    In the order given; those of a directory or pattern by name. Raises `BillingError` for what means no file.
    """
    found: dict[Path, None] = {}
    for path in given:
        if path.is_dir():
            inside = sorted(each for each in path.rglob("*") if _is_usage(each, path))
            problem, remedy = "holds no usage files", "Its files are taken if they end in csv, jsonl, parquet or log."
        elif path.exists() or not glob.has_magic(str(path)):
            inside, problem, remedy = [path], "", ""
        else:
            inside = sorted(Path(each) for each in glob.glob(str(path), recursive=True) if Path(each).is_file())
            problem, remedy = "matches no file", "Check the pattern."
        if not inside:
            raise BillingError(f"{path} {problem}.", remedy)
        found |= dict.fromkeys(inside)
    return list(found)


def _is_usage(path: Path, below: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(below).parts)
    return not hidden and USAGE_FILE.fullmatch(path.name) is not None and path.is_file()

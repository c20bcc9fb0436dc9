"""Catalogs to start from, one a product: each is a file with its meters, a plan or two, and an example team."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from metering.catalog import schema
from metering.errors import BillingError
from metering.settings import PROJECT_ROOT

PRESETS = Path(__file__).parent
NAMES = tuple(sorted(file.stem for file in PRESETS.glob("*.yaml")))


def write(name: str, folder: Path, *, overwrite: bool = False, now: datetime | None = None) -> Path:
    """Write a preset into a folder, which is made where it is missing, and return the path of the file.

    Its team starts with the current month. Outside the project the schema that the file names is written beside it.
    Raises `BillingError` where the file is there with something else in it and is not to be overwritten.
    """
    path = folder / f"{name}.yaml"
    if folder.resolve().is_relative_to(PROJECT_ROOT):
        known = Path(os.path.relpath(schema.FILE, folder.resolve()))
    else:
        known = Path(schema.FILE.name)
    text = (PRESETS / path.name).read_text(encoding="utf-8")
    text = text.replace("<schema>", str(known)).replace("<this-month>", f"{now or datetime.now(UTC):%Y-%m-01}")
    try:
        if path.exists() and path.read_text(encoding="utf-8") != text and not overwrite:
            raise BillingError(
                f"{path} is there already, and is not what would be written.",
                "Give another folder, or say --force to write over it; nothing was changed.",
            )
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        if known == Path(schema.FILE.name):
            shutil.copyfile(schema.FILE, folder / known)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise BillingError(f"{path} can't be written: {reason}.", "Give a folder that you may write to.") from error
    return path

"""The parts of `./billing bench rate`."""

from __future__ import annotations

from enum import StrEnum


class Part(StrEnum):
    """What can be measured by itself."""

    INCREMENTS = "increments"
    MONTHS = "months"
    BILLS = "bills"

"""What a request asks for in its query and path: read once, strictly, each mistake named."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from starlette.requests import Request

from metering.ingestion.operations import Parameter
from metering.reading.teams import Unusable

MAX_LENGTH = 1_000
_DECODED_PLUS = re.compile(r" (?=\d\d:?\d\d$)")

TEAM = Parameter("team", "Whose. Required where the API key works for any team; else its own, and no other.", "acme")
SUBSCRIPTION = Parameter("subscription", "Only this subscription of the team.", "main")


class Asked:
    """The parameters of one request. A parameter that the operation does not have is a mistake and not ignored."""

    def __init__(self, request: Request, parameters: Sequence[Parameter]) -> None:
        """Read those that the operation has; raises `Unusable`."""
        known = {parameter.name for parameter in parameters if parameter.where == "query"}
        self._values: dict[str, str] = {}
        for name, value in request.query_params.multi_items():
            if name not in known:
                raise Unusable("unknown_parameter", f"There is no parameter {name[:80]!r}; there are {_and(known)}.")
            if name in self._values:
                raise Unusable("wrong_parameter", f"The parameter {name!r} is given twice.")
            self._values[name] = value
        self._values |= {name: str(value) for name, value in request.path_params.items()}
        for name, value in self._values.items():
            if len(value) > MAX_LENGTH or "\0" in value or "\ufffd" in value:
                raise Unusable(
                    "wrong_parameter",
                    f"The parameter {name!r} is no UTF-8, holds a zero byte, or exceeds {MAX_LENGTH} characters.",
                )

    def text(self, name: str) -> str | None:
        """A text; None where it is left out or empty."""
        return self._values.get(name) or None

    def required(self, name: str) -> str:
        """A text that must be there."""
        value = self.text(name)
        if value is None:
            raise Unusable("missing_parameter", f"The parameter {name!r} is missing.")
        return value

    def moment(self, name: str) -> datetime | None:
        """A moment with a zone, of the years 1970 to 2199."""
        text = self.text(name)
        if text is None:
            return None
        try:
            # A plus that was not encoded arrives as a space.
            moment = datetime.fromisoformat(_DECODED_PLUS.sub("+", text))
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None or not 1970 < moment.year < 2200:
            message = (
                f"The parameter {name!r} is not RFC 3339 with a zone, such as 2026-10-25T02:30:00Z: {text[:80]!r}."
            )
            raise Unusable("wrong_parameter", message)
        return moment

    def whole(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number within bounds."""
        text = self.text(name)
        if text is None:
            return default
        if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise Unusable("wrong_parameter", f"The parameter {name!r} is not a whole number from {least} to {most}.")
        return int(text)

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """One of several words; the first where it is left out."""
        text = self.text(name) or choices[0]
        if text not in choices:
            raise Unusable("wrong_parameter", f"The parameter {name!r} is not one of {_and(choices)}.")
        return text


def _and(names: Sequence[str] | set[str]) -> str:
    return ", ".join(sorted(names)) or "none"

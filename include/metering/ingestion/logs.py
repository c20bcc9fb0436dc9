"""Structured logs: one JSON object a line, on standard output. They hold counts and reasons, no keys or properties."""

from __future__ import annotations

import logging
import sys
import time
from datetime import UTC, datetime
from typing import Any

import msgspec

_logger = logging.getLogger("metering.ingestion")
_encode = msgspec.json.Encoder(enc_hook=str).encode


LIBRARY_TEXT = 200
"""Characters of what a library says that are kept: what it names first is what happened."""


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON object: time (UTC), level, event, and whatever fields were given."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one line."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0]:
            # The type and the place: the text of an exception may quote what was sent.
            entry["error"] = record.exc_info[0].__name__
            trace = record.exc_info[2]
            while trace and trace.tb_next:
                trace = trace.tb_next
            if trace:
                entry["at"] = f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
        return _encode(entry).decode()


class LibraryFormatter(JsonFormatter):
    """Writes what a library says as one line of which it is: its own fields and long texts are left out."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one line."""
        said = record.getMessage().partition("\n")[0][:LIBRARY_TEXT]
        fields = {"library": record.name, "said": said}
        return super().format(
            logging.makeLogRecord({**record.__dict__, "msg": "library_warning", "args": None, "fields": fields})
        )


def log(level: int, event: str, *, error: BaseException | None = None, **fields: Any) -> None:
    """Write one structured line."""
    _logger.log(level, event, extra={"fields": fields}, exc_info=error)


def set_up() -> None:
    """Send this package's logs, and the warnings of the server and of libraries, to standard output as JSON."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    others = logging.StreamHandler(sys.stdout)
    others.setFormatter(LibraryFormatter())
    others.setLevel(logging.WARNING)
    others.addFilter(_OncePerSecond())
    logging.getLogger().handlers[:] = [others]
    for name, level in (("metering", logging.INFO), ("uvicorn.error", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False
    logging.getLogger("uvicorn.error").addFilter(_OncePerSecond())


class _OncePerSecond(logging.Filter):
    """Lets a message through once in a second: what is not HTTP can come thousands of times in one."""

    def __init__(self) -> None:
        super().__init__()
        self._next: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether to write it. The messages of the server are few and fixed."""
        now = time.monotonic()
        if now < self._next.get(str(record.msg), 0.0):
            return False
        self._next[str(record.msg)] = now + 1.0
        return True


class Throttle:
    """Lets a line through once in `seconds` and counts those it held back, so that a flood of refusals is one line."""

    def __init__(self, seconds: float = 1.0) -> None:
        """Let one through in `seconds`."""
        self._seconds = seconds
        self._next: dict[str, float] = {}
        self._held: dict[str, int] = {}

    def log(self, level: int, event: str, **fields: Any) -> None:
        """Write the line, or count it."""
        now = time.monotonic()
        if now < self._next.get(event, 0):
            self._held[event] = self._held.get(event, 0) + 1
            return
        self._next[event] = now + self._seconds
        held = self._held.pop(event, 0)
        if held:
            fields["more_like_it"] = held
        log(level, event, **fields)

"""Mending: what is to be sent in place of an event that could not be counted. What was sent stays as it was."""

from __future__ import annotations

from typing import Any

from metering import database
from metering.ingestion.body import decode_object
from metering.ingestion.events import Malformed, to_json
from metering.quarantine.entries import SQL, Actor, Connection, EntryDetail, Unsuitable, row_of, show

MAX_PAYLOAD = 64 * 1024
"""Bytes of a mended event as JSON."""


def mend(connection: Connection, actor: Actor, entry_id: str, patch: dict[str, Any]) -> EntryDetail:
    """Change fields of a held entry's event by a JSON merge patch (RFC 7396) and return the entry.

    A field that the patch does not name stays, the idempotency key included; null removes one. Where what was sent is
    no JSON object (a broken line), the patch is the whole event; of a field that it says twice, the last stays. Whether
    it can count now is found when it is sent again. Raises `NoEntry`, or `Unsuitable` where the entry is not held.
    """
    row, asking = row_of(connection, actor, entry_id)
    current = decode_object((row["mended_payload"] or row["payload"]).encode(), last=True)
    mended = merge({} if isinstance(current, Malformed) else _nested(current), patch)
    try:
        payload = to_json(mended).decode()
    except (UnicodeEncodeError, RecursionError):
        raise Unsuitable("The mended event can't be written as JSON.", "Check its texts.") from None
    if len(payload) > MAX_PAYLOAD or "\\u0000" in payload:
        raise Unsuitable(
            f"The mended event has more than {MAX_PAYLOAD} bytes, or a zero byte.", "No event needs that; check it."
        )
    if not database.rows(connection, SQL["mend"], **asking, payload=payload, actor=actor.name):
        raise Unsuitable(
            f"The entry {entry_id} is {row['status']}, and only what is held can be mended.",
            "A discarded entry can be restored; one that was resent has counted.",
        )
    return show(connection, actor, entry_id)


def _nested(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a file, whose columns are called `properties.<name>`, in the shape of an event."""
    flat = {name.removeprefix("properties."): row[name] for name in row if name.startswith("properties.")}
    rest = {name: value for name, value in row.items() if not name.startswith("properties.")}
    return merge({"properties": flat}, rest) if flat else row


def merge(target: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """Apply a JSON merge patch to an object and return the result; neither is changed."""
    merged = dict(target)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            below = merged.get(name)
            merged[name] = merge(below if isinstance(below, dict) else {}, value)
        else:
            merged[name] = value
    return merged

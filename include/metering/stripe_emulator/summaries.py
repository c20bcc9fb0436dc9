"""Event summaries: the one thing that can be read back, per customer and meter, and only after a while."""

import hashlib
import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal

from metering.stripe_emulator import meters, quantity
from metering.stripe_emulator.call import Call
from metering.stripe_emulator.errors import Json, bad_request, no_such
from metering.stripe_emulator.pages import page
from metering.stripe_emulator.store import Store

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_SECONDS = {"hour": _HOUR, "day": _DAY}
_WHENEVER = 2**62


def list_all(call: Call) -> Json:
    """GET /v1/billing/meters/{id}/event_summaries

    ``start_time`` is inclusive and ``end_time`` exclusive, in Unix seconds aligned to the minute, or to the UTC hour or
    day that ``value_grouping_window`` names. A span without events has no summary.
    """
    meter = meters.get(call.store, call.path["id"])
    wanted = call.parameters
    start, end, customer_id = wanted["start_time"], wanted["end_time"], wanted["customer"]
    grouping: str | None = wanted.get("value_grouping_window")
    _check_span(start, end, grouping)
    # Usage of a customer that was deleted since stays readable: the books of a closed account must still add up.
    if call.store.one("customer", id=customer_id) is None:
        raise no_such("customer", customer_id, status=400, param="customer")
    rows = call.store.all(
        "usage",
        meter_id=meter["id"],
        customer_id=customer_id,
        start=start,
        end=end,
        received_by=_received_by(call),
    )
    size = end - start if grouping is None else _SECONDS[grouping]
    windows: dict[int, list[sqlite3.Row]] = defaultdict(list)
    for row in _kept(rows, meter["event_time_window"]):
        windows[start if grouping is None else row["timestamp"] // size * size].append(row)
    found = [
        _summary(meter, customer_id, begin, begin + size, windows[begin]) for begin in sorted(windows, reverse=True)
    ]
    return page(found, wanted, f"{meters.URL}/{meter['id']}/event_summaries")


def total(store: Store, meter: Json, customer_id: str, start: int, end: int) -> Decimal:
    """All that has been received of a span, lag or not, as an invoice reads it: signed, and zero without events."""
    rows = store.all(
        "usage", meter_id=meter["id"], customer_id=customer_id, start=start, end=end, received_by=_WHENEVER
    )
    return _aggregate(meter["default_aggregation"]["formula"], list(_kept(rows, meter["event_time_window"])))


def _received_by(call: Call) -> int:
    # Without a lag everything received shows, even if the clock has been moved back since.
    lag = call.settings.summary_lag_seconds
    return call.now - lag if lag else _WHENEVER


def _check_span(start: int, end: int, grouping: str | None) -> None:
    size = _MINUTE if grouping is None else _SECONDS[grouping]
    boundary = "minute" if grouping is None else f"UTC {grouping}"
    for name, moment in (("start_time", start), ("end_time", end)):
        if moment % size:
            raise bad_request(f"Invalid {name}: {moment} must be aligned with {boundary} boundaries.", param=name)
    if start >= end:
        raise bad_request(f"Invalid end_time: {end} must be after start_time {start}.", param="end_time")


def _kept(rows: Iterable[sqlite3.Row], event_time_window: str | None) -> Iterable[sqlite3.Row]:
    """All events; of a pre-aggregated meter, the most recently received one of each UTC hour or day."""
    if event_time_window is None:
        return rows
    size = _SECONDS[event_time_window]
    return {row["timestamp"] // size: row for row in rows}.values()


def _summary(meter: Json, customer_id: str, start: int, end: int, rows: list[sqlite3.Row]) -> Json:
    # The id comes from what the summary is of, so that a cursor still holds when the next page is asked for.
    name = f"{meter['id']} {customer_id} {start} {end}"
    return {
        "object": "billing.meter_event_summary",
        "id": f"mtrusg_test_{hashlib.sha256(name.encode()).hexdigest()[:24]}",
        "aggregated_value": _aggregate(meter["default_aggregation"]["formula"], rows),
        "end_time": end,
        "livemode": False,
        "meter": meter["id"],
        "start_time": start,
    }


def _aggregate(formula: str, rows: list[sqlite3.Row]) -> Decimal:
    """Signed and unclamped: a negative total becomes zero on an invoice, not here."""
    if formula == "count":
        return Decimal(len(rows))
    if formula == "last" and rows:
        newest = max(rows, key=lambda row: (row["timestamp"], row["seq"]))
        return quantity.written_out(Decimal(newest["value"]))
    return quantity.total([Decimal(row["value"]) for row in rows])

"""Aggregation cases: events in a period, and the quantity that they make."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from metering.conformance.cases import Case, NotApplicable, Said, number
from metering.conformance.trial import DECIMALS, QUARTER, ZERO, Difference, Phase, Reading, Trial, month_before

WIDE = Context(prec=80, rounding=ROUND_HALF_UP)
OLDEST, FOUR_YEARS = timedelta(days=9 * 365), timedelta(days=4 * 365 + 1)
WINDOWS = ("hour", "day", "month")
PLAIN = {
    "count": "count", "sum": "sum", "min": "min", "max": "max", "avg": "average", "average": "average",
    "mean": "average", "latest": "latest", "last": "latest", "unique_count": "unique_count",
    "count_distinct": "unique_count",
    "weighted_sum": "weighted_sum", "rounding": "sum",
    "max_bucketed_sum": "bucketed_max", "bucketed_max": "bucketed_max", "sum_bucketed_sum": "bucketed_sum",
    "bucketed_sum": "bucketed_sum", "sum_with_multiplier": "sum", "count_unique": "unique_count", "minimum": "min",
    "maximum": "max",
}  # fmt: skip
# A quantity that counts by how long it was there is a level over time.
PRORATED = {"prorated_sum", "prorated_sum_recurring", "prorated_unique_count_fraction"}
_RELATIVE = re.compile(r"T(?:(?P<sign>[+-])(?P<count>\d+)(?P<unit>[smhd]))?")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_ROUNDING = {
    "round": "round",
    "half_up": "round",
    "ceil": "up",
    "ceiling": "up",
    "up": "up",
    "floor": "down",
    "down": "down",
}


def trial(case: Case, key: str, now: datetime) -> Trial:
    """What an aggregation case becomes; raises `NotApplicable` where the product doesn't offer what it asks for."""
    name = case.model
    if name not in PLAIN and name not in PRORATED:
        raise NotApplicable(f"the product has no aggregation {name}")
    said = Said(dict(case.said.get("other") or {}))
    for told in ("note", "null_policy"):
        said.take(told)
    events = [dict(event) for event in case.said.get("events") or []]
    start, end = _period(case, now)
    zone = str(said.take("timezone") or "UTC")
    level = name == "weighted_sum" or name in PRORATED
    moved = timedelta(0)
    if level:
        # A level runs on to this day, so its period is moved close to it, by whole days.
        zone, can_be_moved = _zone_of_days(start, end, zone)
        if can_be_moved and (end < now or case.said.get("period")):
            moved = timedelta(days=(now - timedelta(days=2) - end).days)
    elif not _changes_clocks(zone, start.year):
        # Landing takes neither what is long ago nor what is to come: four years have the same days.
        moved = FOUR_YEARS * (max(0, -((start - now + OLDEST) // FOUR_YEARS)) or min(0, (now - end) // FOUR_YEARS))
    if not now - OLDEST <= start + moved < end + moved <= now:
        raise NotApplicable("landing takes usage of ten years, and none that is to come")
    made = Trial(key=key, starts=start + moved, ends=end + moved, zone=zone, about=(start + moved, end + moved))
    made.phases.append(Phase())
    # One billing cycle, whatever the length of the period.
    local = (start + moved).astimezone(ZoneInfo(zone))
    made.cycle = {"days": _days(start, end, zone), "counted_from": local.date()}
    made.window = said.take("window")
    if made.window not in (None, *WINDOWS):
        raise NotApplicable(f"the product's windows are {', '.join(WINDOWS)}, not {made.window}")
    _refuse_keys_by_time(events, said)
    meter = _meter(made, name, said, events)
    finer = _land(made, name, said, meter, events, (start, end), moved)
    if finer and "rounding" in meter:
        raise NotApplicable(f"quantities have at most {DECIMALS} decimals here")
    expected = Said(dict(case.said.get("expected") or {}), " of a result")
    group_by = [str(dimension) for dimension in said.take("group_by") or []]
    _price(made, meter, group_by, expected)
    said.refuse_rest()
    made.judge = _Judge(made, case, expected, group_by, recurring=name == "prorated_sum_recurring", finer=finer)
    expected.refuse_rest()
    return made


def _period(case: Case, now: datetime) -> tuple[datetime, datetime]:
    period = case.said.get("period")
    if not period:
        return month_before(now)
    start, end = (datetime.fromisoformat(str(period[name])) for name in ("from", "to_exclusive"))
    for moment in (start, end):
        if moment.minute % 15 or moment.second or moment.microsecond:
            raise NotApplicable("the product's periods begin and end on quarters of an hour")
    return start.astimezone(UTC), end.astimezone(UTC)


def _days(start: datetime, end: datetime, zone: str) -> int:
    """Local days that a period touches."""
    last = (end - timedelta(microseconds=1)).astimezone(ZoneInfo(zone)).date()
    return (last - start.astimezone(ZoneInfo(zone)).date()).days + 1


def _zone_of_days(start: datetime, end: datetime, zone: str) -> tuple[str, bool]:
    """A zone in which a period is whole days, and whether it can be moved by days because no clock changes there."""
    with_changes: str | None = None
    for name in (zone, "UTC", *sorted(available_timezones())):
        local = [moment.astimezone(ZoneInfo(name)) for moment in (start, end)]
        if any((moment.hour, moment.minute) != (0, 0) for moment in local):
            continue
        if not _changes_clocks(name, start.year):
            return name, True
        with_changes = with_changes or name
    if with_changes is None:
        raise NotApplicable("the mean of a level is taken over whole days of a zone")
    return with_changes, False


def _changes_clocks(zone: str, year: int) -> bool:
    return any(datetime(year, month, 1, tzinfo=ZoneInfo(zone)).dst() for month in range(1, 13))


def _refuse_keys_by_time(events: Sequence[dict[str, Any]], said: Said) -> None:
    """A key counts once, whatever time comes with it: a law of the architecture."""
    policy = str(said.take("dedupe") or "")
    times: dict[str, set[str]] = {}
    for event in events:
        if event.get("transaction_id") is not None:
            times.setdefault(str(event["transaction_id"]), set()).add(str(event["timestamp"]))
    if any(len(found) > 1 for found in times.values()):
        if "distinct" in policy:
            raise NotApplicable("it tells events apart by key and time together, and here a key counts once, ever")
        if "last" in policy.lower() or "latest" in policy.lower():
            raise NotApplicable("the last event of a key counts there, and here the first one stands")


def _meter(made: Trial, name: str, said: Said, events: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The meter of a case, without its dimensions."""
    aggregation = PLAIN.get(name, "weighted_sum")
    meter: dict[str, Any] = {"aggregation": aggregation, "allow_negative": aggregation not in ("count", "unique_count")}
    field = said.take("field")
    if aggregation not in ("count", "unique_count"):
        meter["value_property"] = str(field or "value")
    elif aggregation == "unique_count":
        meter["value_property"] = str(field or "value")
        for operation in ("operation", "operation_type"):
            if any(operation in event for event in events):
                meter["operation_property"] = operation
    bucket = said.take("bucket")
    if aggregation.startswith("bucketed_"):
        if bucket not in ("hour", "day"):
            raise NotApplicable(f"the product's buckets are hours and days, not {bucket}")
        meter["bucket"] = bucket
    multiplier = said.number("multiplier")
    if multiplier is not None:
        meter["multiplier"] = multiplier
    filters = said.take("filters")
    if filters:
        meter["filters"] = {
            key: [str(value) for value in (values if isinstance(values, list) else [values])]
            for key, values in filters.items()
        }
    rounding, precision = said.take("rounding"), said.take("precision")
    function = said.take("function") or rounding
    if function is not None:
        word, _, digits = str(function).lower().partition(" ")
        if word not in _ROUNDING:
            raise NotApplicable(f"the product rounds quantities up, down or to the nearest, not {function}")
        meter["rounding"], meter["precision"] = _ROUNDING[word], int(digits or precision or 0)
    return meter


def _land(
    made: Trial,
    name: str,
    said: Said,
    meter: Mapping[str, Any],
    events: Sequence[dict[str, Any]],
    period: tuple[datetime, datetime],
    moved: timedelta,
) -> int:
    """The events of a case, those that came before its period, and what stands for a level that was there.

    Returns by how many decimals the values were too fine: they are sent in a unit that is smaller by so many.
    """
    start, end = period
    if said.has("fraction"):
        share = Fraction(str(said.take("fraction")))
        at = end - timedelta(microseconds=round(share * ((end - start) // timedelta(microseconds=1))))
        events = [*events, {"timestamp": at.isoformat(), "value": "1"}]
    persisted, of = said.number("persisted_days"), said.number("period_days")
    if persisted is not None:
        # What persisted so many of the period's days came so many days before its end.
        if of is None:
            raise NotApplicable("nothing says of how many days")
        at = made.about[1] - moved - timedelta(days=int(persisted))
        _last_days(made, int(of))
        events = [{**event, "timestamp": at.isoformat()} for event in events]
    elif of is not None and int(of) != _days(start, end, made.zone):
        if name not in PRORATED or int(of) < _days(start, end, made.zone):
            raise NotApplicable(f"the period has {_days(start, end, made.zone)} days, not {of}")
        # Of so many days, those of the period are the last.
        events = [event for event in events if _moment(str(event["timestamp"]), start) >= start]
        _last_days(made, int(of))
    if said.has("input"):
        events = [*events, {"timestamp": start.isoformat(), "value": str(said.take("input"))}]
    before = said.number("initial_value")
    if before is not None:
        # Each group had it; where there are none, it was there once, and passes the filters.
        dimensions = [str(name) for name in said.fields.get("group_by") or []]
        passing = {name: values[0] for name, values in (meter.get("filters") or {}).items()}
        groups = {tuple((name, event[name]) for name in dimensions if event.get(name) is not None) for event in events}
        field = str(said.fields.get("field") or "value")
        sent = (start - QUARTER).isoformat()
        events = [
            *events,
            *({**passing, **dict(group), "timestamp": sent, field: str(before)} for group in sorted(groups or {()})),
        ]
    events = [*(said.take("prior_events") or []), *events, *(said.take("out_of_period_events") or [])]
    middle = start + (end - start) / 2
    takes_values = PLAIN.get(name, "weighted_sum") not in ("count", "unique_count")
    field = str(said.fields.get("field") or "value")
    finer = max((_finer(event.get(field)) for event in events), default=0) if takes_values else 0
    for event in events:
        at = _moment(str(event["timestamp"]), middle) + moved
        if finer and (value := _decimal(event.get(field))) is not None:
            event = {**event, field: str(value.scaleb(finer))}
        properties = {key: value for key, value in event.items() if key not in ("timestamp", "transaction_id")}
        landed = made.event("usage", at, properties=properties)
        if event.get("transaction_id") is not None:
            landed["idempotency_key"] = f"transaction {event['transaction_id']}"
    return finer


def _last_days(made: Trial, days: int) -> None:
    """Let the period be so many days that end where it ends."""
    start = made.about[1] - timedelta(days=days)
    made.starts, made.about = start, (start, made.about[1])
    made.cycle = {"days": days, "counted_from": start.astimezone(ZoneInfo(made.zone)).date()}


def _decimal(value: object) -> Decimal | None:
    """A value that is a finite number; None for another."""
    try:
        found = Decimal(str(value))
    except ArithmeticError:
        return None
    return found if found.is_finite() else None


def _finer(value: object) -> int:
    """How many more decimals a value has than quantities have."""
    found = _decimal(value)
    return 0 if found is None else max(0, -int(found.normalize(WIDE).as_tuple().exponent) - DECIMALS)


def _moment(text: str, middle: datetime) -> datetime:
    """A moment, or one relative to another, as in T-60s."""
    match = _RELATIVE.fullmatch(text)
    if match is None:
        return datetime.fromisoformat(text)
    if not match["count"]:
        return middle
    ago = timedelta(**{_UNITS[match["unit"]]: int(match["count"])})
    return middle - ago if match["sign"] == "-" else middle + ago


def _price(made: Trial, meter: dict[str, Any], group_by: list[str], expected: Said) -> None:
    """A price of 1 a unit, by which each group is a part of its own; and, where asked, one that knows no groups."""
    version: dict[str, Any] = {"model": "per_unit", "tiers": [{"unit_amount": 1}]}
    key = made.meter("usage", **meter, dimensions=group_by)
    grouped = {**version, "group_by": group_by} if group_by else version
    made.phases[0].prices = [made.price("usage", key, grouped)]
    if expected.has("value_without_group_by"):
        made.meters.append({**made.meters[0], "meter": f"{made.key}/whole", "dimensions": []})
        made.phases[0].prices.append(made.price("whole", f"{made.key}/whole", version))


class _Judge:
    """Compares what a case expects with what was metered and billed."""

    def __init__(
        self, made: Trial, case: Case, expected: Said, group_by: list[str], *, recurring: bool, finer: int
    ) -> None:
        """Take every figure that the product has; what is left of `expected` is what it doesn't know."""
        self.key, self.group_by, self.recurring, self.finer = made.key, group_by, recurring, finer
        decimals = case.said.get("round_expected_to")
        most = DECIMALS + finer
        self.decimals = min(most, most if decimals is None else int(decimals))
        self.expected = {name: expected.take(name) for name in _FIGURES if name in expected.fields}
        if "segments" in self.expected:
            made.not_compared.append("expected: segments")
            del self.expected["segments"]
        if finer and "amount_at_unit_price_1" in self.expected:
            raise NotApplicable(f"quantities have at most {DECIMALS} decimals here")

    def __call__(self, readings: Sequence[Reading]) -> list[Difference]:
        """What differs."""
        reading = readings[-1]
        lines = {line["price"]: line for line in reading.lines}
        measured = {row["meter"]: row for row in reading.measured}.get(f"{self.key}/usage", {})
        line = lines[f"{self.key}/usage"]
        level = self._said(measured.get("level"))
        got: dict[str, Any] = {
            "value": self._said(line["quantity"]),
            "value_without_group_by": self._said(lines.get(f"{self.key}/whole", {}).get("quantity")),
            "count": measured.get("events_until" if self.recurring else "events") or ZERO,
            "variation": self._said(measured.get("change")),
            "ending_level": level,
            "full_value": level,
            "amount_at_unit_price_1": line["amount"],
            "windows": Decimal(len(reading.windows)),
        }
        found: list[Difference] = []
        for name, value in self.expected.items():
            if name == "groups":
                found += self._groups(value, reading)
            elif name == "each_value":
                found += [
                    Difference(f"window {row['window_start']:%Y-%m-%dT%H:%MZ}", value, row["quantity"])
                    for row in reading.windows
                    if not self._same(number(value), self._said(row["quantity"]))
                ]
            elif name == "dst_window":
                found += self._window(value, reading)
            elif value is None:
                # Nothing was measured: there is no usage, though a bill shows that none is owed.
                if measured.get("events"):
                    found.append(Difference(name, None, got[name]))
            elif not self._same(number(value), got[name]):
                found.append(Difference(name, number(value), got[name]))
        return found

    def _said(self, quantity: Decimal | None) -> Decimal:
        """A quantity in the unit of the case; what nothing tells of is none."""
        return ZERO if quantity is None else quantity.scaleb(-self.finer, context=WIDE)

    def _same(self, expected: Decimal, got: Decimal) -> bool:
        unit = Decimal(1).scaleb(-self.decimals)
        return expected.quantize(unit, context=WIDE) == got.quantize(unit, context=WIDE)

    def _groups(self, groups: Sequence[dict[str, Any]], reading: Reading) -> list[Difference]:
        """Each group is a part of the line; there is none beside those expected."""
        parts: dict[tuple[str | None, ...], Decimal] = {}
        for tier in reading.tiers:
            if tier["slice"] is not None:
                name = tuple(tier["slice"].get(dimension) for dimension in self.group_by)
                parts[name] = parts.get(name, ZERO) + tier["tier_quantity"]
        found: list[Difference] = []
        for group in groups:
            name = tuple(None if group.get(dimension) is None else str(group[dimension]) for dimension in self.group_by)
            got = parts.pop(name, None)
            # Usage of a group that nothing tells of is none.
            if not self._same(number(group["value"]), self._said(got)):
                found.append(Difference(f"group {name}", number(group["value"]), got))
        return found + [Difference(f"group {name}", None, got) for name, got in parts.items()]

    def _window(self, window: dict[str, Any], reading: Reading) -> list[Difference]:
        """A day of 23 or 25 hours begins and ends where its neighbours do."""
        start, end = (datetime.fromisoformat(str(window[name])) for name in ("from", "to"))
        ends = {row["window_start"]: row["window_end"] for row in reading.windows}
        found = [Difference("a day that begins", start, None)] if start not in ends else []
        if not found and ends[start] != end:
            found.append(Difference("and ends", end, ends[start]))
        if not found and "hours" in window:
            hours = (end - start) / timedelta(hours=1)
            if Decimal(str(hours)) != number(window["hours"]):
                found.append(Difference("hours", window["hours"], hours))
        return found


_FIGURES = (
    "value", "count", "groups", "variation", "segments", "ending_level", "full_value", "amount_at_unit_price_1",
    "windows", "each_value", "dst_window", "value_without_group_by",
)  # fmt: skip

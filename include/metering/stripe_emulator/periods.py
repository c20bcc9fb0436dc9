"""Billing periods in UTC: from an anchor by whole intervals. A month that lacks the anchor's day ends on its last."""

import calendar
from datetime import UTC, datetime

from metering.stripe_emulator.errors import Json, bad_request

_DAY_SECONDS = 86_400
_DAYS = {"day": 1, "week": 7}
_MONTHS = {"month": 1, "year": 12}


def edge(anchor: int, recurring: Json, number: int) -> int:
    """The ``number``-th edge after the anchor (before it when negative), in Unix seconds."""
    interval, count = recurring["interval"], int(recurring["interval_count"]) * number
    if interval in _DAYS:
        return anchor + count * _DAYS[interval] * _DAY_SECONDS
    return _months_later(anchor, count * _MONTHS[interval])


def around(anchor: int, recurring: Json, moment: int) -> tuple[int, int]:
    """The period that holds a moment: start inclusive, end exclusive."""
    length = edge(anchor, recurring, 1) - anchor
    number = (moment - anchor) // length
    while edge(anchor, recurring, number) > moment:
        number -= 1
    while edge(anchor, recurring, number + 1) <= moment:
        number += 1
    return edge(anchor, recurring, number), edge(anchor, recurring, number + 1)


def configured_anchor(config: Json, now: int) -> int:
    """The first moment after ``now`` that an anchor config names; what it leaves open is taken from ``now``."""
    moment = datetime.fromtimestamp(now, UTC)
    bounds = {"day_of_month": (1, 31), "hour": (0, 23), "minute": (0, 59), "month": (1, 12), "second": (0, 59)}
    for name, value in config.items():
        lowest, highest = bounds[name]
        if not lowest <= value <= highest:
            raise bad_request(
                f"Invalid {name}: must be from {lowest} to {highest}", param=f"billing_cycle_anchor_config[{name}]"
            )
    for later in range(0, 25):
        year, month = divmod(moment.year * 12 + moment.month - 1 + later, 12)
        if config.get("month", month + 1) != month + 1:
            continue
        day = min(config["day_of_month"], calendar.monthrange(year, month + 1)[1])
        found = datetime(
            year,
            month + 1,
            day,
            config.get("hour", moment.hour),
            config.get("minute", moment.minute),
            config.get("second", moment.second),
            tzinfo=UTC,
        )
        if found > moment:
            return int(found.timestamp())
    raise AssertionError("every month comes round within two years")


def _months_later(moment: int, months: int) -> int:
    start = datetime.fromtimestamp(moment, UTC)
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    day = min(start.day, calendar.monthrange(year, month + 1)[1])
    return int(start.replace(year=year, month=month + 1, day=day).timestamp())

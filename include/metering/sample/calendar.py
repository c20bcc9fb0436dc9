"""Months and billing periods of the sample's teams, in their own zones."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from metering.sample.teams import SampleTeam

FULL_MONTHS = 2


@dataclass(frozen=True)
class Period:
    """A billing period [start, end) in UTC. `label` is the local date on which it begins, or its month."""

    label: str
    start: datetime
    end: datetime


def months_before(year: int, month: int, count: int) -> tuple[int, int]:
    """The month that lies `count` months before another."""
    months = year * 12 + month - 1 - count
    return months // 12, months % 12 + 1


def first_period(team: SampleTeam, now: datetime) -> date:
    """The local date on which the team's first period of the sample begins."""
    local = now.astimezone(ZoneInfo(team.time_zone))
    year, month = months_before(local.year, local.month, FULL_MONTHS)
    return date(year, month, team.anchor_day)


def periods(team: SampleTeam, now: datetime) -> list[Period]:
    """The team's periods that have begun before `now`, the first one first."""
    zone = ZoneInfo(team.time_zone)
    first = first_period(team, now)
    found = []
    for count in range(FULL_MONTHS + 1):
        day = date(*months_before(first.year, first.month, -count), team.anchor_day)
        following = date(*months_before(first.year, first.month, -count - 1), team.anchor_day)
        start, end = _midnight(day, zone), _midnight(following, zone)
        if start < now:
            found.append(Period(f"{day:%Y-%m}" if day.day == 1 else f"{day:%Y-%m-%d}", start, end))
    return found


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)

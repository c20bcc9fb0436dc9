"""Storage as usage: from bytes that are held to GB-hours of local days."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from usage_client.base import BaseClient
from usage_client.events import rfc3339
from usage_client.spool import framed, unframed

GIGABYTE = 10**9
GIBIBYTE = 2**30
GRACE = timedelta(minutes=10)
"""How long after the end of a day its measurements may still come in."""
KEPT = timedelta(days=40)
"""How long the measurements of a day are kept after it."""

_MICROSECOND = timedelta(microseconds=1)
_HOUR = 3_600_000_000  # microseconds
_DIGITS = Decimal("1e-12")  # what the service takes after the point
_WIDE = Context(prec=60, rounding=ROUND_HALF_UP)

Level = tuple[datetime, int]
"""Since when, and how many bytes are held."""


def local_day(day: date, zone: str) -> tuple[datetime, datetime]:
    """The beginning and the end of a day by the clocks of a zone, in UTC: 24 hours apart, or 23, or 25."""
    midnights = (datetime.combine(each, time(), ZoneInfo(zone)) for each in (day, day + timedelta(days=1)))
    start, end = (midnight.astimezone(UTC) for midnight in midnights)
    return start, end


def gb_hours(
    levels: Iterable[Level], start: datetime, end: datetime, *, before: int = 0, gigabyte: int = GIGABYTE
) -> Decimal:
    """The GB-hours of [start, end): each level holds until the next, and `before` until the first.

    Added up in whole byte-microseconds, and rounded once, half up, to 12 digits after the point (a two-thousandth of a
    byte-hour). Raises ValueError for times without a zone, and for fewer than no bytes.
    """
    total, held, since = 0, before, start
    for moment, level in sorted(levels):
        if moment.tzinfo is None or level < 0:
            raise ValueError(f"{level} bytes at {moment}: give a time with its zone, and no negative bytes")
        moment = min(max(moment, start), end)
        total += held * ((moment - since) // _MICROSECOND)
        held, since = level, moment
    total += held * ((end - since) // _MICROSECOND)
    return _WIDE.divide(Decimal(total), Decimal(gigabyte * _HOUR)).quantize(_DIGITS, context=_WIDE)


@dataclass(frozen=True)
class _Series:
    team: str | None
    resource: str


@dataclass
class _Day:
    """What was measured of one thing on one day."""

    levels: list[Level]
    carried: int = 0
    properties: Mapping[str, Any] | None = None


class StorageTracker:
    """Remembers measurements in a folder, and tracks each day that is over: one event a day, team and resource.

    The folder is the memory, so the program that measures may be a job that runs every hour, and several may share it.
    A day is computed from what stands there when it has been over for ten minutes, and nothing is taken for it from
    then on: tracked again, by a process that was restarted, it is the same event with the same key.

    The files are named `<day>@<zone>` and then `.measured`, `.computed` (nothing is added any more) or `.done` (the
    service has answered for its events).

    The level holds until the next measurement, also over days on which nothing was measured; what is gone must be
    measured as 0 once.
    """

    def __init__(
        self,
        usage: BaseClient,
        folder: str | Path,
        *,
        zone: str = "UTC",
        event: str = "storage",
        unit: str | None = "GB-hour",
        gigabyte: int = GIGABYTE,
    ) -> None:
        """`zone` is that of days for which `measure` is told none. Raises OSError where the folder can't be made."""
        ZoneInfo(zone)
        self._usage = usage
        self._folder = Path(folder)
        self._zone = zone
        self._event = event
        self._unit = unit
        self._gigabyte = gigabyte
        self._folder.mkdir(parents=True, exist_ok=True)

    def measure(
        self,
        held: int,
        *,
        team: str | None = None,
        resource: str = "",
        zone: str | None = None,
        at: datetime | None = None,
        properties: Mapping[str, Any] | None = None,
    ) -> bool:
        """Remember how many bytes are held at `at` (default: now), on disk when it returns.

        `zone` is the team's, whose days are billed. `properties`, such as a region, go with the day's event; the last
        ones of a day count. False where it could not be remembered, which is counted as a drop: bytes that are no
        number, a day that is over, a disk that fails.
        """
        try:
            return self._remember(held, _Series(team, resource), zone or self._zone, at, properties)
        except Exception as error:
            self._usage.drop(f"storage could not be measured: {error}")
            return False

    def settle(self, now: datetime | None = None, timeout: float = 30.0) -> int:
        """Track the days that are over; return how many events that were. Safe to run again, and side by side.

        Waits up to `timeout` seconds until the service has answered for them. Those for which it has not are tracked
        again the next time, with the same keys.
        """
        now = now or datetime.now(UTC)
        with self._alone() as alone:
            if not alone:
                return 0
            # Closing a day can begin the next one, which may be over as well.
            while over := [path for path in self._files("measured") if _deadline(path) <= now]:
                self._close(min(over, key=lambda path: path.name))
            count, whole = 0, []
            for path in sorted(self._files("computed")):
                keys = [self._track(**event) for event in self._events(path)]
                count += len(keys)
                if None not in keys:
                    whole.append(path)
            if whole and self._usage.settle(timeout):
                for path in whole:
                    path.rename(path.with_suffix(".done"))
            for path in self._files("done"):
                if _deadline(path) + KEPT < now:
                    path.unlink()
            return count

    def track_day(
        self,
        day: date,
        levels: Iterable[Level] | int,
        *,
        team: str | None = None,
        resource: str = "",
        zone: str | None = None,
        before: int = 0,
        properties: Mapping[str, Any] | None = None,
    ) -> str | None:
        """Track a day from measurements of your own: levels, or the bytes that were held all day. Returns the key."""
        try:
            start, _ = local_day(day, zone or self._zone)
            measured = [(start, levels)] if isinstance(levels, int) else list(levels)
            event = self._day_event(
                day, zone or self._zone, _Series(team, resource), _Day(measured, before, properties)
            )
        except Exception as error:
            self._usage.drop(f"storage could not be tracked: {error}")
            return None
        return self._track(**event)

    # In the folder ------------------------------------------------------------------------------------------------

    def _remember(
        self, held: int, series: _Series, zone: str, at: datetime | None, properties: Mapping[str, Any] | None
    ) -> bool:
        if isinstance(held, bool) or not isinstance(held, int) or held < 0:
            raise ValueError(f"{held!r} is no number of bytes")
        moment = datetime.now(UTC) if at is None else at
        if moment.tzinfo is None:
            raise ValueError(f"the time {moment} has no time zone")
        path = self._path(moment.astimezone(ZoneInfo(zone)).date(), zone)
        said: dict[str, Any] = {"at": rfc3339(moment), "held": held, "team": series.team, "resource": series.resource}
        if properties:
            said["properties"] = dict(properties)
        line = framed(_json(said))
        with _locked(path, fcntl.LOCK_SH) as descriptor:
            if _is_computed(path):
                path.unlink(missing_ok=True)  # it is empty: it has only just been made by whoever comes too late
                raise ValueError(f"the day of {moment:%Y-%m-%d} is over and computed")
            os.write(descriptor, line)
        return True

    def _close(self, path: Path) -> None:
        """Take no more for a day, and begin the next one with the levels that hold at its end."""
        day, zone = _named(path)
        with _locked(path, fcntl.LOCK_EX) as descriptor:
            going_on = {
                series: (max(held.levels)[1] if held.levels else held.carried, held.properties)
                for series, held in _read(descriptor).items()
            }
            self._carry(day + timedelta(days=1), zone, going_on)
            path.rename(path.with_suffix(".computed"))

    def _carry(self, day: date, zone: str, levels: Mapping[_Series, tuple[int, Mapping[str, Any] | None]]) -> None:
        path = self._path(day, zone)
        if _is_computed(path) or not any(level for level, _ in levels.values()):
            return
        with _locked(path, fcntl.LOCK_EX) as descriptor:
            known = {series for series, held in _read(descriptor).items() if held.carried}
            lines = []
            for series, (level, properties) in levels.items():
                if level and series not in known:
                    said = {"carried": level, "team": series.team, "resource": series.resource}
                    lines.append(framed(_json({**said, "properties": dict(properties or {})})))
            os.write(descriptor, b"".join(lines))

    def _events(self, path: Path) -> Iterator[dict[str, Any]]:
        """The events of a day that takes no more; none for what was empty all day."""
        day, zone = _named(path)
        with _locked(path, fcntl.LOCK_SH) as descriptor:
            found = _read(descriptor)
        for series, held in found.items():
            event = self._day_event(day, zone, series, held)
            if event["quantity"]:
                yield event

    def _day_event(self, day: date, zone: str, series: _Series, held: _Day) -> dict[str, Any]:
        start, end = local_day(day, zone)
        amount = gb_hours(held.levels, start, end, before=held.carried, gigabyte=self._gigabyte)
        properties: dict[str, Any] = {
            **(held.properties or {}),
            "day": day.isoformat(),
            "hours": f"{(Decimal((end - start) // _MICROSECOND) / _HOUR).normalize():f}",
            "peak_bytes": max([held.carried, *(level for _, level in held.levels)]),
        }
        if series.resource:
            properties["resource"] = series.resource
        who = hashlib.sha256(json.dumps([series.team, series.resource]).encode()).hexdigest()[:24]
        return {
            "quantity": amount.normalize(_WIDE) if amount else Decimal(0),
            "team": series.team,
            "time": end - _MICROSECOND,
            "properties": properties,
            "idempotency_key": f"{self._event}-{day}-{who}",
        }

    def _track(self, **event: Any) -> str | None:
        return self._usage.track(self._event, unit=self._unit, **event)

    def _path(self, day: date, zone: str) -> Path:
        return self._folder / f"{day.isoformat()}@{zone.replace('/', '~')}.measured"

    def _files(self, kind: str) -> list[Path]:
        return list(self._folder.glob(f"*@*.{kind}"))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether nobody else settles, for as long as this lasts."""
        with open(self._folder / "settling", "ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
            else:
                yield True


@contextlib.contextmanager
def _locked(path: Path, how: int) -> Iterator[int]:
    """A file to read and to append to. Who measures shares it; who computes the day has it alone."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        fcntl.flock(descriptor, how)
        yield descriptor
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> dict[_Series, _Day]:
    """What a file says of each series. A line that was cut off as its writer died says nothing."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(os.dup(descriptor), "rb") as stream:
        bodies = [body for line in stream.read().split(b"\n") if (body := unframed(line)) is not None]
    found: dict[_Series, _Day] = {}
    latest: dict[_Series, datetime] = {}
    for body in bodies:
        said = json.loads(body)
        series = _Series(said["team"], said["resource"])
        day = found.setdefault(series, _Day([]))
        if "carried" in said:
            day.carried = said["carried"]
            moment = datetime.min.replace(tzinfo=UTC)
        else:
            moment = datetime.fromisoformat(said["at"])
            day.levels.append((moment, said["held"]))
        if series not in latest or moment >= latest[series]:
            latest[series], day.properties = moment, said.get("properties")
    return found


def _json(said: Mapping[str, Any]) -> bytes:
    return json.dumps(said, allow_nan=False, default=str).encode()


def _is_computed(path: Path) -> bool:
    return path.with_suffix(".computed").exists() or path.with_suffix(".done").exists()


def _named(path: Path) -> tuple[date, str]:
    day, _, zone = path.stem.partition("@")
    return date.fromisoformat(day), zone.replace("~", "/")


def _deadline(path: Path) -> datetime:
    """When the day of a file may be computed."""
    return local_day(*_named(path))[1] + GRACE

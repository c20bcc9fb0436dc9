"""What the system is doing: what runs, how full it is, what is late."""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
import psycopg

from metering import statements
from metering.database import connect, one, rows
from metering.errors import BillingError
from metering.processes import postgres, supervisor, system
from metering.settings import Settings

SQL = statements.beside(__file__, "processes")
LATE_AFTER = timedelta(minutes=90)
"""Metering runs hourly; usage that has waited for longer than this is late."""


def collect(settings: Settings) -> dict[str, Any]:
    """Everything `./billing status` tells: components, storage, usage, dags, late. What can't be read is left out.

    `late` holds a sentence for each thing that is not as it should be, what does not run first; `remedy` is what to do
    about that, or None.
    """
    found: dict[str, Any] = {
        "home": str(settings.home),
        "addresses": {},
        "components": components(settings),
        "storage": {},
        "usage": {},
        "dags": [],
        "late": [],
        "remedy": None,
    }
    _tell_of_components(settings, found)
    if settings.home.exists():
        disk = shutil.disk_usage(settings.home)
        found["storage"] = {"disk, used by everything": disk.used, "disk, free": disk.free}
    if settings.embedded_postgres and not postgres.running(settings.postgres_data):
        return found
    found["addresses"] = system.addresses(settings)
    try:
        with connect(settings.database_url, application="billing-status") as connection:
            found["storage"]["billing database"] = one(connection, SQL["database_size"])["bytes"]
            found["usage"] = _usage(connection)
            found["late"] += _late_usage(found["usage"])
        with connect(settings.airflow_database_url, application="billing-status") as connection:
            found["storage"]["airflow database"] = one(connection, SQL["database_size"])["bytes"]
            if _has(connection, "public.dag_run"):
                found["dags"] = rows(connection, SQL["dag_runs"])
    except BillingError as error:
        found["late"].append(str(error))
    found["late"] += [
        f"{dag['dag_id']} has failed: run {dag['run_id']}." for dag in found["dags"] if dag["state"] == "failed"
    ]
    return found


def exit_code(found: dict[str, Any]) -> int:
    """What `./billing status` ends with: 0 where all is well, 3 where nothing runs, else 1."""
    if not any(part["running"] for part in found["components"]):
        return 3
    return 1 if found["late"] or found["remedy"] else 0


def _tell_of_components(settings: Settings, found: dict[str, Any]) -> None:
    """Name what ought to run: what ended without having been stopped, and what else is missing beside what runs."""
    parts = found["components"]
    running = any(part["running"] for part in parts)
    for part in parts:
        if part["died"]:
            log = settings.logs / f"{part['name']}.log"
            found["late"].append(f"{part['name']} does not run: it ended without having been stopped; see {log}")
        elif running and not part["running"]:
            found["late"].append(f"{part['name']} does not run.")
    if found["late"]:
        found["remedy"] = "Start what does not run with ./billing up: nothing that was stored is lost."
    elif not running:
        found["remedy"] = "Nothing runs: start it with ./billing up"


def components(settings: Settings) -> list[dict[str, Any]]:
    """Each component with its process, port, memory and age."""
    found = []
    if settings.embedded_postgres:
        server = postgres.running(settings.postgres_data)
        died = postgres.died(settings.postgres_data)
        found.append(_component("postgres", server.pid if server else None, server.port if server else None, died))
    for part in [*system.services(settings), *system.airflow_components(settings)]:
        record = supervisor.running(settings, part.name)
        died = supervisor.died(settings, part.name)
        found.append(_component(part.name, record.pid if record else None, record.port if record else None, died))
    return found


def _component(name: str, pid: int | None, port: int | None, died: bool) -> dict[str, Any]:
    memory = uptime = None
    try:
        if pid:
            process = psutil.Process(pid)
            family = [process, *process.children(recursive=True)]
            memory = sum(_memory(member) for member in family)
            uptime = max(0.0, time.time() - process.create_time())
    except psutil.NoSuchProcess:
        pid = None
    return {
        "name": name,
        "running": pid is not None,
        "died": pid is None and died,
        "pid": pid,
        "port": port,
        "memory_bytes": memory,
        "uptime_seconds": uptime,
    }


def _memory(process: psutil.Process) -> int:
    """A process's share of memory: what several hold in common is divided among them, where the system tells."""
    try:
        full = process.memory_full_info()
        return int(getattr(full, "pss", full.rss))
    except psutil.AccessDenied:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def _usage(connection: psycopg.Connection[dict[str, Any]]) -> dict[str, Any]:
    usage: dict[str, Any] = {}
    if _has(connection, "landing.batches"):
        landed = one(connection, SQL["events"])
        usage |= {"events": landed["events"], "last_event_landed_at": landed["last_recorded_at"]}
    if _has(connection, "landing.quarantined_events"):
        usage["events_in_quarantine"] = one(connection, SQL["quarantine"])["held"]
    if _has(connection, "billing.metering_runs") and _has(connection, "billing.buckets_to_meter"):
        metering = one(connection, SQL["metering"])
        usage |= {
            "last_metering_run_finished_at": metering["last_finished_at"],
            "metered_until": metering["recorded_until"],
            "quarter_hours_waiting": metering["buckets_waiting"],
        }
    return usage


def _late_usage(usage: dict[str, Any]) -> list[str]:
    landed, metered = usage.get("last_event_landed_at"), usage.get("metered_until")
    if not landed or (metered and metered >= landed) or landed > datetime.now(UTC) - LATE_AFTER:
        return []
    since = f"since {metered:%Y-%m-%d %H:%M} UTC" if metered else "at all"
    return [f"Usage that landed until {landed:%Y-%m-%d %H:%M} UTC waits: nothing has been metered {since}."]


def _has(connection: psycopg.Connection[dict[str, Any]], table: str) -> bool:
    return bool(one(connection, SQL["exists"], name=table)["found"])


def megabytes(size: int | None) -> str:
    """A number of bytes as people read it."""
    if size is None:
        return ""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def moment(value: object) -> object:
    """A moment as people read it, to the second and in UTC; anything else as it is."""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if isinstance(value, datetime) else value


def duration(seconds: float | None) -> str:
    """A number of seconds as people read it."""
    if seconds is None:
        return ""
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    if hours >= 48:
        return f"{hours // 24} d"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min" if minutes else f"{int(seconds)} s"

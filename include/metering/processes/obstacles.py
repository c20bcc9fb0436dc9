"""What keeps the system from starting, found before anything is started: each is one sentence and what to do."""

from __future__ import annotations

import errno
import shutil

from metering import settings as settings_module
from metering.errors import BillingError
from metering.processes import postgres
from metering.processes.ports import who_listens
from metering.processes.supervisor import Component
from metering.settings import GIVEN, PORTS, Settings

NEEDED_SPACE = 300_000_000
"""Bytes that must be free: what a first start writes, and some room to work."""


def prepare_home(settings: Settings) -> None:
    """Make the directories that everything is written to; raise `BillingError` where they can't be used or are full."""
    try:
        # PostgreSQL's own user passes through the first two and reads in neither; the others are nobody else's.
        for folder, mode in ((settings.home, 0o711), (settings.logs, 0o711), (settings.run, 0o700)):
            folder.mkdir(mode=mode, parents=True, exist_ok=True)
        settings.airflow_home.mkdir(mode=0o700, exist_ok=True)
        probe = settings.run / ".writable"
        probe.write_text("yes")
        probe.unlink()
        free = shutil.disk_usage(settings.home).free
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = 0
        else:
            raise BillingError(
                f"{settings.home} can't be written to: {error.strerror or error}.",
                "Set BILLING_HOME to a directory that this user may write to.",
            ) from error
    if free < NEEDED_SPACE:
        raise BillingError(
            f"The disk that holds {settings.home} is too full: {free // 1_000_000} MB are free, "
            f"{NEEDED_SPACE // 1_000_000} MB are needed; nothing was started.",
            "Free some space, or set BILLING_HOME to a directory on another disk.",
        )


def refuse_shared_ports(settings: Settings) -> None:
    """Refuse two settings that give the same port to two programs that we are to start."""
    ports = settings.ports
    if not settings.embedded_postgres:
        del ports["BILLING_POSTGRES_PORT"]
    if not settings.stripe_emulated:
        del ports["BILLING_STRIPE_EMULATOR_PORT"]
    users: dict[int, str] = {}
    for name, port in ports.items():
        other = users.setdefault(port, name)
        if other != name:
            raise BillingError(
                f"{other} and {name} name the same port, {port}.", "Give each a port of its own; nothing was started."
            )


def refuse_taken_ports(missing: list[Component]) -> None:
    """Refuse ports that somebody else listens on."""
    for part in missing:
        holder = who_listens("127.0.0.1", part.port) if part.port else None
        if holder:
            raise BillingError(
                f"Port {part.port}, meant for {part.title}, is in use by {holder}.",
                f"Set {part.port_setting} to a free port, or stop the other program; nothing was started.",
            )


def refuse_unreachable_databases(settings: Settings) -> None:
    """Refuse addresses that were given and lead to no server that lets us in."""
    for url, setting in (
        (settings.get("DATABASE_URL") and settings.database_url, "DATABASE_URL"),
        (settings.get("AIRFLOW_DATABASE_URL") and settings.airflow_database_url, "AIRFLOW_DATABASE_URL"),
    ):
        if url:
            postgres.refuse_unreachable(url, setting)


def refuse_other_configuration(settings: Settings) -> None:
    """Refuse to mix: part of the system runs, and this call was given something else than what that part runs with."""
    stored = settings_module.stored(settings)
    for name in (*GIVEN, *(port for port in PORTS if port in stored)):
        if (settings.get(name) or "") != stored.get(name, ""):
            raise BillingError(
                f"The system already runs, with another {name} than this call was given.",
                "Run `./billing down` first, or call without that setting.",
            )

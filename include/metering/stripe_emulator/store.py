"""The emulator's state in one SQLite file."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from metering import statements
from metering.errors import BillingError

_STATEMENTS = statements.beside(__file__, "statements")
# What each version of the state file adds to the one before it.
_TABLES_SQL = (Path(__file__).with_name("state.sql"), Path(__file__).with_name("state_invoicing.sql"))
_VERSION = len(_TABLES_SQL)
_TABLES = (
    "setting",
    "customer",
    "meter",
    "meter_event",
    "meter_error",
    "saved_reply",
    "session",
    "object",
    "event",
    "delivery",
)


class Store:
    """Everything the emulator remembers.

    One process owns the file (an exclusive lock). Each POST is one transaction, committed before its reply leaves.
    A commit reaches the operating system but is not synced to the disk: it survives a killed process, not a power cut,
    which is what a stand-in needs and what makes a thousand events a second possible.
    """

    def __init__(self, file: Path) -> None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch(mode=0o600)
            file.chmod(0o600)  # also one that was made before; what SQLite puts beside it gets the same mode
            self._db = sqlite3.connect(file, isolation_level=None, timeout=0.5, cached_statements=256)
        except (sqlite3.Error, OSError) as error:
            raise _mendable(file, error) from error
        try:
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._open()
        except sqlite3.Error as error:
            self._db.close()
            raise _mendable(file, error) from error
        except BillingError:
            self._db.close()
            raise

    def _open(self) -> None:
        # An immediate transaction takes the lock now, so that a second emulator on the same file fails at its start.
        with self.transaction():
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if not 0 <= version <= _VERSION:
                raise BillingError(
                    f"The state file has version {version}, this emulator writes {_VERSION}.", "Give another --state."
                )
            for addition in _TABLES_SQL[version:]:
                for statement in addition.read_text().split(";\n"):
                    self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {_VERSION}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; on return the work is committed."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            # A full disk may have rolled back already.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def run(self, statement: str, /, **parameters: Any) -> None:
        """Run a named statement that returns nothing."""
        self._db.execute(_STATEMENTS[statement], parameters)

    def one(self, statement: str, /, **parameters: Any) -> sqlite3.Row | None:
        """The first row of a named statement."""
        row: sqlite3.Row | None = self._db.execute(_STATEMENTS[statement], parameters).fetchone()
        return row

    def all(self, statement: str, /, **parameters: Any) -> list[sqlite3.Row]:
        """Every row of a named statement."""
        return self._db.execute(_STATEMENTS[statement], parameters).fetchall()

    def setting(self, name: str) -> str | None:
        """A kept setting, or None."""
        row = self.one("setting", name=name)
        return None if row is None else str(row["value"])

    def set_setting(self, name: str, value: str) -> None:
        """Keep a setting across restarts."""
        self.run("set_setting", name=name, value=value)

    def clear(self) -> None:
        """Forget everything."""
        with self.transaction():
            for table in _TABLES:
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608 - names from the constant above

    def close(self) -> None:
        """Fold the write-ahead log into the file and let go of it."""
        self._db.close()


def _mendable(file: Path, error: Exception) -> BillingError:
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    if "locked" in text:
        return BillingError(f"Another emulator is using the state file {file}.", "Stop it or give another --state.")
    if "not a database" in text:
        return BillingError(f"{file} is not a state file of this emulator.", "Give another --state.")
    return BillingError(
        f"The state file {file} cannot be written ({text}).", "Give a --state in a folder you may write to."
    )

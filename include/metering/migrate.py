"""Ordered plain SQL migrations of the schemas that Python owns."""

from __future__ import annotations

import hashlib
from pathlib import Path

import psycopg

from metering.database import connect
from metering.errors import BillingError

MIGRATIONS = Path(__file__).with_name("migrations")
# Any two migrators of one database take turns.
_LOCK = 7000

_JOURNAL = """
CREATE SCHEMA IF NOT EXISTS billing_migrations;
CREATE TABLE IF NOT EXISTS billing_migrations.applied (
    name text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT clock_timestamp());
"""
_FOREIGN = """
SELECT count(*) AS tables FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND n.nspname NOT LIKE 'pg_toast%'
"""


def migrate(url: str) -> list[str]:
    """Bring the billing database at `url` up to date and return the names of the migrations applied now.

    Each migration is one transaction. Refuses, before writing anything, a database that holds tables and was not made
    by these migrations, and one whose applied migrations differ from the files here.
    """
    files = sorted(MIGRATIONS.glob("[0-9]*.sql"))
    with connect(url, application="billing-migrate") as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        made_here = connection.execute("SELECT to_regclass('billing_migrations.applied') AS journal").fetchone()
        if made_here is None or made_here["journal"] is None:
            foreign = connection.execute(_FOREIGN).fetchone()
            if foreign is not None and foreign["tables"]:
                name = connection.info.dbname
                raise BillingError(
                    f"The database {name!r} holds {foreign['tables']} tables that this product did not make.",
                    "Give DATABASE_URL an empty database of its own; nothing was changed.",
                )
            connection.execute(_JOURNAL)
        applied = {
            row["name"]: row["checksum"]
            for row in connection.execute("SELECT name, checksum FROM billing_migrations.applied").fetchall()
        }
        unknown = sorted(set(applied) - {file.stem for file in files})
        if unknown:
            raise BillingError(
                f"The database has the migration {unknown[-1]}, which this version of the product does not know.",
                "Use the newer version that made it.",
            )
        return [file.stem for file in files if _apply(connection, file, applied)]


def _apply(connection: psycopg.Connection[dict[str, object]], file: Path, applied: dict[str, object]) -> bool:
    """Apply one file unless it is applied already; True where it was applied now."""
    text = file.read_bytes()
    checksum = hashlib.sha256(text).hexdigest()
    if file.stem in applied:
        if applied[file.stem] != checksum:
            raise BillingError(
                f"The migration {file.stem} was changed after this database applied it.",
                "Restore the file; changes belong in a new migration.",
            )
        return False
    with connection.transaction():
        connection.execute(text)
        connection.execute(
            "INSERT INTO billing_migrations.applied (name, checksum) VALUES (%s, %s)", (file.stem, checksum)
        )
    return True

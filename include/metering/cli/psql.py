"""`./billing psql`"""

from __future__ import annotations

import os
from urllib.parse import unquote, urlsplit, urlunsplit

import typer

EXAMPLES = ["./billing psql", "./billing psql -c 'SELECT count(*) FROM landing.usage_events'"]
CONTEXT = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}


def psql(context: typer.Context) -> None:
    """Open psql on the billing database.

    It is PostgreSQL's own; all arguments are passed on to it.
    """
    from metering import settings
    from metering.errors import BillingError
    from metering.processes import postgres

    current = settings.load()
    if current.embedded_postgres and not postgres.running(current.postgres_data):
        raise BillingError("PostgreSQL does not run.", "Start it with `./billing up`.")
    url = urlsplit(current.database_url)
    # The password goes by the environment: every user of the machine can read a command line.
    password = {"PGPASSWORD": unquote(url.password)} if url.password else {}
    host = url.netloc.rpartition("@")[2]
    address = urlunsplit(url._replace(netloc=f"{url.username}@{host}" if url.username else host))
    program = str(postgres.binary("psql"))
    os.execve(program, [program, "-d", address, *context.args], {**os.environ, **password})

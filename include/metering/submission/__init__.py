"""Submission to Stripe, and reading back what Stripe has.

The entry points, in their order: `prepare`, `plan`, `submit`, `resolve`, and daily `reconcile`. Each starts from what
the database says and may be run again, twice at once, or after a crash at any point; each returns counts, and raises
`BillingError` for what a person must look at. Connections are autocommit, as `metering.database.connect` makes them.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import DictRow

from metering import settings as settings_module
from metering.settings import Settings
from metering.submission import (
    adoption,
    catalog_sync,
    client,
    error_reports,
    marks,
    planner,
    reconciler,
    resolver,
    sender,
)

Connection = psycopg.Connection[DictRow]


def _server(settings: Settings | None) -> client.Stripe:
    server = client.connect(settings or settings_module.load())
    server.preflight()
    return server


def _server_of(connection: Connection, settings: Settings | None) -> client.Stripe:
    """The same, where this database is not older than what Stripe has."""
    server = _server(settings)
    marks.require_current(connection, server)
    return server


def prepare(connection: Connection, settings: Settings | None = None) -> dict[str, int]:
    """Make the customers and meters that Stripe lacks: `customers` and `meters` made or found now."""
    return catalog_sync.sync(connection, _server(settings))


def plan(connection: Connection, settings: Settings | None = None) -> dict[str, Any]:
    """Turn marts.fct_stripe_usage into targets and submissions; counts as `planner.plan` gives them."""
    return planner.plan(connection, client.connect(settings or settings_module.load()).now(connection))


def preview(connection: Connection, settings: Settings | None = None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What planning would plan and nothing of it kept, as `planner.preview` gives it."""
    return planner.preview(connection, client.connect(settings or settings_module.load()).now(connection))


def submit(connection: Connection, settings: Settings | None = None, *, scheduled: bool = False) -> dict[str, int]:
    """Send what is due; counts as `sender.send` gives them.

    A `scheduled` run begins at any moment of the next BILLING_STRIPE_JITTER seconds, since full hours are when
    everybody asks Stripe.
    """
    if scheduled:
        client.start_apart(settings or settings_module.load())
    return sender.send(connection, _server_of(connection, settings))


def resolve(connection: Connection, settings: Settings | None = None) -> dict[str, Any]:
    """Read Stripe's reports, decide what is too old to send again, and confirm what Stripe's totals show.

    `reported` are the counts of `error_reports.take_up`, `undecided` those of `resolver.resolve_undecided`, `periods`
    those of `reconciler.confirm`.
    """
    server = _server_of(connection, settings)
    error_reports.fetch(connection, server)
    return {
        "reported": error_reports.take_up(connection, server),
        "undecided": resolver.resolve_undecided(connection, server),
        "periods": reconciler.confirm(connection, server),
    }


def reconcile(connection: Connection, settings: Settings | None = None) -> dict[str, Any]:
    """Compare every period that can still change with Stripe's total; counts as `reconciler.reconcile` gives them."""
    server = _server_of(connection, settings)
    error_reports.fetch(connection, server)
    error_reports.take_up(connection, server)
    resolver.resolve_undecided(connection, server)
    return reconciler.reconcile(connection, server)


def adopt(connection: Connection, settings: Settings | None = None, *, keep: bool) -> adoption.Adoption:
    """Take over what Stripe has, after this database was restored from an older backup: `adoption.adopt`."""
    return adoption.adopt(connection, _server(settings), keep=keep)


def replace_customer(connection: Connection, team_key: str, settings: Settings | None = None) -> tuple[str, int]:
    """Give a team another customer in place of a deleted one: `catalog_sync.replace_customer`."""
    return catalog_sync.replace_customer(connection, _server_of(connection, settings), team_key)

"""A database that was restored from an older backup sends nothing until it has adopted what Stripe has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from metering import submission
from metering.database import connect
from metering.errors import BillingError
from metering.submission import client, marks

from .conftest import NOON, Billing, Emulator


@contextmanager
def _restored(billing: Billing, url: str) -> Iterator[list[str]]:
    """Within, the database goes on; at the end it is what it was at the beginning."""
    name = urlsplit(url).path[1:]
    kept = f"{name}_kept"
    server = url.removesuffix(name) + "postgres"

    def copy(source: str, target: str) -> None:
        with psycopg.connect(server, autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(target)))
            admin.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(target), sql.Identifier(source))
            )

    billing.connection.close()
    copy(name, kept)
    try:
        billing.connection = connect(url)
        yield [kept]
        billing.connection.close()
        copy(kept, name)
    finally:
        with psycopg.connect(server, autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(kept)))
    billing.connection = connect(url)


@pytest.fixture
def restored_billing(billing: Billing) -> Iterator[Billing]:
    yield billing
    billing.connection.close()


def test_what_was_sent_after_the_backup_is_adopted_and_only_the_rest_is_sent(
    restored_billing: Billing, emulator: Emulator, database_url: str
) -> None:
    billing = restored_billing
    billing.teams(2)
    billing.use(1, "10", day=2)
    billing.use(2, "20", day=2)
    billing.all()
    billing.use(1, "12.5", day=2)
    billing.prepare()
    billing.plan()  # one is pending in the backup
    with _restored(billing, database_url):
        billing.submit()
        billing.use(1, "11", day=2)
        billing.use(1, "7", day=1)  # a window that the backup does not know
        billing.use(2, "3.25", day=1, meter=2)
        billing.all()
    # Two days later Stripe has forgotten the identifiers, and usage has come again, some of it otherwise.
    emulator.set_clock(NOON + timedelta(days=2))
    billing.use(1, "11", day=2)
    billing.use(1, "8", day=1)
    with pytest.raises(BillingError, match="older than what Stripe has"):
        billing.submit()
    with pytest.raises(BillingError, match="older than what Stripe has"):
        billing.reconcile()
    sent = emulator.events
    shown = submission.adopt(billing.connection, billing.settings, keep=False)
    assert not shown.kept and shown.unexplained == [] and shown.cancelled == 1
    assert [(row["team_key"], row["meter_key"], row["stripe_quantity"]) for row in shown.adopted] == [
        ("t1", "api_calls", 11),
        ("t1", "api_calls", 7),
        ("t2", "storage", 3.25),
    ]
    assert billing.states() == {"confirmed": 2, "pending": 1}
    assert submission.adopt(billing.connection, billing.settings, keep=True).adopted == shown.adopted
    assert emulator.events == sent
    with pytest.raises(BillingError, match="nothing to adopt"):
        submission.adopt(billing.connection, billing.settings, keep=True)
    billing.all()
    assert billing.at_stripe() == billing.targets()
    billing.connection.execute("DELETE FROM marts.fct_stripe_usage WHERE meter_id = 2")
    assert billing.reconcile()["equal"] == 3
    # The window whose sequence was used by the forgotten ledger too: the epoch keeps the names apart.
    named = billing.fetch("SELECT identifier FROM billing.stripe_submissions WHERE identifier ~ '-e[0-9]{1,9}-s'")
    assert len(named) == 2


def test_usage_in_no_window_is_named_and_not_adopted(
    restored_billing: Billing, emulator: Emulator, database_url: str
) -> None:
    billing = restored_billing
    billing.teams(1)
    billing.use(1, "10", day=1)
    billing.all()
    with _restored(billing, database_url):
        billing.use(1, "11", day=1)
        billing.all()
        customer = billing.fetch("SELECT stripe_customer_id AS id FROM billing.stripe_customers")[0]["id"]
        client.connect(billing.settings).api.v1.billing.meter_events.create(
            {
                "event_name": "billing_api_calls",
                "identifier": "foreign",
                "timestamp": int(NOON.timestamp()) - 7 * 3600,
                "payload": {"stripe_customer_id": customer, "value": "0.5"},
            }
        )
    billing.use(1, "11", day=1)
    with pytest.raises(BillingError, match="may not show it yet"):
        submission.adopt(billing.connection, billing.settings, keep=True)
    emulator.set_clock(NOON + timedelta(hours=2))
    adopted = submission.adopt(billing.connection, billing.settings, keep=True)
    assert [(row["ledger_quantity"], row["stripe_quantity"]) for row in adopted.adopted] == [(10, 11)]
    assert [(row["team_key"], row["quantity"]) for row in adopted.unexplained] == [("t1", 0.5)]
    with pytest.raises(BillingError, match="differs unexplained"):
        billing.reconcile()


def test_a_mark_that_somebody_deleted_is_made_again(billing: Billing, emulator: Emulator) -> None:
    billing.teams(1)
    billing.use(1, "10")
    billing.all()
    first = billing.fetch("SELECT mark, mark_customer_id AS id FROM billing.stripe_ledger")[0]
    server = client.connect(billing.settings)
    server.api.v1.customers.delete(first["id"])
    billing.use(1, "11")
    billing.all()
    second = billing.fetch("SELECT mark, mark_customer_id AS id FROM billing.stripe_ledger")[0]
    assert second["mark"] == first["mark"] + 1 and second["id"] != first["id"]
    found = marks.read(billing.connection, server)
    assert found is not None and found.mark == second["mark"]

"""What must be at Stripe before usage can be: a customer for each team with usage, a meter for each of our meters.

Found again by metadata (customers) or event name (meters), so that a lost database makes no second ones; made with an
idempotency key that comes from what is made, so that a lost reply doesn't either.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
import stripe
from psycopg.rows import DictRow

from metering import statements
from metering.database import one, rows
from metering.errors import BillingError
from metering.submission import planner
from metering.submission.client import Stripe, explained
from metering.submission.planner import require_mart

TEAM_METADATA = "billing_team"
_KEYS = 5
"""Idempotency keys that are tried for one thing in one run."""

Made = TypeVar("Made")

SQL = statements.beside(__file__, "catalog_sync")


def sync(connection: psycopg.Connection[DictRow], server: Stripe) -> dict[str, int]:
    """Make what is missing and note what is gone; running it again changes nothing.

    Returns `customers` and `meters` that were made or found now. A customer or meter that somebody deleted or
    deactivated is marked, and its windows are held until it is mended. Raises `BillingError` where the account is
    another than the one these records are about, or, after all others are done, where Stripe refused a customer.
    """
    require_mart(connection)
    connection.execute(SQL["take_turn"])
    try:
        meters = _sync_meters(connection, server)
        customers = _sync_customers(connection, server)
    except stripe.StripeError as error:
        raise explained(error) from error
    finally:
        connection.execute(SQL["end_turn"])
    return {"customers": customers, "meters": meters}


def event_name(meter_key: str) -> str:
    """The name of a meter's events at Stripe: `billing_` and the key, within Stripe's 100 characters."""
    name = "billing_" + re.sub(r"[^A-Za-z0-9_.-]", "_", meter_key)
    if len(name) <= 100 and name == f"billing_{meter_key}":
        return name
    # What had to be changed could have become the same as another meter's.
    return f"{name[:87]}_{hashlib.sha256(meter_key.encode()).hexdigest()[:12]}"


def _sync_meters(connection: psycopg.Connection[DictRow], server: Stripe) -> int:
    ours = rows(connection, SQL["meters"])
    theirs = list(server.api.v1.billing.meters.list({"limit": 100}).auto_paging_iter())
    ids = {meter.id for meter in theirs}
    strange = [meter["stripe_meter_id"] for meter in ours if meter["stripe_meter_id"] not in {None, *ids}]
    if strange:
        raise BillingError(
            f"Stripe does not know the meter {strange[0]} that this database submitted to: this is another account.",
            "Use the key (or emulator state) that this database was used with, or a new database for the new account.",
        )
    active = {meter.event_name: meter for meter in theirs if meter.status == "active"}
    missing = [meter for meter in ours if meter["stripe_meter_id"] is None]
    for meter in missing:
        name = event_name(meter["meter_key"])
        # A deactivated one may have usage that a restored database forgot: its windows are held, and no second is made.
        ours_once = next((meter for meter in theirs if meter.event_name == name and _fits(meter)), None)
        found = active.get(name) or ours_once or _make_meter(server, name, meter["meter_name"])
        if not _fits(found):
            raise BillingError(
                f"The meter {found.id} at Stripe has our event name {name} but does not sum `value` by customer.",
                "Deactivate it at Stripe, and run again: another will be made.",
            )
        connection.execute(
            SQL["keep_meter"], {"meter_id": meter["meter_id"], "stripe_meter_id": found.id, "event_name": name}
        )
        if found.status == "active":
            active[name] = found
    connection.execute(SQL["mark_meters"], {"active": [meter.id for meter in active.values()]})
    return len(missing)


def _fits(meter: stripe.billing.Meter) -> bool:
    """Whether a meter at Stripe adds up what we send to it."""
    return (
        meter.default_aggregation.formula == "sum"
        and meter.customer_mapping.event_payload_key == "stripe_customer_id"
        and meter.value_settings.event_payload_key == "value"
        and meter.event_time_window is None
    )


def _make_meter(server: Stripe, name: str, display_name: str) -> stripe.billing.Meter:
    wanted: dict[str, Any] = {
        "display_name": display_name[:250],
        "event_name": name,
        "default_aggregation": {"formula": "sum"},
        "customer_mapping": {"type": "by_id", "event_payload_key": "stripe_customer_id"},
        "value_settings": {"event_payload_key": "value"},
    }

    def of_that_name() -> list[stripe.billing.Meter]:
        listed = server.api.v1.billing.meters.list({"limit": 100}).auto_paging_iter()
        return [meter for meter in listed if meter.event_name == name]

    # The meters of that name are part of the key, lest a deactivated one be "made" again by a remembered reply.
    key = _key("meter", wanted, [meter.id for meter in of_that_name()])
    return _create(
        lambda attempt: server.api.v1.billing.meters.create(wanted, {"idempotency_key": f"{key}{attempt}"}),  # type: ignore[arg-type]  # the SDK wants its own TypedDict
        lambda: next((meter for meter in of_that_name() if meter.status == "active"), None),
    )


def _sync_customers(connection: psycopg.Connection[DictRow], server: Stripe) -> int:
    known = {row["stripe_customer_id"] for row in rows(connection, SQL["customers_known"])}
    missing = rows(connection, SQL["teams_without_customer"])
    if not known and not missing:
        return 0
    present: set[str] = set()
    by_team: dict[str, str] = {}
    for customer in server.api.v1.customers.list({"limit": 100}).auto_paging_iter():
        present.add(customer.id)
        team_key = _team_of(customer)
        # Lists run newest first; the oldest of a team's is the one that has its usage.
        if team_key is not None and customer.id not in known:
            by_team[team_key] = customer.id
    connection.execute(SQL["mark_customers"], {"present": sorted(present)})
    refused: list[str] = []
    for team in missing:
        try:
            customer_id = by_team.get(team["team_key"]) or _make_customer(server, team)
        except stripe.InvalidRequestError as error:
            refused.append(f"{team['team_key']} ({error.user_message})")
            continue
        connection.execute(SQL["keep_customer"], {"team_id": team["team_id"], "stripe_customer_id": customer_id})
    if refused:
        raise BillingError(
            f"Stripe refused a customer for {len(refused)} of the teams: {', '.join(refused[:3])}.",
            "All others were made; mend these teams and run again.",
        )
    return len(missing)


def replace_customer(connection: psycopg.Connection[DictRow], server: Stripe, team_key: str) -> tuple[str, int]:
    """Give a team another customer, since a deleted one never comes back; its id, and how many submissions start anew.

    What the deleted one was sent, for windows that no final invoice has billed, is planned again for the new one.
    Raises `BillingError` for a team without a customer, one whose customer is there, and while somebody sends.
    """
    sync(connection, server)
    found = rows(connection, SQL["customer_of"], team_key=team_key)
    if not found:
        raise BillingError(
            f"There is no team {team_key!r} with a customer at Stripe.", "See `./billing stripe status`."
        )
    if found[0]["missing_since"] is None:
        raise BillingError(
            f"The customer {found[0]['stripe_customer_id']} of {team_key} is at Stripe.",
            "Only a deleted one is replaced.",
        )
    with nobody_sends(connection):
        try:
            there = [customer.id for customer in _customers(server) if _team_of(customer) == team_key]
            new = there[-1] if there else _make_customer(server, found[0], found[0]["stripe_customer_id"])
        except stripe.StripeError as error:
            raise explained(error) from error
        return new, _replace(connection, found[0], new)


def find_replacements(connection: psycopg.Connection[DictRow], server: Stripe) -> int:
    """Take the customers of teams whose own was deleted that are at Stripe all the same; how many teams that was.

    A database that was restored may have forgotten that it made them, so what they have must be adopted afterwards.
    """
    missing = rows(connection, SQL["customers_missing"])
    by_team = {_team_of(customer): customer.id for customer in _customers(server)} if missing else {}
    found = [team for team in missing if team["team_key"] in by_team]
    for team in found:
        _replace(connection, team, by_team[team["team_key"]])
    return len(found)


def _replace(connection: psycopg.Connection[DictRow], team: dict[str, Any], new: str) -> int:
    about = {"team_id": team["team_id"], "stripe_customer_id": new}
    with connection.transaction():
        connection.execute(planner.SQL["take_turn"])
        connection.execute(SQL["replace_customer"], about)
        reason = f"Sent to {team['stripe_customer_id']}, which was deleted at Stripe."
        anew = connection.execute(SQL["forget_sent"], {**about, "reason": reason}).rowcount
        connection.execute(SQL["let_go"], about)
    return anew


@contextmanager
def nobody_sends(connection: psycopg.Connection[DictRow]) -> Iterator[None]:
    """Have the ledger for oneself; raises `BillingError` where somebody sends at this moment."""
    if not one(connection, SQL["stop_sending"])["is_mine"]:
        raise BillingError("A submission is running.", "Wait until it has ended, and run this again.")
    try:
        yield
    finally:
        if not connection.broken:
            connection.execute(SQL["resume_sending"])


def _team_of(customer: stripe.Customer) -> str | None:
    return customer.metadata.to_dict().get(TEAM_METADATA) if customer.metadata is not None else None


def _make_customer(server: Stripe, team: dict[str, Any], *instead_of: str) -> str:
    wanted: dict[str, Any] = {"name": team["team_name"][:256], "metadata": {TEAM_METADATA: team["team_key"]}}
    key = _key("customer", wanted, *instead_of)

    def found() -> str | None:
        there = [customer.id for customer in _customers(server) if _team_of(customer) == team["team_key"]]
        return next((customer_id for customer_id in reversed(there) if customer_id not in instead_of), None)

    return _create(
        lambda attempt: str(server.api.v1.customers.create(wanted, {"idempotency_key": f"{key}{attempt}"}).id),  # type: ignore[arg-type]  # the SDK wants its own TypedDict
        found,
    )


def _customers(server: Stripe) -> list[stripe.Customer]:
    """All that are not deleted, newest first."""
    return list(server.api.v1.customers.list({"limit": 100}).auto_paging_iter())


def _create(make: Callable[[str], Made], find: Callable[[], Made | None]) -> Made:
    """Make something, under another key where Stripe has stored a 5xx under the last and would repeat it for a day.

    `make` is given what to add to the key. Whether a request that was answered with 5xx had its effect is looked up.
    """
    for number in range(_KEYS):
        try:
            return make(f":k{number}" if number else "")
        except stripe.StripeError as error:
            if number == _KEYS - 1 or error.http_status is None or error.http_status < 500:
                raise
            found = find()
            if found is not None:
                return found
    raise AssertionError


def _key(kind: str, *of: Any) -> str:
    digest = hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()
    return f"mb1-{kind}-{digest[:40]}"

"""The ledger's mark at Stripe, which tells a database that was restored from an older backup.

Each claim moves the mark by one, in its own transaction, and the new mark is written at Stripe before anything of the
claim is sent. So a database whose mark is not below Stripe's knows of every request ever made; one whose mark is
below has forgotten some, and could send them again under other names. The mark is metadata of a customer of its own, on
whom nobody is billed: meters have no metadata, and nothing else is there from the first submission on.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import psycopg
import stripe
from psycopg.rows import DictRow

from metering import statements
from metering.database import one
from metering.errors import BillingError
from metering.submission.client import Stripe, explained

SQL = statements.beside(__file__, "marks")

MARK = "billing_ledger_mark"
MARKED_AT = "billing_ledger_marked_at"
NAME = "Mark of the billing ledger (not a customer)"
_TRIES = 8

T = TypeVar("T")


@dataclass(frozen=True)
class Mark:
    """What stands at Stripe: how many claims were made, and when the last was (UTC, by Stripe's side's clock)."""

    customer_id: str
    mark: int
    marked_at: datetime | None


@contextmanager
def turn(connection: psycopg.Connection[DictRow]) -> Iterator[None]:
    """One process at a time claims, or compares marks."""
    connection.execute(SQL["take_turn"])
    try:
        yield
    finally:
        if not connection.broken:
            connection.execute(SQL["end_turn"])


def require_current(connection: psycopg.Connection[DictRow], server: Stripe) -> None:
    """Raise `BillingError` where Stripe's mark is higher than ours: this database is older than what Stripe has."""
    with turn(connection):
        mine = one(connection, SQL["mine"])
        theirs = read(connection, server)
        if theirs is None or theirs.mark <= mine["mark"]:
            connection.execute(SQL["caught_up"])
            return
        connection.execute(SQL["fell_behind"])
    raise BillingError(
        f"This database is older than what Stripe has (its mark is {mine['mark']}, Stripe's {theirs.mark}): it was "
        "restored from a backup, or is another one. Nothing is sent.",
        "Look at `./billing stripe adopt`, which takes over what Stripe has; docs/submission.md says how.",
    )


def write(connection: psycopg.Connection[DictRow], server: Stripe, mark: int, now: datetime) -> None:
    """Write the mark at Stripe, in the turn in which it was moved; raises `BillingError` where that can't be done."""
    metadata = {MARK: str(mark), MARKED_AT: now.astimezone(UTC).isoformat(timespec="seconds")}
    known = one(connection, SQL["mine"])["mark_customer_id"]
    if known is not None:
        try:
            _patiently(server, lambda: server.api.v1.customers.update(known, {"metadata": metadata}))
            return
        except stripe.InvalidRequestError:
            pass  # somebody deleted it
        except stripe.StripeError as error:
            raise explained(error) from error
    try:
        customer_id = _patiently(server, lambda: _made_or_found(server))
        _patiently(server, lambda: server.api.v1.customers.update(customer_id, {"metadata": metadata}))
    except stripe.StripeError as error:
        raise explained(error) from error
    connection.execute(SQL["keep_customer"], {"customer_id": customer_id})


def read(connection: psycopg.Connection[DictRow], server: Stripe) -> Mark | None:
    """What stands at Stripe, or None where no mark was ever written there."""
    known = one(connection, SQL["mine"])["mark_customer_id"]
    try:
        if known is not None:
            customer = _patiently(server, lambda: server.api.v1.customers.retrieve(known))
            if not getattr(customer, "deleted", False):
                return _mark_of(customer)
    except stripe.InvalidRequestError:
        pass
    except stripe.StripeError as error:
        raise explained(error) from error
    found = _found(server)
    if found is not None:
        connection.execute(SQL["keep_customer"], {"customer_id": found.customer_id})
    return found


def _made_or_found(server: Stripe) -> str:
    """The customer that carries the mark: listed before each try, so that a lost reply doesn't make a second one."""
    found = _found(server)
    if found is not None:
        return found.customer_id
    return str(server.api.v1.customers.create({"name": NAME, "metadata": {MARK: "0"}}).id)


def _found(server: Stripe) -> Mark | None:
    """The mark among all customers: only a database that has none yet, or lost it, has to look for it so."""
    try:
        pages = _patiently(server, lambda: list(server.api.v1.customers.list({"limit": 100}).auto_paging_iter()))
    except stripe.StripeError as error:
        raise explained(error) from error
    marks = [mark for customer in pages if (mark := _mark_of(customer)) is not None]
    return max(marks, key=lambda mark: mark.mark, default=None)


def _mark_of(customer: stripe.Customer) -> Mark | None:
    metadata = customer.metadata.to_dict() if customer.metadata is not None else {}
    if not str(metadata.get(MARK, "")).isdecimal():
        return None
    marked_at = metadata.get(MARKED_AT)
    return Mark(str(customer.id), int(metadata[MARK]), datetime.fromisoformat(marked_at) if marked_at else None)


def _patiently(server: Stripe, ask: Callable[[], T]) -> T:
    """Ask until there is an answer: setting and reading a mark may be done any number of times."""
    for attempt in range(_TRIES):
        try:
            return ask()
        except (stripe.InvalidRequestError, stripe.AuthenticationError, stripe.PermissionError):
            raise
        except stripe.StripeError:
            if attempt == _TRIES - 1:
                raise
        time.sleep(server.backoff * min(2**attempt, 20) * (0.5 + random.random() / 2))  # noqa: S311 - spreads retries, keeps no secret
    raise AssertionError

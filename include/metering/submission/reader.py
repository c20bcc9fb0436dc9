"""Reading back: how much Stripe says it has, of one customer and meter in a span of time."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
import stripe
from psycopg.rows import DictRow

from metering.errors import BillingError
from metering.submission.client import Stripe, explained
from metering.submission.pace import Pace, reserve

_TRIES = 5
_CHUNK = 200


@dataclass(frozen=True)
class Span:
    """What to read: a customer's and meter's events stamped in [begin, end), both on whole minutes (UTC)."""

    customer_id: str
    meter_id: str
    begin: datetime
    end: datetime


def read(
    connection: psycopg.Connection[DictRow], server: Stripe, spans: Sequence[Span]
) -> list[Decimal | BillingError]:
    """Read the total of each span, several at a time within the shared rate, in the order of `spans`.

    One ungrouped total a span: grouped summaries come in pages of 10. A span that can't be read has the error in its
    place, so that it keeps nobody else from being read; a key that is not accepted, or a server that isn't there, is
    raised as `BillingError`.
    """
    return [
        found if isinstance(found, BillingError) else sum((value for _, value in found), Decimal(0))
        for found in _read(connection, server, spans, None)
    ]


def read_days(
    connection: psycopg.Connection[DictRow], server: Stripe, spans: Sequence[Span]
) -> list[dict[datetime, Decimal] | BillingError]:
    """The same by UTC day, for spans that begin and end at midnight: totals of days that have any, by their start."""
    return [
        found if isinstance(found, BillingError) else dict(found) for found in _read(connection, server, spans, "day")
    ]


_Found = list[tuple[datetime, Decimal]]


def _read(
    connection: psycopg.Connection[DictRow], server: Stripe, spans: Sequence[Span], grouping: str | None
) -> list[_Found | BillingError]:
    totals: list[_Found | BillingError] = []
    with ThreadPoolExecutor(server.workers, thread_name_prefix="stripe-read") as pool:
        for start in range(0, len(spans), _CHUNK):
            chunk = spans[start : start + _CHUNK]
            pace = reserve(connection, len(chunk), server.rate)
            totals.extend(pool.map(lambda span, pace=pace: _summaries(server, span, pace, grouping), chunk))
    return totals


def _summaries(server: Stripe, span: Span, pace: Pace, grouping: str | None) -> _Found | BillingError:
    failure: stripe.StripeError | None = None
    wanted: Any = {
        "customer": span.customer_id,
        "start_time": int(span.begin.timestamp()),
        "end_time": int(span.end.timestamp()),
        "limit": 100,
    }
    if grouping is not None:
        wanted["value_grouping_window"] = grouping
    for attempt in range(_TRIES):
        pace.wait()
        try:
            page = server.api.v1.billing.meters.event_summaries.list(span.meter_id, wanted)
            # The number is a double by now; its shortest decimal is the one that was written, up to 15 digits.
            return [
                (datetime.fromtimestamp(summary.start_time, UTC), Decimal(str(summary.aggregated_value)))
                for summary in page.auto_paging_iter()
            ]
        except (stripe.AuthenticationError, stripe.PermissionError) as error:
            raise explained(error) from error
        except stripe.StripeError as error:
            failure = error
            if error.http_status is not None and 400 <= error.http_status < 500 and error.http_status not in (409, 429):
                break
        time.sleep(0.2 * 2**attempt * (0.5 + random.random() / 2))  # noqa: S311 - spreads retries, keeps no secret
    if isinstance(failure, stripe.APIConnectionError):
        raise explained(failure) from failure
    assert failure is not None
    return explained(failure)

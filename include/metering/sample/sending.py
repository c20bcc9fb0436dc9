"""Send a sample as a product would: through the client library, over HTTP."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator

from metering.errors import BillingError
from metering.sample.events import Sample
from usage_client import Tally, UsageClient

REPORT_EVERY = 2000
BATCH_SIZE = 2000
CONNECTIONS = 2


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the client's warnings: the sample's mistakes are meant, and `send` says what was not delivered."""
    log = logging.getLogger("usage_client")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def send(url: str, api_key: str, sample: Sample, progress: Callable[[int], None] = lambda _: None) -> Tally:
    """Send a sample and return what became of its events; `progress` is told how many more were handed over.

    Raises `BillingError` where any could not be delivered. Sending the same events again counts nothing twice.
    """
    with (
        _quietly(),
        UsageClient(
            url, api_key, batch_size=BATCH_SIZE, connections=CONNECTIONS, wait_for_room=True, max_pending=20_000
        ) as client,
    ):
        then = sample.sent - sample.quarantined.get("conflict", 0) + 1
        count = 0
        for count, event in enumerate(sample.events, 1):
            if count == then:
                # What contradicts an event is sent when that one has landed, or nobody knows which of them stands.
                client.flush(timeout=600)
            client.track(
                event.event,
                event.quantity,
                team=event.team,
                unit=event.unit,
                time=event.time,
                subject=event.subject,
                properties=event.properties,
                idempotency_key=event.idempotency_key,
            )
            if count % REPORT_EVERY == 0:
                progress(REPORT_EVERY)
        progress(count % REPORT_EVERY)
        settled = client.flush(timeout=600)
        failed = client.failed_batches
        tally = client.tally
    if failed or tally.dropped or not settled:
        reason = failed[0].reason if failed else "it took too long"
        raise BillingError(
            f"{tally.tracked - tally.sent + tally.dropped} of {tally.tracked} events were not delivered: {reason}.",
            "Look at the log of the ingestion service, then send again: nothing counts twice.",
        )
    return tally

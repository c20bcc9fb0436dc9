"""Where the demo's usage comes from: the sample, or somebody's file. Each knows what its bills must come to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

import psycopg
from psycopg.rows import DictRow

from metering import sample
from metering import settings as settings_module
from metering.catalog import Catalog
from metering.demo.outcome import Delivery
from metering.errors import BillingError
from metering.ingestion.keys import create_api_key, revoke_api_key
from metering.sample.events import Sample
from metering.sample.expected import ExpectedBill
from metering.sample.sending import send
from metering.settings import Settings

SAMPLE_NOW = "BILLING_SAMPLE_NOW"

Progress = Callable[[int], None]


class Source(Protocol):
    """Usage to bill."""

    title: str
    catalog: Catalog

    def size(self) -> int:
        """How many events there are, made ready; may take seconds."""

    def deliver(self, settings: Settings, connection: psycopg.Connection[DictRow], progress: Progress) -> Delivery:
        """Bring all events into the system, told of to `progress`, and say what became of them."""

    def expected(self, until: datetime) -> list[ExpectedBill]:
        """What each bill of the periods that have begun by `until` must come to."""


class SampleSource:
    """The generated sample, sent through the client library over HTTP.

    The hour up to which it goes is kept with the installation, so that another demo there sends the same events.
    """

    def __init__(self, settings: Settings) -> None:
        stored = settings.get(SAMPLE_NOW)
        if stored:
            self.now = _moment(stored)
        else:
            self.now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        self.title = f"the sample, up to {self.now:%Y-%m-%d %H:%M} UTC"
        self.catalog = sample.catalog(self.now)
        self._sample: Sample | None = None

    @property
    def sample(self) -> Sample:
        """The events, made once."""
        if self._sample is None:
            self._sample = sample.make_sample(self.now)
        return self._sample

    def size(self) -> int:
        return self.sample.sent

    def deliver(self, settings: Settings, connection: psycopg.Connection[DictRow], progress: Progress) -> Delivery:
        settings = settings_module.remember(settings, **{SAMPLE_NOW: f"{self.now:%Y-%m-%dT%H:%M:%SZ}"})
        sample.dump(self.now, settings.home / "sample_catalog.yaml")
        key = create_api_key(connection)
        try:
            tally = send(settings.ingestion_url, key, self.sample, progress)
        finally:
            revoke_api_key(connection, key)
        delivery = Delivery(tally.tracked, tally.accepted, tally.duplicate, tally.quarantined + tally.refused)
        wrong = sum(self.sample.quarantined.values())
        # Sent for the first time, what was planned; sent again, all of it is known.
        if delivery.quarantined != wrong or delivery.landed not in (0, self.sample.landed):
            raise BillingError(
                f"Of {delivery.sent} events {delivery.landed} landed, {delivery.duplicate} are duplicates and "
                f"{delivery.quarantined} are in quarantine; planned were {self.sample.landed}, {self.sample.duplicate} "
                f"and {wrong}.",
                "An earlier demo may have been interrupted: run it again. Else it is our mistake.",
            )
        return delivery

    def expected(self, until: datetime) -> list[ExpectedBill]:
        return sample.bills_of_plan(self.sample.plan, until)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = datetime.min
    if moment.tzinfo is None or (moment.minute, moment.second, moment.microsecond) != (0, 0, 0):
        raise BillingError(f"{SAMPLE_NOW}={text!r} is not a whole hour.", "Give one such as 2026-11-22T08:00:00Z.")
    return moment.astimezone(UTC)

"""A Stripe test account in the emulator's place, for what can be tried there."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import stripe

KEY_VARIABLE = "STRIPE_TEST_KEY"
# Another address than Stripe's, to try these tests themselves: an emulator's, with any test key.
ADDRESS_VARIABLE = "STRIPE_TEST_ADDRESS"
# Stripe's summaries are eventually consistent.
_SETTLE_SECONDS = 60


class LiveAccount:
    """What tests use of an emulator, against Stripe itself. What Stripe lets nobody order skips the test."""

    is_stripe = True

    def __init__(self) -> None:
        key = os.environ.get(KEY_VARIABLE)
        if not key:
            pytest.skip(f"{KEY_VARIABLE} is not set: not run against a Stripe test account")
        if not key.startswith(("sk_test_", "rk_test_")):
            pytest.fail(f"{KEY_VARIABLE} must hold a test key: these tests make customers and usage")
        self._key = key
        self._address = os.environ.get(ADDRESS_VARIABLE)
        self._undo: list[Callable[[], Any]] = []

    @property
    def http(self) -> Any:
        pytest.skip("sends what only the emulator is asked directly")

    def client(self, key: str | None = None, *, retries: int = 0, read_timeout: float = 30) -> stripe.StripeClient:
        """The official client for the account."""
        if key is not None:
            pytest.skip("needs keys that only the emulator takes")
        addresses: Any = {"api": self._address, "meter_events": self._address} if self._address else {}
        return stripe.StripeClient(
            self._key,
            max_network_retries=retries,
            http_client=stripe.RequestsClient(timeout=(3.05, read_timeout)),
            base_addresses=addresses,
        )

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        pytest.skip("needs the emulator's settings or clock")

    def clock(self, now: int) -> None:
        pytest.skip("needs a clock that can be moved")

    def fault(self, kind: str, **details: Any) -> None:
        pytest.skip("needs faults that can be ordered")

    def made(self, undo: Callable[[], Any]) -> None:
        """Remember how to take away what a test has made."""
        self._undo.append(undo)

    def settle(self) -> None:
        """Wait until what was sent can be read."""
        if self._address is None:
            time.sleep(_SETTLE_SECONDS)

    def clean(self) -> None:
        """Take away what the test has made."""
        for undo in reversed(self._undo):
            # What the test itself has taken away is gone.
            with suppress(stripe.InvalidRequestError):
                undo()

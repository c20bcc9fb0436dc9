"""A real emulator process for these tests, driven by Stripe's own SDK."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import stripe

from .live_account import LiveAccount

INCLUDE = Path(__file__).parents[3] / "include"
KEY = "sk_test_suite"


class Emulator:
    """A started emulator and the clients that talk to it."""

    is_stripe = False

    def __init__(self, state: Path, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "metering.stripe_emulator", "--port", "0", "--state", str(state), *options],
            env={**os.environ, "PYTHONPATH": str(INCLUDE)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().split()[3].rstrip(",")
        self.http = httpx.Client(base_url=self.address, timeout=10)
        self._transports: list[stripe.RequestsClient] = []

    def client(self, key: str = KEY, *, retries: int = 0, read_timeout: float = 10) -> stripe.StripeClient:
        """The official client, without retries unless asked for."""
        transport = stripe.RequestsClient(timeout=(3.05, read_timeout))
        self._transports.append(transport)
        return stripe.StripeClient(
            key,
            max_network_retries=retries,
            http_client=transport,
            base_addresses={"api": self.address, "meter_events": self.address},
        )

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        """One of the emulator's own routes."""
        reply = self.http.request(method, f"/emulator/{path}", json=body)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def clock(self, now: int) -> None:
        """Put the emulator's clock at a moment, in Unix seconds."""
        self.admin("POST", "clock", {"now": now})

    def fault(self, kind: str, **details: Any) -> None:
        """Order a fault for the next meter event."""
        self.admin("POST", "faults", {"kind": kind, **details})

    def made(self, undo: Callable[[], Any]) -> None:
        """Nothing has to be taken away: each test begins with an empty emulator."""

    def settle(self) -> None:
        """What was sent can be read at once."""

    def close_clients(self) -> None:
        for transport in self._transports:
            transport.close()
        self._transports.clear()

    def stop(self) -> int:
        """Stop the process and return its exit code."""
        self.close_clients()
        self.http.close()
        self.process.terminate()
        code = self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


class Account:
    """A customer and a meter, and the two things one does with them: send usage, and read it back."""

    # Mid-window, on 15 January 2026 UTC: nothing here depends on when the tests run.
    now = 1_768_478_400 + 1_830
    hour = 1_768_478_400

    def __init__(self, emulator: Emulator | LiveAccount, event_name: str = "tokens", **meter: Any) -> None:
        self.emulator = emulator
        self.client = emulator.client()
        # A Stripe account remembers earlier runs, and has the real time.
        self._mark = f"{secrets.token_hex(6)}-" if emulator.is_stripe else ""
        if emulator.is_stripe:
            self.now = int(time.time()) - 120
            self.hour = self.now // 3600 * 3600
        self.event_name = self.named(event_name)
        event_name = self.event_name
        self.customer = self.client.v1.customers.create({"name": "Acme"}).id
        self.meter = self.client.v1.billing.meters.create(
            {
                "display_name": event_name,
                "event_name": event_name,
                "default_aggregation": {"formula": "sum"},
                **meter,
            }
        ).id
        emulator.made(lambda: self.client.v1.customers.delete(self.customer))
        emulator.made(lambda: self.client.v1.billing.meters.deactivate(self.meter))

    def named(self, text: str) -> str:
        """A name that no other run has used."""
        return f"{self._mark}{text}"

    @property
    def now_text(self) -> str:
        """Now, as v2 takes it."""
        return datetime.fromtimestamp(self.now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def event(self, value: str, identifier: str, at: int | None = None, customer: str | None = None) -> Any:
        return {
            "event_name": self.event_name,
            "identifier": self.named(identifier),
            "timestamp": self.now if at is None else at,
            "payload": {"stripe_customer_id": customer or self.customer, "value": value},
        }

    def send(
        self, value: str, identifier: str, *, key: str | None = None, at: int | None = None, customer: str | None = None
    ) -> stripe.billing.MeterEvent:
        """One v1 meter event."""
        options: Any = {} if key is None else {"idempotency_key": self.named(key)}
        return self.client.v1.billing.meter_events.create(self.event(value, identifier, at, customer), options)

    def summaries(self, **parameters: Any) -> stripe.ListObject[stripe.billing.MeterEventSummary]:
        self.emulator.settle()
        wanted: Any = {
            "customer": self.customer,
            "start_time": self.hour - 40 * 86_400,
            "end_time": self.hour + 40 * 86_400,
            **parameters,
        }
        return self.client.v1.billing.meters.event_summaries.list(self.meter, wanted)

    def total(self) -> Decimal:
        """What the meter has for the customer, over all time; zero when there is no summary."""
        return sum((Decimal(str(summary.aggregated_value)) for summary in self.summaries().data), Decimal(0))


@pytest.fixture(scope="session")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    emulator = Emulator(tmp_path_factory.mktemp("stripe") / "state.sqlite", "--allow-reset")
    yield emulator
    assert emulator.stop() == 0


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test of an assumption also runs against a Stripe test account, where there is a key for one."""
    if "emulator" in metafunc.fixturenames and re.match(r"test_a\d\d_", metafunc.function.__name__):
        metafunc.parametrize("emulator", ["emulator", "stripe"], indirect=True, ids=["in_emulator", "at_stripe"])


@pytest.fixture
def emulator(request: pytest.FixtureRequest) -> Iterator[Emulator | LiveAccount]:
    """An empty emulator, which must not have answered one shape that is not Stripe's; or a Stripe test account."""
    if getattr(request, "param", "emulator") == "stripe":
        account = LiveAccount()
        yield account
        account.clean()
        return
    process: Emulator = request.getfixturevalue("process")
    process.admin("POST", "reset")
    process.clock(Account.now)
    yield process
    process.close_clients()
    assert process.admin("GET", "health")["ok"]


@pytest.fixture
def account(emulator: Emulator) -> Account:
    return Account(emulator)


@pytest.fixture
def refusal() -> Callable[..., stripe.StripeError]:
    """Call something that Stripe refuses, and hand over the refusal."""

    def refused(call: Callable[..., Any], *arguments: Any, **named: Any) -> stripe.StripeError:
        with pytest.raises(stripe.StripeError) as caught:
            call(*arguments, **named)
        return caught.value

    return refused

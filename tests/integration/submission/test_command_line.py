"""`./billing stripe` shows, sends and explains."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from metering.cli import stripe

from .conftest import Billing


@pytest.fixture
def run(billing: Billing, database_url: str, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("BILLING_STRIPE_URL", billing.emulator.url)
    monkeypatch.setenv("BILLING_HOME", str(billing.settings.home))
    monkeypatch.delenv("STRIPE_API_KEY", raising=False)

    def command(*arguments: str) -> str:
        result = CliRunner().invoke(stripe.app, list(arguments), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return command


def test_plan_shows_submit_sends_and_status_tells(billing: Billing, run) -> None:  # type: ignore[no-untyped-def]
    assert "Nothing was submitted yet" in run("status")
    billing.teams(2)
    billing.use(1, "10.5")
    billing.use(1, "1.25", day=1)
    billing.use(2, "-3")
    shown = run("plan")
    assert "11.75" in shown and "2 submissions planned, 1 held" in shown
    assert billing.emulator.events == 0
    assert "2 accepted, 0 refused" in run("submit")
    assert "0 accepted" in run("submit")
    found = json.loads(run("status", "--json"))
    assert found["by_state"] == [{"state": "confirmed", "submissions": 2, "quantity": "11.75"}]
    assert found["held"][0]["held_code"] == "negative"
    assert "confirmed" in run("status")
    assert "0 windows of t2" in run("release", "t2")


def test_every_command_has_help_with_an_example(run) -> None:  # type: ignore[no-untyped-def]
    for arguments in ([], ["plan"], ["submit"], ["status"], ["release"], ["adopt"], ["replace"]):
        assert "./billing stripe" in run(*arguments, "--help")

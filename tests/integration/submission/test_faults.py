"""A short form of `./billing bench faults`: a few seeds, some boundaries, and a control that fails."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from metering.bench import stripe_faults
from metering.bench.emulator import Emulator
from metering.bench.stripe_faults import LIMIT, Outcome, Rig
from metering.bench.stripe_trials import Part, Report

from .conftest import ROOT


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    home = tmp_path_factory.mktemp("faults")
    with Emulator(home, {**os.environ, "PYTHONPATH": str(ROOT / "include")}) as emulator:
        yield emulator


@pytest.fixture
def rig(running: Emulator, database_url: str, tmp_path: Path) -> Iterator[Rig]:
    made = Rig(database_url, tmp_path, running)
    yield made
    made.end()


@pytest.mark.parametrize("seed", [3, 28])
def test_in_the_end_every_window_equals_its_target(rig: Rig, seed: int) -> None:
    outcome = stripe_faults.Trial(rig, seed).run()
    assert outcome.is_right, outcome
    assert outcome.tally["faults"] > 0


def test_a_worker_killed_at_any_boundary_leaves_nothing_twice_and_nothing_out(rig: Rig) -> None:
    outcomes = stripe_faults.kill_everywhere(rig, lambda _: None, every=24)
    assert [outcome for outcome in outcomes if not outcome.is_right] == []
    assert sum(outcome.tally["kills"] for outcome in outcomes) >= 6


def test_without_identifiers_it_goes_wrong(rig: Rig) -> None:
    rig.identifiers = False
    truth = {rig.windows[0]: Decimal("3.5")}
    rig.begin()
    rig.fill_mart(truth)
    rig.emulator.post("faults", {"kind": "error_500_after", "match": {"path": "/v1/billing/meter_events"}})
    rig.worker().wait(LIMIT)
    assert rig.wrong(truth)[0] == 1


def test_a_report_proves_only_what_its_control_fails() -> None:
    right, wrong = (Outcome(7, 3, mismatched, 0, 1, 1.0, Counter()) for mismatched in (0, 2))
    assert Report(7, [Part("seed", [right])], Part("control", [wrong])).is_proved
    assert not Report(7, [Part("seed", [right])], Part("control", [right])).is_proved
    assert not Report(7, [Part("seed", [right, wrong])], Part("control", [wrong])).is_proved

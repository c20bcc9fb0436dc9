"""The demo's verdict: right only if every bill and every step is."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from metering.demo.outcome import ComparedBill, Delivery, Outcome, writable, write
from metering.errors import BillingError


def _outcome(actual: str | None = "1.50", difference: str = "0") -> Outcome:
    return Outcome(
        events=Delivery(4, 2, 1, 1),
        bills=[ComparedBill("a", "2026-10", "USD", Decimal("1.50"), Decimal(actual) if actual else None)],
        submissions={"sent": 3, "confirmed": 3, "sent_in_all": 3, "confirmed_in_all": 3},
        reconciliation={"landed_minus_metered": difference},
        stages=[("total", 1.234)],
        addresses={"airflow": "http://127.0.0.1:8080"},
    )


def test_the_summary_holds_money_as_text(tmp_path: Path) -> None:
    write(_outcome(), tmp_path / "out.json")
    said = json.loads((tmp_path / "out.json").read_text())
    assert said["events"] == {"sent": 4, "landed": 2, "duplicate": 1, "quarantined": 1}
    assert said["bills"] == [
        {"team": "a", "period": "2026-10", "currency": "USD", "expected": "1.50", "actual": "1.50", "equal": True}
    ]
    assert said["reconciliation"] == {"landed_minus_metered": "0"}
    assert said["stages"] == [{"stage": "total", "seconds": 1.23}]


def test_all_right_is_right() -> None:
    _outcome().require_right()


@pytest.mark.parametrize("actual", ["1.51", "1.49", None])
def test_a_bill_that_is_a_cent_off_or_missing_fails_the_demo(actual: str | None) -> None:
    with pytest.raises(BillingError, match="1 of 1 bills are not what was expected; the first is a 2026-10"):
        _outcome(actual).require_right()


def test_a_difference_at_any_step_fails_the_demo() -> None:
    with pytest.raises(BillingError, match=r"landed_minus_metered is 0\.000001"):
        _outcome(difference="0.000001").require_right()


def test_a_summary_that_cannot_be_written_is_found_out_before_the_demo_begins(tmp_path: Path) -> None:
    with pytest.raises(BillingError, match="can't be written"):
        writable(tmp_path / "none" / "out.json")
    writable(tmp_path / "out.json")

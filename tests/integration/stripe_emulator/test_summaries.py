"""Assumptions 18 to 24, 33 and 34: what can be read back."""

from __future__ import annotations

from decimal import Decimal

import pytest

from .conftest import Account

HOUR = 3600
DAY = 86_400


@pytest.mark.parametrize(("grouping", "size"), [(None, 60), ("hour", HOUR), ("day", DAY)])
def test_a18_spans_are_aligned(account, refusal, grouping: str | None, size: int) -> None:
    account.send("1", "e1")
    midnight = account.hour // DAY * DAY
    grouped = {} if grouping is None else {"value_grouping_window": grouping}
    assert account.summaries(start_time=midnight, end_time=midnight + DAY, **grouped).data
    for name in ("start_time", "end_time"):
        span = {"start_time": midnight, "end_time": midnight + 2 * DAY}
        span[name] += size // 2
        error = refusal(account.summaries, **span, **grouped)
        assert (error.http_status, error.param) == (400, name)


def test_a19_the_start_is_inside_and_the_end_is_not(account) -> None:
    account.send("1", "on the start", at=account.hour)
    account.send("2", "on the end", at=account.hour + 60)
    (summary,) = account.summaries(start_time=account.hour, end_time=account.hour + 60).data
    assert summary.aggregated_value == 1
    assert (summary.start_time, summary.end_time, summary.meter) == (account.hour, account.hour + 60, account.meter)


def test_a20_a_span_without_events_has_no_summary_and_the_newest_comes_first(account) -> None:
    assert account.summaries().data == []
    account.send("1", "e1", at=account.hour - 5 * HOUR)
    account.send("2", "e2", at=account.hour - HOUR)
    found = account.summaries(value_grouping_window="hour", start_time=account.hour - DAY, end_time=account.hour).data
    assert [(one.start_time, one.aggregated_value) for one in found] == [
        (account.hour - HOUR, 2),
        (account.hour - 5 * HOUR, 1),
    ]


def test_a21_a_list_shows_ten_unless_asked_for_more(account, refusal) -> None:
    for number in range(25):
        account.send("1", f"e{number}", at=account.hour - number * HOUR)
    span = {
        "value_grouping_window": "hour",
        "start_time": account.hour - 2 * DAY,
        "end_time": account.hour + HOUR,
    }
    first = account.summaries(**span)
    assert (len(first.data), first.has_more) == (10, True)
    assert len(list(first.auto_paging_iter())) == 25
    second = account.summaries(**span, starting_after=first.data[-1].id, limit=3)
    assert [one.start_time for one in second.data] == [account.hour - number * HOUR for number in (10, 11, 12)]
    before = account.summaries(**span, ending_before=second.data[0].id, limit=2)
    assert [one.start_time for one in before.data] == [account.hour - number * HOUR for number in (8, 9)]
    assert len(account.summaries(**span, limit=100).data) == 25
    assert refusal(account.summaries, **span, limit=101).param == "limit"


def test_a22_a_summary_lags_behind(account) -> None:
    account.emulator.admin("POST", "settings", {"summary_lag_seconds": 900})
    account.send("25", "e1")
    assert account.total() == 0
    account.emulator.clock(account.now + 901)
    assert account.total() == 25


@pytest.mark.parametrize("value", ["123456789012345", "0.123456789012345", "-98765.4321", "0.1", "1000000", "0"])
def test_a23_a_value_is_a_json_number_exact_to_15_digits(account, value: str) -> None:
    account.send(value, "e1")
    assert Decimal(str(account.summaries().data[0].aggregated_value)) == Decimal(value)
    assert f'"aggregated_value":{value},' in account.summaries().last_response.body


def test_a24_a_negative_total_is_shown_as_it_is(account) -> None:
    account.send("10", "e1")
    account.send("-25.5", "e2")
    assert account.total() == Decimal("-15.5")


def test_a33_a_pre_aggregated_meter_keeps_what_it_received_last_in_each_window(emulator) -> None:
    account = Account(emulator, "hourly", event_time_window="hour")
    account.send("10", "e1")
    account.send("12", "e2", at=account.now + 60)
    account.send("11", "e3", at=account.now - 60)
    account.send("5", "e4", at=account.hour - 60)
    assert account.total() == 16


@pytest.mark.parametrize(("formula", "result"), [("count", 3), ("last", 7), ("sum", 30)])
def test_a34_formulas(emulator, formula: str, result: int) -> None:
    account = Account(emulator, "formula", default_aggregation={"formula": formula})
    account.send("3", "e1", at=account.now - 60)
    account.send("7", "e2", at=account.now)
    account.send("20", "e3", at=account.now - 30)
    assert account.total() == result

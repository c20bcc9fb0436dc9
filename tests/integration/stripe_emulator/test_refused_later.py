"""Assumptions 28 to 32: what Stripe accepts first and refuses afterwards."""

from __future__ import annotations

import pytest

NAMES = {
    "archived_meter": "v1.billing.meter.error_report_triggered",
    "meter_event_customer_not_found": "v1.billing.meter.error_report_triggered",
    "no_meter": "v1.billing.meter.no_meter_found",
}


def reports(account) -> list:
    """The thin events, after Stripe has had its time to validate."""
    account.emulator.clock(account.emulator.admin("GET", "clock")["now"] + 20)
    return account.client.v2.core.events.list().data


def the_error(account, code: str, key: str) -> None:
    (report,) = reports(account)
    assert report.type == NAMES[code]
    fetched = account.client.v2.core.events.retrieve(report.id)
    (kind,) = fetched.data.reason.error_types
    assert (kind.code, kind.error_count) == (code, 1)
    assert kind.sample_errors[0].request.identifier == key
    if code != "no_meter":
        assert fetched.related_object.id == account.meter
        assert fetched.fetch_related_object().id == account.meter


def test_a28_an_archived_meter_is_found_later_by_v1_and_at_once_by_v2(account, refusal) -> None:
    account.client.v1.billing.meters.deactivate(account.meter)
    account.send("25", "e1", key="k1")
    v2 = account.event("25", "e2") | {"timestamp": account.now_text}
    assert refusal(account.client.v2.billing.meter_events.create, v2).code == "archived_meter"
    the_error(account, "archived_meter", "k1")
    account.client.v1.billing.meters.reactivate(account.meter)
    assert account.total() == 0
    account.send("25", "e3")
    assert account.total() == 25


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a29_a_deleted_customer_is_found_later(account, version: str) -> None:
    account.send("1", "before")
    account.client.v1.customers.delete(account.customer)
    if version == "v1":
        account.send("25", "e1", key="k1")
    else:
        v2 = account.event("25", "e1") | {"timestamp": account.now_text}
        account.client.v2.billing.meter_events.create(v2, {"idempotency_key": "k1"})
    the_error(account, "meter_event_customer_not_found", "k1")
    assert account.total() == 1


def test_a30_an_unknown_event_name_is_found_later_by_v1_and_at_once_by_v2(account, refusal) -> None:
    unknown = account.event("25", "e1") | {"event_name": "unknown"}
    account.client.v1.billing.meter_events.create(unknown, {"idempotency_key": "k1"})
    v2 = unknown | {"identifier": "e2", "timestamp": account.now_text}
    assert refusal(account.client.v2.billing.meter_events.create, v2).code == "no_meter"
    the_error(account, "no_meter", "k1")


def test_v1_can_be_set_to_find_these_at_once(account, refusal) -> None:
    account.emulator.admin("POST", "settings", {"v1_meter_errors": "synchronous"})
    assert refusal(account.send, "25", "e1", customer="cus_unknown").http_status == 400
    assert reports(account) == []


def test_a31_reports_gather_ten_seconds_and_show_samples_only(account) -> None:
    account.client.v1.customers.delete(account.customer)
    account.emulator.clock(account.hour)
    for number in range(7):
        account.send("1", f"e{number}", at=account.hour)
    assert account.client.v2.core.events.list().data == []
    (report,) = reports(account)
    (kind,) = report.data.reason.error_types
    assert (kind.error_count, len(kind.sample_errors)) == (7, 5)
    assert report.data.validation_start == "2026-01-15T12:00:00.000Z"
    assert report.data.validation_end == "2026-01-15T12:00:10.000Z"


def test_a31_reports_come_in_pages_and_by_type(account) -> None:
    account.client.v1.customers.delete(account.customer)
    for number in range(12):
        account.emulator.clock(account.now + 20 * number)
        account.send("1", f"e{number}")
    account.emulator.clock(account.now + 20 * 12)
    events = account.client.v2.core.events
    first = events.list({"types": ["v1.billing.meter.error_report_triggered"], "object_id": account.meter})
    assert len(first.data) == 10
    assert len({event.id for event in first.auto_paging_iter()}) == 12
    assert events.list({"types": ["v1.billing.meter.no_meter_found"]}).data == []
    recent = events.list({"created": {"gte": first.data[2].created}})
    assert [event.id for event in recent.data] == [event.id for event in first.data[:3]]


def test_a32_a_stream_answers_first_and_validates_later(account, refusal) -> None:
    session = account.client.v2.billing.meter_event_session.create()
    stream = account.emulator.client(session.authentication_token).v2.billing.meter_event_stream
    good = account.event("25", "e1") | {"timestamp": account.now_text}
    stream.create({"events": [good, good, good | {"identifier": "e2", "payload": {"value": "1"}}]})
    assert account.total() == 25
    (report,) = reports(account)
    assert report.data.reason.error_types[0].code == "meter_event_no_customer_defined"
    assert "100" in str(refusal(stream.create, {"events": [good] * 101}))
    account.emulator.clock(account.now + 16 * 60)
    error = refusal(stream.create, {"events": [good]})
    assert type(error).__name__ == "TemporarySessionExpiredError"
    assert error.code == "billing_meter_event_session_expired"

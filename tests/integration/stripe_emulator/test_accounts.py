"""Assumptions 21, 27, 35 to 37: customers, meters, keys and cancellations."""

from __future__ import annotations

import pytest
import stripe


def test_a21_customers_and_meters_come_ten_at_a_time(emulator) -> None:
    client = emulator.client()
    made = [
        client.v1.customers.create({"name": str(number), "metadata": {"team": f"t{number}"}}) for number in range(12)
    ]
    first = client.v1.customers.list()
    assert [one.id for one in first.data] == [one.id for one in made[:1:-1]]
    assert first.has_more
    assert {one.metadata["team"] for one in first.auto_paging_iter()} == {f"t{number}" for number in range(12)}
    for number in range(11):
        client.v1.billing.meters.create(
            {"display_name": "m", "event_name": f"m{number}", "default_aggregation": {"formula": "sum"}}
        )
    assert len(client.v1.billing.meters.list().data) == 10
    assert len(list(client.v1.billing.meters.list({"status": "active"}).auto_paging_iter())) == 11


def test_a27_an_event_can_be_cancelled_for_24_hours(account, refusal) -> None:
    account.send("10", "e1")
    account.send("5", "e2")
    cancel = account.client.v1.billing.meter_event_adjustments.create
    done = cancel({"event_name": account.event_name, "type": "cancel", "cancel": {"identifier": account.named("e1")}})
    assert done.status == "pending"
    assert account.total() == 5
    for identifier in (account.named("e1"), "unknown"):
        wanted = {"event_name": account.event_name, "type": "cancel", "cancel": {"identifier": identifier}}
        assert refusal(cancel, wanted).http_status == 400
        v2 = refusal(account.client.v2.billing.meter_event_adjustments.create, wanted)
        assert v2.code == "invalid_cancel_configuration"
    account.emulator.clock(account.now + 24 * 3600 + 60)
    late = {"event_name": account.event_name, "type": "cancel", "cancel": {"identifier": account.named("e2")}}
    assert "24 hours" in str(refusal(cancel, late))
    assert account.total() == 5


def test_a27_v2_cancels_too(account) -> None:
    account.send("10", "e1")
    done = account.client.v2.billing.meter_event_adjustments.create(
        {"event_name": account.event_name, "type": "cancel", "cancel": {"identifier": account.named("e1")}}
    )
    assert done.cancel.identifier == account.named("e1")
    assert account.total() == 0


def test_a35_one_active_meter_for_an_event_name(account, refusal) -> None:
    wanted = {"display_name": "again", "event_name": account.event_name, "default_aggregation": {"formula": "sum"}}
    meters = account.client.v1.billing.meters
    assert refusal(meters.create, wanted).http_status == 400
    closed = meters.deactivate(account.meter)
    assert closed.status == "inactive"
    assert closed.status_transitions.deactivated_at is not None
    second = meters.create(wanted)
    assert refusal(meters.reactivate, account.meter).http_status == 400
    account.send("3", "e1")
    summaries = meters.event_summaries.list(
        second.id, {"customer": account.customer, "start_time": account.hour, "end_time": account.hour + 3600}
    )
    assert [one.aggregated_value for one in summaries.data] == [3]
    assert meters.update(second.id, {"display_name": "Tokens"}).display_name == "Tokens"
    assert refusal(meters.retrieve, "mtr_unknown").http_status == 404


def test_a36_a_deleted_customer_leaves_a_stub_and_its_usage(account, refusal) -> None:
    account.send("25", "e1")
    customers = account.client.v1.customers
    customers.update(account.customer, {"metadata": {"team": "a", "plan": "b"}})
    assert customers.update(account.customer, {"metadata": {"plan": ""}}).metadata.to_dict() == {"team": "a"}
    assert customers.delete(account.customer).deleted
    assert customers.retrieve(account.customer).deleted
    assert account.customer not in [one.id for one in customers.list().data]
    assert account.total() == 25
    assert refusal(customers.retrieve, "cus_unknown").code == "resource_missing"


@pytest.mark.parametrize("key", ["sk_live_abc", "rk_live_abc", "pk_test_abc", "sk_test_", "nonsense"])
def test_a37_only_test_keys_are_taken(emulator, refusal, key: str) -> None:
    error = refusal(emulator.client(key).v1.customers.list)
    assert isinstance(error, stripe.AuthenticationError)
    assert error.json_body["error"]["type"] == "invalid_request_error"
    assert key not in str(error) or key in ("sk_test_", "nonsense")


def test_a37_a_missing_key_is_refused_and_basic_is_taken(emulator) -> None:
    assert emulator.http.get("/v1/customers").status_code == 401
    assert emulator.http.get("/v1/customers", auth=("sk_test_basic", "")).status_code == 200


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "parameter_missing", "event_name"),
        ({"event_name": "a", "payload[x]": "1", "colour": "red"}, "parameter_unknown", "colour"),
        ({"event_name": "a", "payload[x]": "1", "timestamp": "soon"}, "parameter_invalid_integer", "timestamp"),
        ({"event_name": "a" * 101, "payload[x]": "1"}, None, "event_name"),
        ({"event_name": "a", "payload": "1"}, None, "payload"),
        ({"event_name": "a", "payload": "1", "payload[x]": "1"}, None, "payload"),
    ],
)
def test_a_malformed_request_is_refused_with_its_parameter(emulator, body, code: str | None, param: str) -> None:
    reply = emulator.http.post("/v1/billing/meter_events", data=body, auth=("sk_test_a", ""))
    assert reply.status_code == 400
    assert (reply.json()["error"].get("code"), reply.json()["error"]["param"]) == (code, param)


def test_what_is_not_emulated_says_so(emulator) -> None:
    for method, path in (("GET", "/v1/charges"), ("DELETE", "/v1/billing/meters")):
        reply = emulator.http.request(method, path, auth=("sk_test_a", ""))
        assert reply.status_code == 404
        assert "not emulated" in reply.json()["error"]["message"]
    broken = emulator.http.post("/v2/billing/meter_events", content="{", auth=("sk_test_a", ""))
    assert (broken.status_code, broken.json()["error"]["code"]) == (400, "invalid_json")

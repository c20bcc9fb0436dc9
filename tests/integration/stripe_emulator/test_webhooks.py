"""Events: listed, and sent to endpoints with a signature, again and again, in no order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import stripe

from .billed import DAY, HOUR, Billed, at
from .receiver import Receiver

END = at(2026, 2, 1)


@pytest.fixture
def billed(emulator) -> Billed:
    return Billed(emulator)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    listening = Receiver()
    yield listening
    listening.stop()


@pytest.fixture
def endpoint(billed: Billed, receiver: Receiver) -> stripe.WebhookEndpoint:
    return billed.client.v1.webhook_endpoints.create(
        {"url": receiver.url, "enabled_events": ["invoice.created", "invoice.finalized", "invoice.paid"]}
    )


def test_a50_each_event_is_sent_with_a_signature_of_its_time_and_body(billed: Billed, receiver, endpoint) -> None:
    billed.subscribe()
    billed.emulator.clock(END + 2 * HOUR)
    assert receiver.types == ["invoice.created", "invoice.finalized", "invoice.paid"]
    for body, signature in receiver.received:
        event = billed.client.construct_event(body, signature, endpoint.secret)
        assert event.data.object.id == billed.invoices()[0].id
        with pytest.raises(stripe.SignatureVerificationError):
            billed.client.construct_event(body + " ", signature, endpoint.secret)
    created = billed.client.construct_event(*receiver.received[0], endpoint.secret)
    assert (created.data.object.status, created.created, created.api_version) == ("draft", END, "2026-10-28.endive")


def test_a51_an_endpoint_that_fails_is_asked_again_later_with_a_new_signature(billed, receiver, endpoint) -> None:
    billed.emulator.admin("POST", "settings", {"webhook_signature_clock": "emulator"})
    billed.subscribe()
    receiver.answers = [500, 503]
    billed.emulator.clock(END + 20)
    assert receiver.types == ["invoice.created"]
    billed.emulator.clock(END + 3 * HOUR)
    assert receiver.types[:3] == ["invoice.created"] * 3
    assert len(set(receiver.ids[:3])) == 1
    assert len({signature for _, signature in receiver.received[:3]}) == 3
    stamps = [int(signature.split(",")[0][2:]) for _, signature in receiver.received[:3]]
    assert stamps[1] - stamps[0] in range(60, 120)


def test_a52_a_draft_waits_until_invoice_created_is_answered_well(billed: Billed, receiver, endpoint) -> None:
    billed.subscribe()
    receiver.answers = [500, 500, 500, 500]
    billed.emulator.clock(END + HOUR + 60)
    (draft,) = billed.invoices()
    assert (draft.status, draft.automatically_finalizes_at) == ("draft", END + 72 * HOUR)
    billed.emulator.clock(END + 4 * HOUR)
    (draft,) = billed.invoices()
    # 1, 6, 36 and 156 minutes after the first attempt it is asked again, and the fifth answer is a good one.
    answered = END + 156 * 60
    assert draft.status == "paid"
    assert draft.status_transitions.finalized_at - (answered + HOUR) in range(120)


def test_a52_a_draft_waits_72_hours_at_most(billed: Billed, receiver, endpoint) -> None:
    billed.subscribe()
    receiver.answers = [500] * 100
    billed.emulator.clock(END + 72 * HOUR - 600)
    assert billed.invoices()[0].status == "draft"
    billed.emulator.clock(END + 72 * HOUR)
    assert billed.invoices()[0].status == "paid"


def test_a53_events_come_twice_late_or_not_at_all_as_ordered(billed: Billed, receiver, endpoint) -> None:
    billed.subscribe()
    for kind, event in (("duplicated", "created"), ("out_of_order", "finalized")):
        billed.emulator.fault(f"webhook_{kind}", match={"type": f"invoice.{event}"})
    billed.emulator.clock(END + 2 * HOUR)
    assert receiver.types == ["invoice.created", "invoice.created", "invoice.paid", "invoice.finalized"]
    billed.emulator.fault("webhook_dropped", match={"type": "invoice.finalized"})
    billed.emulator.fault("webhook_delayed", match={"type": "invoice.paid"}, seconds=3 * HOUR)
    billed.emulator.clock(at(2026, 3, 1, 2))
    assert receiver.types[4:] == ["invoice.created"]
    billed.emulator.clock(at(2026, 3, 1, 5))
    assert receiver.types[4:] == ["invoice.created", "invoice.paid"]
    assert "invoice.finalized" in billed.events("invoice.*")


def test_a54_events_are_listed_newest_first_for_30_days(billed: Billed) -> None:
    billed.subscribe()
    billed.emulator.clock(END + HOUR)
    events = billed.client.v1.events
    first = events.list({"type": "invoice.*", "limit": 2})
    assert [event.type for event in first.data] == ["invoice.payment_succeeded", "invoice.paid"]
    assert [event.type for event in first.auto_paging_iter()][2:] == ["invoice.finalized", "invoice.created"]
    created = events.list({"types": ["invoice.created"], "created": {"gte": END, "lte": END}}).data[0]
    assert events.retrieve(created.id).data.object.status == "draft"
    assert events.list({"type": "invoice.created", "created": {"gt": END}}).data == []
    billed.emulator.clock(END + 31 * DAY)
    assert created.id not in [event.id for event in events.list({"type": "invoice.created"}).data]


def test_an_update_says_what_was_before(billed: Billed) -> None:
    billed.subscribe()
    billed.emulator.clock(END)
    billed.client.v1.invoices.update(billed.invoices()[0].id, {"metadata": {"a": "b"}})
    event = billed.client.v1.events.list({"type": "invoice.updated"}).data[0]
    assert event.data.previous_attributes.to_dict() == {"metadata": {}}
    assert event.data.object["metadata"]["a"] == "b"


def test_an_endpoint_that_is_disabled_or_gone_gets_nothing(billed: Billed, receiver, endpoint, refusal) -> None:
    endpoints = billed.client.v1.webhook_endpoints
    assert "secret" not in endpoints.retrieve(endpoint.id)
    assert endpoints.update(endpoint.id, {"disabled": True}).status == "disabled"
    billed.subscribe()
    billed.emulator.clock(END + HOUR)
    endpoints.update(endpoint.id, {"disabled": False})
    receiver.answers = [500]
    billed.emulator.clock(at(2026, 3, 1))
    assert receiver.types == ["invoice.created"]
    assert endpoints.delete(endpoint.id).deleted
    billed.emulator.clock(at(2026, 3, 2))
    assert receiver.types == ["invoice.created"]
    assert endpoints.list().data == []
    assert refusal(endpoints.create, {"url": "nowhere", "enabled_events": ["*"]}).param == "url"


def test_events_not_answered_well_can_be_listed(billed: Billed, receiver, endpoint) -> None:
    receiver.answers = [500]
    billed.subscribe()
    billed.emulator.clock(END)
    (missed,) = billed.client.v1.events.list({"delivery_success": False}).data
    assert (missed.type, missed.pending_webhooks) == ("invoice.created", 1)


def test_a62_thin_events_are_sent_without_their_data_to_event_destinations(billed: Billed, receiver) -> None:
    destination = billed.client.v2.core.event_destinations.create(
        {
            "name": "reports",
            "type": "webhook_endpoint",
            "event_payload": "thin",
            "enabled_events": ["v1.billing.meter.error_report_triggered"],
            "webhook_endpoint": {"url": receiver.url},
            "include": ["webhook_endpoint.signing_secret"],
        }
    )
    secret = destination.webhook_endpoint.signing_secret
    billed.send("1", "lost", customer="cus_none", at=billed.now)
    assert receiver.received == []
    billed.emulator.clock(billed.now + 60)
    ((body, signature),) = receiver.received
    assert "data" not in body
    notice = billed.client.parse_event_notification(body, signature, secret)
    assert (notice.type, notice.related_object.id) == ("v1.billing.meter.error_report_triggered", billed.meter)
    assert notice.fetch_event().data.reason.error_count == 1
    shown = billed.client.v2.core.event_destinations.retrieve(destination.id)
    assert (shown.webhook_endpoint.signing_secret, shown.status) == (None, "enabled")
    assert billed.client.v2.core.event_destinations.delete(destination.id).id == destination.id
    billed.send("1", "lost too", customer="cus_none", at=billed.now)
    billed.emulator.clock(billed.now + 120)
    assert len(receiver.received) == 1


def test_an_endpoint_can_be_given_a_secret_that_its_receiver_knows(billed: Billed, receiver) -> None:
    for secret in ("whsec_first", "whsec_second"):
        wanted = {"url": receiver.url, "secret": secret, "enabled_events": ["product.created"]}
        billed.emulator.admin("POST", "webhooks", wanted)
    assert len(billed.client.v1.webhook_endpoints.list().data) == 1
    billed.client.v1.products.create({"name": "Seats"})
    billed.emulator.clock(billed.now + 60)
    ((body, signature),) = receiver.received
    assert billed.client.construct_event(body, signature, "whsec_second").type == "product.created"

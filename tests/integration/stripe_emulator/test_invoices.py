"""Assumptions 44 and on: from the end of a period to a paid invoice."""

from __future__ import annotations

from decimal import Decimal

import pytest

from .billed import DAY, HOUR, Billed, at


@pytest.fixture
def billed(emulator) -> Billed:
    return Billed(emulator)


def test_a44_usage_below_zero_bills_nothing(billed: Billed) -> None:
    billed.subscribe()
    billed.use("10", at(2026, 1, 10))
    billed.use("-25.5", at(2026, 1, 11))
    billed.emulator.clock(at(2026, 2, 1, 2))
    (invoice,) = billed.invoices()
    (line,) = invoice.lines.data
    assert (invoice.total, line.amount, line.quantity_decimal) == (0, 0, 0)
    assert (invoice.status, invoice.amount_paid) == ("paid", 0)


def test_a45_a_period_ends_in_a_draft_that_is_finalized_an_hour_later(billed: Billed) -> None:
    subscription = billed.subscribe()
    billed.use("12", at(2026, 1, 15))
    end = at(2026, 2, 1)
    billed.emulator.clock(end - 60)
    assert billed.invoices() == []
    billed.emulator.clock(end)
    (draft,) = billed.invoices()
    assert (draft.status, draft.created, draft.auto_advance) == ("draft", end, True)
    assert (draft.automatically_finalizes_at, draft.billing_reason) == (end + HOUR, "subscription_cycle")
    assert (draft.period_start, draft.period_end) == (billed.now, end)
    assert draft.parent.subscription_details.subscription == subscription.id
    billed.emulator.clock(end + HOUR)
    final = billed.client.v1.invoices.retrieve(draft.id)
    assert (final.status, final.automatically_finalizes_at, final.number is None) == ("paid", None, False)
    assert final.status_transitions.finalized_at == final.status_transitions.paid_at == end + HOUR
    assert billed.events("invoice.*") == [
        "invoice.created",
        "invoice.finalized",
        "invoice.paid",
        "invoice.payment_succeeded",
    ]
    item = billed.client.v1.subscription_items.list({"subscription": subscription.id}).data[0]
    assert (item.current_period_start, item.current_period_end) == (end, at(2026, 3, 1))


def test_a46_usage_is_read_at_finalization_from_start_to_end(billed: Billed) -> None:
    billed.subscribe()
    start, end = billed.now, at(2026, 2, 1)
    billed.use("1", start)
    billed.emulator.clock(end)
    billed.send("2", "late, in the period", at=end - 1)
    billed.send("4", "on the end", at=end)
    assert [line.quantity_decimal for line in billed.invoices()[0].lines.data] == [Decimal(1)]
    billed.emulator.clock(end + HOUR)
    billed.send("8", "after finalization", at=end - 1)
    (line,) = billed.invoices()[0].lines.data
    assert (line.quantity_decimal, line.period.start, line.period.end) == (3, start, end)
    assert line.pricing.price_details.price == billed.price
    billed.emulator.clock(at(2026, 3, 1, 1))
    assert billed.invoices()[1].lines.data[0].quantity_decimal == 4


def test_a47_without_auto_advance_a_draft_waits(billed: Billed) -> None:
    billed.subscribe()
    end = at(2026, 2, 1)
    billed.emulator.clock(end)
    (draft,) = billed.invoices()
    invoices = billed.client.v1.invoices
    held = invoices.update(draft.id, {"auto_advance": False, "metadata": {"held": "gates"}})
    assert (held.auto_advance, held.automatically_finalizes_at, held.metadata.held) == (False, None, "gates")
    billed.emulator.clock(end + 5 * DAY)
    assert invoices.retrieve(draft.id).status == "draft"
    billed.send("7", "late", at=end - 60)
    released = invoices.update(draft.id, {"auto_advance": True})
    assert released.automatically_finalizes_at - (end + 5 * DAY + HOUR) in range(60)
    billed.emulator.clock(end + 5 * DAY + 2 * HOUR)
    final = invoices.retrieve(draft.id)
    assert (final.status, final.lines.data[0].quantity_decimal) == ("paid", 7)


def test_a_held_draft_can_be_finalized_by_hand(billed: Billed, refusal) -> None:
    billed.subscribe()
    billed.use("3", at(2026, 1, 3))
    billed.emulator.clock(at(2026, 2, 1))
    (draft,) = billed.invoices()
    billed.client.v1.invoices.update(draft.id, {"auto_advance": False})
    final = billed.client.v1.invoices.finalize_invoice(draft.id)
    assert (final.status, final.amount_due, final.auto_advance) == ("open", 30, False)
    assert "already finalized" in str(refusal(billed.client.v1.invoices.finalize_invoice, draft.id))
    assert refusal(billed.client.v1.invoices.update, draft.id, {"number": "7"}).code == "invoice_not_editable"
    assert billed.client.v1.invoices.pay(draft.id).status == "paid"
    assert refusal(billed.client.v1.invoices.pay, draft.id).code == "invoice_already_paid"


def test_a48_a_moved_clock_does_all_that_lies_between(billed: Billed) -> None:
    billed.subscribe()
    billed.send("5", "in January", at=billed.now)
    billed.emulator.clock(at(2026, 5, 1, 0, 30))
    invoices = billed.invoices()
    assert [invoice.created for invoice in invoices] == [at(2026, month, 1) for month in (2, 3, 4, 5)]
    assert [invoice.status for invoice in invoices] == ["paid", "paid", "paid", "draft"]
    assert [invoice.total for invoice in invoices] == [50, 0, 0, 0]
    # What is older than 30 days is no longer among the events.
    assert billed.events("invoice.created", "invoice.finalized") == ["invoice.finalized", "invoice.created"]


def test_a49_a_failed_charge_leaves_the_invoice_open_and_is_tried_again(billed: Billed, refusal) -> None:
    subscription = billed.subscribe()
    billed.use("3", at(2026, 1, 3))
    billed.emulator.fault("payment_failed", times=2, match={"customer": billed.customer})
    end = at(2026, 2, 1)
    billed.emulator.clock(end + HOUR)
    (invoice,) = billed.invoices()
    assert (invoice.status, invoice.attempt_count, invoice.next_payment_attempt) == ("open", 1, end + HOUR + 3 * DAY)
    assert billed.client.v1.subscriptions.retrieve(subscription.id).status == "past_due"
    error = refusal(billed.client.v1.invoices.pay, invoice.id)
    assert (error.http_status, error.code) == (402, "card_declined")
    assert billed.client.v1.invoices.retrieve(invoice.id).attempt_count == 2
    billed.emulator.clock(end + HOUR + 4 * DAY)
    assert billed.client.v1.invoices.retrieve(invoice.id).status == "paid"
    assert billed.client.v1.subscriptions.retrieve(subscription.id).status == "active"
    assert billed.events("invoice.payment*") == ["invoice.payment_failed"] * 2 + ["invoice.payment_succeeded"]


def test_an_open_invoice_can_be_voided(billed: Billed, refusal) -> None:
    billed.subscribe(collection_method="send_invoice", days_until_due=14)
    billed.use("3", at(2026, 1, 3))
    billed.emulator.clock(at(2026, 2, 1, 1))
    (invoice,) = billed.invoices()
    assert (invoice.status, invoice.due_date) == ("open", at(2026, 2, 15, 1))
    voided = billed.client.v1.invoices.void_invoice(invoice.id)
    assert (voided.status, billed.events("invoice.*")[-1]) == ("void", "invoice.voided")
    assert refusal(billed.client.v1.invoices.void_invoice, invoice.id).http_status == 400


def test_an_invoice_can_be_marked_paid_from_elsewhere(billed: Billed) -> None:
    billed.subscribe(collection_method="send_invoice", days_until_due=14)
    billed.use("3", at(2026, 1, 3))
    billed.emulator.clock(at(2026, 2, 1, 1))
    paid = billed.client.v1.invoices.pay(billed.invoices()[0].id, {"paid_out_of_band": True})
    assert (paid.status, paid.amount_paid, paid.amount_remaining) == ("paid", 30, 0)


def test_invoices_are_listed_by_customer_subscription_and_status(billed: Billed) -> None:
    subscription = billed.subscribe()
    billed.emulator.clock(at(2026, 3, 1, 0, 30))
    other = billed.client.v1.customers.create({"name": "Other"}).id
    manual = billed.client.v1.invoices.create({"customer": other})
    listing = billed.client.v1.invoices.list
    assert listing().data[0].id == manual.id
    assert len(listing({"subscription": subscription.id}).data) == 2
    assert [one.created for one in listing({"status": "draft", "customer": billed.customer}).data] == [at(2026, 3, 1)]
    assert len(listing({"created": {"gte": at(2026, 3, 1)}}).data) == 2
    assert listing({"customer": "cus_none"}).data == []

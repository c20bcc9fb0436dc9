"""Assumptions 59 to 61: amounts of the caller's own on invoices."""

from __future__ import annotations

from decimal import Decimal

import pytest

from .billed import Billed, at

END = at(2026, 2, 1)


@pytest.fixture
def billed(emulator) -> Billed:
    return Billed(emulator)


@pytest.fixture
def draft(billed: Billed):
    """The draft of the first month, with 3 units used."""
    billed.subscribe()
    billed.use("3", at(2026, 1, 3))
    billed.emulator.clock(END)
    return billed.invoices()[0]


def item(billed: Billed, **details):
    return billed.client.v1.invoice_items.create(
        {"customer": billed.customer, "currency": "usd", "amount": 250, **details}
    )


def test_a59_an_item_on_a_draft_is_a_line_that_can_still_change(billed: Billed, draft, refusal) -> None:
    period = {"start": billed.now, "end": END}
    one = item(billed, invoice=draft.id, metadata={"billing_line": "x"}, period=period, description="Minimum")
    two = item(billed, invoice=draft.id, amount=-100)
    invoices, items = billed.client.v1.invoices, billed.client.v1.invoice_items
    assert invoices.retrieve(draft.id).total == 30 + 250 - 100
    items.update(one.id, {"amount": 275})
    items.delete(two.id)
    line = next(line for line in invoices.retrieve(draft.id).lines.data if line.amount == 275)
    assert line.parent.invoice_item_details.invoice_item == one.id
    assert (line.metadata.billing_line, line.description, line.period.start) == ("x", "Minimum", billed.now)
    assert [found.id for found in items.list({"invoice": draft.id}).data] == [one.id]
    billed.emulator.clock(END + 3600)
    final = invoices.retrieve(draft.id)
    assert (final.status, final.total) == ("paid", 305)
    assert refusal(items.update, one.id, {"amount": 1}).code == "invoice_not_editable"
    assert refusal(items.delete, one.id).code == "invoice_not_editable"
    assert refusal(item, billed, invoice=draft.id).code == "invoice_not_editable"


def test_a60_pending_items_go_on_the_next_invoice_250_at_most(billed: Billed, refusal) -> None:
    subscription = billed.subscribe()
    other = billed.subscribe(billed.metered().id)
    item(billed, subscription=other.id, amount=7)
    for _ in range(249):
        item(billed, subscription=subscription.id, amount=1)
    assert "250" in str(refusal(item, billed))
    assert len(billed.client.v1.invoice_items.list({"pending": True, "limit": 100}).data) == 100
    billed.emulator.clock(END + 3600)
    totals = {one.parent.subscription_details.subscription: one.total for one in billed.invoices()}
    assert totals == {subscription.id: 249, other.id: 7}
    assert billed.client.v1.invoice_items.list({"pending": True}).data == []
    long = next(one for one in billed.invoices() if one.total == 249)
    assert (len(long.lines.data), long.lines.has_more) == (10, True)
    lines = billed.client.v1.invoices.line_items.list(long.id)
    assert (len(lines.data), lines.has_more) == (10, True)
    assert len({line.id for line in lines.auto_paging_iter()}) == 250


def test_a61_decimal_quantity_times_unit_amount_is_rounded_once(billed: Billed, draft, refusal) -> None:
    one = billed.client.v1.invoice_items.create(
        {
            "customer": billed.customer,
            "invoice": draft.id,
            "quantity_decimal": Decimal("2.5"),
            "unit_amount_decimal": Decimal("-10.3"),
        }
    )
    assert (one.amount, one.quantity, one.quantity_decimal) == (-26, 2, Decimal("2.5"))
    assert one.pricing.unit_amount_decimal == Decimal("-10.3")
    assert refusal(item, billed, unit_amount_decimal="1").param == "amount"
    assert refusal(item, billed, currency="kwd", amount=1234).param == "amount"
    assert refusal(item, billed, invoice=draft.id, currency="eur").param == "currency"
    assert refusal(billed.client.v1.invoice_items.create, {"customer": billed.customer, "currency": "usd"}).param


def test_an_invoice_made_by_hand_waits_until_it_is_finalized(billed: Billed, refusal) -> None:
    invoices = billed.client.v1.invoices
    item(billed, amount=100)
    invoice = invoices.create(
        {"customer": billed.customer, "pending_invoice_items_behavior": "include", "metadata": {"a": "b"}}
    )
    assert (invoice.status, invoice.auto_advance, invoice.billing_reason, invoice.total) == (
        "draft",
        False,
        "manual",
        100,
    )
    billed.emulator.clock(at(2026, 1, 20))
    assert invoices.retrieve(invoice.id).status == "draft"
    final = invoices.finalize_invoice(invoice.id, {"auto_advance": True})
    assert (final.status, final.amount_paid) == ("paid", 100)
    assert "draft" in str(refusal(invoices.delete, invoice.id))
    gone = invoices.create({"customer": billed.customer})
    assert invoices.delete(gone.id).deleted
    assert refusal(invoices.retrieve, gone.id).http_status == 404


def test_an_invoice_below_zero_is_credit_for_the_next(billed: Billed) -> None:
    invoices = billed.client.v1.invoices
    for amount, due in ((-300, 0), (200, 0), (150, 50)):
        invoice = invoices.create({"customer": billed.customer})
        item(billed, invoice=invoice.id, amount=amount)
        final = invoices.finalize_invoice(invoice.id)
        assert (final.total, final.amount_due) == (amount, due)
    assert billed.client.v1.customers.retrieve(billed.customer).balance == 0


def test_a_time_of_finalization_can_be_chosen(billed: Billed) -> None:
    invoices = billed.client.v1.invoices
    chosen = at(2026, 1, 9)
    invoice = invoices.create({"customer": billed.customer, "auto_advance": True, "automatically_finalizes_at": chosen})
    assert invoice.automatically_finalizes_at == chosen
    billed.emulator.clock(chosen)
    assert invoices.retrieve(invoice.id).status_transitions.finalized_at == chosen

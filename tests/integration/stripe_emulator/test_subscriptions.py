"""Assumptions 55 to 58: periods, changes and ends of subscriptions."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from metering.stripe_emulator import periods

from .billed import HOUR, Billed, at


@pytest.fixture
def billed(emulator) -> Billed:
    return Billed(emulator)


@pytest.mark.parametrize(
    ("interval", "count", "anchor", "edges"),
    [
        ("month", 1, (2026, 1, 31), [(2026, 2, 28), (2026, 3, 31), (2026, 4, 30)]),
        ("month", 3, (2025, 11, 30), [(2026, 2, 28), (2026, 5, 30)]),
        ("year", 1, (2024, 2, 29), [(2025, 2, 28), (2026, 2, 28), (2027, 2, 28), (2028, 2, 29)]),
        ("week", 2, (2026, 1, 1), [(2026, 1, 15), (2026, 1, 29)]),
        ("day", 1, (2026, 3, 28), [(2026, 3, 29), (2026, 3, 30)]),
    ],
)
def test_a55_periods_repeat_from_the_anchor_in_utc(interval, count, anchor, edges) -> None:
    recurring = {"interval": interval, "interval_count": count}
    assert [periods.edge(at(*anchor), recurring, number + 1) for number in range(len(edges))] == [
        at(*edge) for edge in edges
    ]
    last = at(*anchor)
    for edge in edges:
        assert periods.around(at(*anchor), recurring, last) == (last, at(*edge))
        assert periods.around(at(*anchor), recurring, at(*edge) - 1) == (last, at(*edge))
        last = at(*edge)


def test_a56_a_backdated_start_and_an_anchor_ahead_make_one_first_period(billed: Billed, refusal) -> None:
    billed.emulator.clock(at(2026, 1, 20))
    details = {"backdate_start_date": at(2026, 1, 1, 5), "billing_cycle_anchor": at(2026, 2, 1, 5)}
    subscription = billed.subscribe(**details)
    item = billed.client.v1.subscription_items.list({"subscription": subscription.id}).data[0]
    assert (item.current_period_start, item.current_period_end) == (at(2026, 1, 1, 5), at(2026, 2, 1, 5))
    billed.send("3", "before it was made", at=at(2026, 1, 2))
    billed.send("9", "before it began", at=at(2026, 1, 1))
    billed.emulator.clock(at(2026, 3, 1, 7))
    assert [invoice.total for invoice in billed.invoices()] == [30, 0]
    late = {"billing_cycle_anchor": at(2026, 5, 1)}
    assert refusal(billed.subscribe, **late).param == "billing_cycle_anchor"


def test_an_anchor_can_be_configured(billed: Billed) -> None:
    config = {"day_of_month": 31, "hour": 5, "minute": 0, "second": 0}
    subscription = billed.subscribe(billing_cycle_anchor_config=config)
    assert subscription.billing_cycle_anchor == at(2026, 1, 31, 5)
    billed.emulator.clock(at(2026, 4, 1))
    assert [invoice.period_end for invoice in billed.invoices()] == [
        at(2026, 1, 31, 5),
        at(2026, 2, 28, 5),
        at(2026, 3, 31, 5),
    ]


def test_a57_a_changed_or_deleted_item_loses_the_usage_before(billed: Billed, refusal) -> None:
    subscription = billed.subscribe()
    items = billed.client.v1.subscription_items
    (item,) = items.list({"subscription": subscription.id}).data
    assert "last" not in str(refusal(items.delete, "si_none"))
    assert "at least one" in str(refusal(items.delete, item.id))
    billed.use("5", at(2026, 1, 5))
    billed.emulator.clock(at(2026, 1, 10))
    other = billed.metered(unit_amount_decimal="20").id
    assert items.update(item.id, {"price": other}).price.id == other
    billed.use("3", at(2026, 1, 15))
    seats = items.create({"subscription": subscription.id, "price": billed.flat(1000).id, "quantity": 2})
    billed.emulator.clock(at(2026, 2, 1, 2))
    (invoice,) = billed.invoices()
    assert sorted((line.quantity_decimal, line.amount) for line in invoice.lines.data) == [(2, 2000), (3, 60)]
    # The newest item comes first; what is paid in advance is for the next month.
    assert [line.period.start for line in invoice.lines.data] == [at(2026, 2, 1), at(2026, 1, 1)]
    assert items.delete(seats.id, {"clear_usage": True}).deleted
    assert "customer.subscription.updated" in billed.events()


def test_a58_the_end_of_a_subscription_bills_usage_on_a_draft_that_waits(billed: Billed) -> None:
    subscription = billed.subscribe()
    billed.use("5", at(2026, 1, 5))
    ending = billed.client.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    assert (ending.cancel_at, ending.status) == (at(2026, 2, 1), "active")
    billed.emulator.clock(at(2026, 3, 5))
    (invoice,) = billed.invoices()
    assert (invoice.status, invoice.auto_advance, invoice.total) == ("draft", False, 50)
    assert billed.client.v1.subscriptions.retrieve(subscription.id).status == "canceled"
    assert billed.client.v1.subscriptions.list({"customer": billed.customer}).data == []
    assert len(billed.client.v1.subscriptions.list({"status": "all"}).data) == 1


@pytest.mark.parametrize("invoice_now", [False, True])
def test_a58_cancelling_bills_usage_only_with_invoice_now(billed: Billed, invoice_now: bool, refusal) -> None:
    subscription = billed.subscribe()
    billed.use("5", at(2026, 1, 5))
    billed.emulator.clock(at(2026, 1, 10))
    gone = billed.client.v1.subscriptions.cancel(subscription.id, {"invoice_now": invoice_now})
    assert (gone.status, gone.cancellation_details.reason) == ("canceled", "cancellation_requested")
    assert billed.events("customer.subscription.*")[-1] == "customer.subscription.deleted"
    billed.emulator.clock(at(2026, 3, 1))
    assert [invoice.total for invoice in billed.invoices()] == ([50] if invoice_now else [])
    assert refusal(billed.client.v1.subscriptions.update, subscription.id, {"description": "x"}).http_status == 400


def test_what_is_paid_in_advance_is_billed_at_once(billed: Billed) -> None:
    billed.subscribe(billed.flat(1500).id, billed.price)
    (first,) = billed.invoices()
    assert (first.status, first.billing_reason, first.total) == ("paid", "subscription_create", 1500)
    assert (first.lines.data[0].period.start, first.lines.data[0].period.end) == (billed.now, at(2026, 2, 1))
    billed.use("4", at(2026, 1, 9))
    billed.emulator.clock(at(2026, 2, 1, 2))
    assert billed.invoices()[1].total == 1500 + 40


def test_a_subscription_that_stripe_would_refuse_is_refused(billed: Billed, refusal) -> None:
    create = billed.client.v1.subscriptions.create
    once = billed.client.v1.prices.create({"product": billed.product, "currency": "usd", "unit_amount": 5}).id
    euros = billed.flat(5, currency="eur").id
    for wrong, param in (
        ({"items": [{"price": once}]}, "price"),
        ({"items": [{"price": billed.price, "quantity": 3}]}, "quantity"),
        ({"items": [{"price": billed.price}, {"price": billed.price}]}, "price"),
        ({"items": [{"price": billed.price}, {"price": euros}]}, "price"),
        ({"items": [{"price": billed.price}], "collection_method": "send_invoice"}, "days_until_due"),
        ({"items": [{"price": billed.price}], "customer": "cus_none"}, "customer"),
        ({"items": [{"price": billed.price}], "trial_period_days": 3}, "trial_period_days"),
    ):
        assert refusal(create, {"customer": billed.customer, **wrong}).param == param
    assert billed.client.v1.subscriptions.list({"status": "all"}).data == []


def test_metadata_of_the_subscription_shows_on_its_lines(billed: Billed) -> None:
    billed.subscribe(metadata={"team": "acme"})
    billed.emulator.clock(at(2026, 2, 1, 0) + HOUR)
    (invoice,) = billed.invoices()
    assert invoice.lines.data[0].metadata.team == "acme"
    assert invoice.parent.subscription_details.metadata.team == "acme"
    assert datetime.fromtimestamp(invoice.created, UTC).day == 1

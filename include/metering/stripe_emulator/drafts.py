"""Draft invoices: how they begin, what they add up to, and when they are finalized by themselves."""

from metering.stripe_emulator import customers, invoice_lines, objects, snapshot_events
from metering.stripe_emulator.call import Call, new_id
from metering.stripe_emulator.errors import Json
from metering.stripe_emulator.objects import Thing

KIND = "invoice"
MAX_ITEMS = 250
# However long an endpoint does not answer well to invoice.created, a draft is finalized after this.
LONGEST_SECONDS = 72 * 3600


def begin(
    call: Call,
    customer: str,
    currency: str,
    reason: str,
    *,
    subscription: Thing | None = None,
    period: tuple[int, int] | None = None,
    collection_method: str = "charge_automatically",
    days_until_due: int | None = None,
    auto_advance: bool = True,
) -> Thing:
    """A new draft, still empty and unannounced."""
    body = _body(call, customer, currency, reason)
    body["auto_advance"] = auto_advance
    body["collection_method"] = collection_method
    if subscription is not None:
        body["parent"] = {
            "type": "subscription_details",
            "quote_details": None,
            "subscription_details": {"metadata": subscription.body["metadata"], "subscription": subscription.id},
        }
    if period is not None:
        body["period_start"], body["period_end"] = period
    return objects.add(
        call.store,
        Thing(
            KIND,
            body,
            customer,
            None if subscription is None else subscription.id,
            private={"days_until_due": days_until_due, "created_event": None, "custom_time": False},
        ),
    )


def take_pending_items(call: Call, invoice: Thing, subscription: str | None) -> None:
    """Put the customer's pending items on the draft: those of its subscription and those of none, 250 at most."""
    pending = [
        item
        for row in reversed(call.store.all("objects_of_customer", kind="invoiceitem", customer=invoice.customer))
        if row["parent"] is None
        for item in [objects.get(call.store, "invoiceitem", row["id"])]
        if item.body["currency"] == invoice.body["currency"] and item.private["subscription"] in (None, subscription)
    ]
    for item in pending[:MAX_ITEMS]:
        attach(call, invoice, item, group="pending")


def attach(call: Call, invoice: Thing, item: Thing, *, group: str = "added") -> None:
    """Put an invoice item on a draft: one that was pending, or one that is added to it."""
    item.parent = item.body["invoice"] = invoice.id
    objects.change(call.store, item)
    invoice_lines.add_invoice_item(call, invoice, item, group=group)


def announce(call: Call, invoice: Thing) -> None:
    """The draft is complete: tell the endpoints, and begin to wait for its finalization."""
    add_up(call, invoice)
    schedule(call, invoice)
    invoice.private["created_event"] = snapshot_events.emit(call, "invoice.created", shown(call, invoice))
    _wait_for_answers(call, invoice)
    objects.change(call.store, invoice)


def schedule(call: Call, invoice: Thing) -> None:
    """Set when a draft finalizes by itself: after the grace period, or never without auto_advance."""
    at = call.now + call.settings.draft_seconds if invoice.body["auto_advance"] else None
    invoice.private["custom_time"] = False
    invoice.due_at = invoice.body["automatically_finalizes_at"] = at
    _wait_for_answers(call, invoice)


def schedule_at(invoice: Thing, moment: int) -> None:
    """Finalize at a moment of the caller's choice, whatever endpoints answer."""
    invoice.private["custom_time"] = True
    invoice.due_at = invoice.body["automatically_finalizes_at"] = moment


def created_event_settled(call: Call, invoice_id: str) -> None:
    """An endpoint has answered invoice.created, well or not, or will not be asked any more."""
    invoice = objects.find(call.store, KIND, invoice_id)
    if invoice is None or invoice.body["status"] != "draft":
        return
    if not invoice.body["auto_advance"] or invoice.private["custom_time"]:
        return
    latest = invoice.body["created"] + LONGEST_SECONDS
    if _is_answered(call, invoice):
        if invoice.due_at != latest:
            return
        at = min(call.now + call.settings.draft_seconds, max(latest, call.now))
        invoice.due_at = invoice.body["automatically_finalizes_at"] = at
    else:
        invoice.due_at = invoice.body["automatically_finalizes_at"] = latest
    objects.change(call.store, invoice)


def add_up(call: Call, invoice: Thing) -> None:
    """Make the totals those of the lines."""
    total = sum(line.body["amount"] for line in objects.of_parent(call.store, invoice_lines.KIND, invoice.id))
    body = invoice.body
    body["subtotal"] = body["subtotal_excluding_tax"] = body["total"] = body["total_excluding_tax"] = total
    body["starting_balance"] = customers.balance(call.store, invoice.customer or "")
    body["amount_due"] = body["amount_remaining"] = max(0, total + body["starting_balance"])
    objects.change(call.store, invoice)


def shown(call: Call, invoice: Thing) -> Json:
    """An invoice as replies show it, with its first lines."""
    return {**invoice.body, "lines": invoice_lines.embedded(call, invoice.id)}


def _wait_for_answers(call: Call, invoice: Thing) -> None:
    """Until every endpoint has answered invoice.created well, only the longest wait ends a draft."""
    if invoice.body["auto_advance"] and not _is_answered(call, invoice):
        invoice.due_at = invoice.body["created"] + LONGEST_SECONDS


def _is_answered(call: Call, invoice: Thing) -> bool:
    event = invoice.private["created_event"]
    row = None if event is None else call.store.one("unanswered_deliveries", event=event)
    return row is None or row["outstanding"] == 0


def _body(call: Call, customer: str, currency: str, reason: str) -> Json:
    payer = customers.get(call.store, customer)
    nothing = (
        "account_tax_ids amount_paid_off_stripe application automatically_finalizes_at customer_account "
        "confirmation_secret custom_fields customer_shipping default_payment_method default_source description "
        "due_date effective_at ending_balance footer from_invoice hosted_invoice_url invoice_pdf "
        "last_finalization_error latest_revision next_payment_attempt number on_behalf_of parent receipt_number "
        "rendering shipping_cost shipping_details statement_descriptor status_details test_clock threshold_reason"
    )
    zero = (
        "amount_due amount_overpaid amount_paid amount_remaining amount_shipping attempt_count "
        "post_payment_credit_notes_amount pre_payment_credit_notes_amount starting_balance subtotal "
        "subtotal_excluding_tax total total_excluding_tax"
    )
    return {
        "id": new_id("in"),
        "object": "invoice",
        **dict.fromkeys(nothing.split()),
        **dict.fromkeys(zero.split(), 0),
        "account_country": "US",
        "account_name": "Emulator",
        "attempted": False,
        "auto_advance": True,
        "automatic_tax": {
            "disabled_reason": None,
            "enabled": False,
            "liability": None,
            "provider": None,
            "status": None,
        },
        "billing_reason": reason,
        "collection_method": "charge_automatically",
        "created": call.now,
        "currency": currency,
        "customer": customer,
        "customer_address": payer["address"],
        "customer_email": payer["email"],
        "customer_name": payer["name"],
        "customer_phone": payer["phone"],
        "customer_tax_exempt": payer["tax_exempt"],
        "customer_tax_ids": [],
        "default_tax_rates": [],
        "discounts": [],
        "issuer": {"type": "self", "account": None},
        "livemode": False,
        "metadata": {},
        "payment_settings": {
            "default_mandate": None,
            "payment_method_options": None,
            "payment_method_types": None,
        },
        "period_end": call.now,
        "period_start": call.now,
        "status": "draft",
        "status_transitions": {
            "finalized_at": None,
            "marked_uncollectible_at": None,
            "paid_at": None,
            "voided_at": None,
        },
        "total_discount_amounts": [],
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
        "webhooks_delivered_at": None,
    }

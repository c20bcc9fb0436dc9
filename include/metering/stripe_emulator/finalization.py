"""From draft to open invoice: usage is read for the last time, and the amount is due."""

from metering.stripe_emulator import customers, drafts, invoice_lines, objects, payments, snapshot_events
from metering.stripe_emulator.call import Call
from metering.stripe_emulator.objects import Thing

_DAY_SECONDS = 86_400


def run(call: Call, invoice: Thing) -> None:
    """Finalize a draft, then charge it where its collection is automatic."""
    invoice_lines.read_usage(call, invoice.id)
    drafts.add_up(call, invoice)
    body = invoice.body
    body["status"] = "open"
    body["number"] = body["number"] or _number(call, invoice)
    body["status_transitions"]["finalized_at"] = body["effective_at"] = call.now
    invoice.due_at = body["automatically_finalizes_at"] = None
    body["hosted_invoice_url"] = f"https://invoice.stripe.invalid/i/{invoice.id}"
    body["invoice_pdf"] = f"https://invoice.stripe.invalid/i/{invoice.id}/pdf"
    if body["collection_method"] == "send_invoice" and body["due_date"] is None:
        body["due_date"] = call.now + (invoice.private["days_until_due"] or 30) * _DAY_SECONDS
    _settle_balance(call, invoice)
    objects.change(call.store, invoice)
    snapshot_events.emit(call, "invoice.finalized", drafts.shown(call, invoice))
    if body["amount_due"] == 0:
        payments.mark_paid(call, invoice, 0)
    elif body["collection_method"] == "charge_automatically" and body["auto_advance"]:
        payments.attempt(call, invoice)


def _settle_balance(call: Call, invoice: Thing) -> None:
    """The customer's balance goes into what is due; an invoice below zero becomes credit."""
    body = invoice.body
    used = body["total"] - body["amount_due"]
    customers.change_balance(call.store, invoice.customer or "", used)
    body["ending_balance"] = body["starting_balance"] + used


def _number(call: Call, invoice: Thing) -> str:
    rows = call.store.all("objects_of_customer", kind="invoice", customer=invoice.customer)
    finalized = sum(row["status"] not in ("draft", None) for row in rows)
    return f"{(invoice.customer or '')[-8:].upper()}-{finalized + 1:04}"

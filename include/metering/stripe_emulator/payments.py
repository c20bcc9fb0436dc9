"""Charging an open invoice. No money moves: the outcome is what a fault or the settings say."""

from metering.stripe_emulator import drafts, objects, snapshot_events, standing
from metering.stripe_emulator.call import Call
from metering.stripe_emulator.objects import Thing

RETRY_SECONDS = 3 * 24 * 3600
MAX_ATTEMPTS = 4


def attempt(call: Call, invoice: Thing) -> bool:
    """Charge an open invoice once. A failure is tried again three days later, four times in all."""
    body = invoice.body
    body["attempted"] = True
    body["attempt_count"] += 1
    if _fails(call, invoice):
        again = body["auto_advance"] and body["attempt_count"] < MAX_ATTEMPTS
        invoice.due_at = body["next_payment_attempt"] = call.now + RETRY_SECONDS if again else None
        objects.change(call.store, invoice)
        snapshot_events.emit(call, "invoice.payment_failed", drafts.shown(call, invoice))
        _set_subscription(call, invoice, "active", "past_due")
        return False
    mark_paid(call, invoice, body["amount_due"])
    return True


def mark_paid(call: Call, invoice: Thing, paid: int) -> None:
    """An invoice is paid, by a charge, outside of Stripe or because nothing is due."""
    body = invoice.body
    body["status"] = "paid"
    body["amount_paid"], body["amount_remaining"] = paid, 0
    body["status_transitions"]["paid_at"] = call.now
    body["next_payment_attempt"] = invoice.due_at = None
    body["attempted"] = True
    objects.change(call.store, invoice)
    snapshot = drafts.shown(call, invoice)
    snapshot_events.emit(call, "invoice.paid", snapshot)
    snapshot_events.emit(call, "invoice.payment_succeeded", snapshot)
    _set_subscription(call, invoice, "past_due", "active")


def _fails(call: Call, invoice: Thing) -> bool:
    facts = {"customer": invoice.customer or "", "object": invoice.id}
    return call.settings.payments == "fail" or call.faults.take_payment(facts) is not None


def _set_subscription(call: Call, invoice: Thing, status: str, new_status: str) -> None:
    subscription = None if invoice.parent is None else objects.find(call.store, "subscription", invoice.parent)
    if subscription is None or subscription.body["status"] != status:
        return
    before = standing.shown(call, subscription)
    subscription.body["status"] = new_status
    objects.change(call.store, subscription)
    snapshot_events.emit(call, "customer.subscription.updated", standing.shown(call, subscription), before)

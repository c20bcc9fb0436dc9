"""What happens to a subscription by itself: at the end of an item's period a draft, at its end the last one."""

from metering.stripe_emulator import (
    drafts,
    finalization,
    invoice_lines,
    objects,
    periods,
    prices,
    snapshot_events,
    standing,
)
from metering.stripe_emulator.call import Call
from metering.stripe_emulator.errors import Json
from metering.stripe_emulator.objects import Thing

Billed = tuple[Thing, int, int]


def schedule(call: Call, subscription: Thing) -> None:
    """Set when the subscription is due next: at the first end of a period, or when it ends."""
    ends = [item.body["current_period_end"] for item in standing.items_of(call, subscription)]
    if subscription.body["cancel_at"] is not None:
        ends.append(subscription.body["cancel_at"])
    subscription.due_at = min(ends)
    objects.change(call.store, subscription)


def run(call: Call, subscription: Thing) -> None:
    """Bill the items whose period is over, and end what has come to its end."""
    before = standing.shown(call, subscription)
    cancel_at = subscription.body["cancel_at"]
    if cancel_at is not None and cancel_at <= call.now:
        end(call, subscription, invoice_now=True)
        return
    billed: list[Billed] = []
    for item in standing.items_of(call, subscription):
        if item.body["current_period_end"] <= call.now:
            billed.append(_roll(call, subscription, item))
    schedule(call, subscription)
    invoice = _bill(call, subscription, billed, "subscription_cycle")
    _tell(call, subscription, invoice, before)


def begin(call: Call, subscription: Thing, *, prorate: bool) -> None:
    """The first invoice: what is paid in advance. What is metered has nothing to bill yet."""
    in_advance = [
        (item, item.body["current_period_start"], item.body["current_period_end"])
        for item in standing.items_of(call, subscription)
        if not _is_metered(call, item)
    ]
    if not in_advance or not prorate:
        snapshot_events.emit(call, "customer.subscription.created", standing.shown(call, subscription))
        return
    invoice = _bill(call, subscription, in_advance, "subscription_create")
    objects.change(call.store, subscription)
    snapshot_events.emit(call, "customer.subscription.created", standing.shown(call, subscription))
    drafts.announce(call, invoice)
    if invoice.body["collection_method"] == "charge_automatically":
        # Only renewals wait: the first invoice of a subscription is due at once.
        finalization.run(call, invoice)


def end(call: Call, subscription: Thing, *, invoice_now: bool) -> None:
    """Cancel now. With ``invoice_now`` a last invoice bills what is metered; it has no auto_advance."""
    metered = [
        (item, item.body["current_period_start"], call.now)
        for item in standing.items_of(call, subscription)
        if _is_metered(call, item)
    ]
    invoice = _bill(call, subscription, metered, "subscription_cycle", last=True) if invoice_now and metered else None
    body = subscription.body
    body["status"] = "canceled"
    body["canceled_at"] = body["canceled_at"] or call.now
    body["ended_at"] = call.now
    subscription.due_at = None
    objects.change(call.store, subscription)
    snapshot_events.emit(call, "customer.subscription.deleted", standing.shown(call, subscription))
    if invoice is not None:
        drafts.announce(call, invoice)


def _roll(call: Call, subscription: Thing, item: Thing) -> Billed:
    """The next period of an item begins. What is metered is billed for the last one, the rest for the next one."""
    last_start, last_end = item.body["current_period_start"], item.body["current_period_end"]
    recurring = objects.get(call.store, prices.KIND, item.body["price"]).body["recurring"]
    next_end = periods.around(subscription.body["billing_cycle_anchor"], recurring, last_end)[1]
    item.body["current_period_start"], item.body["current_period_end"] = last_end, next_end
    billed = (last_start, last_end) if recurring["usage_type"] == "metered" else (last_end, next_end)
    objects.change(call.store, item)
    return item, *billed


def _bill(call: Call, subscription: Thing, billed: list[Billed], reason: str, *, last: bool = False) -> Thing:
    body = subscription.body
    starts = [start for _, start, _ in billed]
    invoice = drafts.begin(
        call,
        body["customer"],
        body["currency"],
        reason,
        subscription=subscription,
        period=(min(starts), call.now) if min(starts) < call.now else (call.now, call.now),
        collection_method=body["collection_method"],
        days_until_due=body["days_until_due"],
        auto_advance=not last,
    )
    for item, start, until in billed:
        invoice_lines.add_subscription_item(call, invoice, item, start, until)
        item.private["usage_from"] = max(item.private["usage_from"], until if until <= call.now else start)
        objects.change(call.store, item)
    drafts.take_pending_items(call, invoice, subscription.id)
    body["latest_invoice"] = invoice.id
    return invoice


def _tell(call: Call, subscription: Thing, invoice: Thing, before: Json) -> None:
    objects.change(call.store, subscription)
    snapshot_events.emit(call, "customer.subscription.updated", standing.shown(call, subscription), before)
    drafts.announce(call, invoice)


def _is_metered(call: Call, item: Thing) -> bool:
    recurring: Json = objects.get(call.store, prices.KIND, item.body["price"]).body["recurring"]
    return bool(recurring["usage_type"] == "metered")

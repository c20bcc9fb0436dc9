"""Invoices over the API: found, made by hand, held, finalized, paid, voided."""

from metering.stripe_emulator import (
    customers,
    drafts,
    finalization,
    invoice_lines,
    objects,
    payments,
    snapshot_events,
)
from metering.stripe_emulator.call import Call
from metering.stripe_emulator.errors import Json, StripeError, bad_request
from metering.stripe_emulator.objects import Thing

URL = "/v1/invoices"
KIND = drafts.KIND
_SET = ("description", "due_date", "footer", "number")


def create(call: Call) -> Json:
    """POST /v1/invoices: a draft of the caller's own, without auto_advance unless it is asked for."""
    wanted = call.parameters
    customer = objects.required(wanted, "customer")
    customers.get(call.store, customer)
    subscription = None
    if "subscription" in wanted:
        subscription = objects.get(call.store, "subscription", wanted["subscription"], param="subscription")
        if subscription.customer != customer:
            raise bad_request("The subscription belongs to another customer.", param="subscription")
    method = wanted.get("collection_method", "charge_automatically")
    if method == "charge_automatically" and wanted.keys() & {"days_until_due", "due_date"}:
        raise bad_request("A due date needs collection_method=send_invoice.", param="days_until_due")
    if method == "send_invoice" and not wanted.keys() & {"days_until_due", "due_date"}:
        raise bad_request(
            "If collection_method is send_invoice, you must pass days_until_due or due_date.", param="days_until_due"
        )
    currency = wanted.get("currency") or (subscription.body["currency"] if subscription is not None else "usd")
    invoice = drafts.begin(
        call,
        customer,
        currency.lower(),
        "manual",
        subscription=subscription,
        collection_method=method,
        days_until_due=wanted.get("days_until_due"),
        auto_advance=wanted.get("auto_advance", False),
    )
    objects.fill(invoice.body, wanted, _SET)
    if wanted.get("pending_invoice_items_behavior", "exclude") == "include":
        drafts.take_pending_items(call, invoice, None if subscription is None else subscription.id)
    drafts.announce(call, invoice)
    _set_time(call, invoice)
    objects.change(call.store, invoice)
    return drafts.shown(call, invoice)


def retrieve(call: Call) -> Json:
    """GET /v1/invoices/{id}"""
    return drafts.shown(call, objects.get(call.store, KIND, call.path["id"]))


def update(call: Call) -> Json:
    """POST /v1/invoices/{id}: a finalized invoice keeps all but auto_advance, metadata and its notes."""
    invoice = objects.get(call.store, KIND, call.path["id"])
    wanted, body = call.parameters, invoice.body
    if body["status"] != "draft":
        fixed = wanted.keys() - {"auto_advance", "metadata", "expand", "description", "footer", "due_date"}
        if fixed:
            raise _not_editable(min(fixed))
    before = drafts.shown(call, invoice)
    objects.fill(body, wanted, (*_SET, "collection_method"))
    if "days_until_due" in wanted:
        invoice.private["days_until_due"] = wanted["days_until_due"]
    if "auto_advance" in wanted and wanted["auto_advance"] != body["auto_advance"]:
        body["auto_advance"] = wanted["auto_advance"]
        _advance(call, invoice)
    _set_time(call, invoice)
    objects.change(call.store, invoice)
    snapshot_events.emit(call, "invoice.updated", drafts.shown(call, invoice), before)
    return drafts.shown(call, invoice)


def delete(call: Call) -> Json:
    """DELETE /v1/invoices/{id}: drafts of the caller's own only. Its invoice items go with it."""
    invoice = objects.get(call.store, KIND, call.path["id"])
    if invoice.body["status"] != "draft":
        raise bad_request("You can only delete draft invoices.", param="id")
    if invoice.body["billing_reason"] != "manual":
        raise bad_request("You cannot delete an invoice that a subscription has made.", param="id")
    snapshot = drafts.shown(call, invoice)
    for kind in (invoice_lines.KIND, "invoiceitem"):
        for thing in objects.of_parent(call.store, kind, invoice.id):
            objects.remove(call.store, thing)
    objects.remove(call.store, invoice)
    snapshot_events.emit(call, "invoice.deleted", snapshot)
    return {"id": invoice.id, "object": KIND, "deleted": True}


def finalize(call: Call) -> Json:
    """POST /v1/invoices/{id}/finalize"""
    invoice = _in(call, "draft")
    if "auto_advance" in call.parameters:
        invoice.body["auto_advance"] = call.parameters["auto_advance"]
    finalization.run(call, invoice)
    return drafts.shown(call, invoice)


def pay(call: Call) -> Json:
    """POST /v1/invoices/{id}/pay: a charge, or money that came another way. A draft is finalized first."""
    invoice = objects.get(call.store, KIND, call.path["id"])
    if invoice.body["status"] == "draft":
        invoice.body["auto_advance"] = False
        finalization.run(call, invoice)
    elif invoice.body["status"] not in ("open", "uncollectible"):
        raise _wrong_state(invoice, "paid")
    if invoice.body["status"] == "paid":
        return drafts.shown(call, invoice)
    if call.parameters.get("paid_out_of_band"):
        invoice.body["amount_paid_off_stripe"] = invoice.body["amount_due"]
        payments.mark_paid(call, invoice, invoice.body["amount_due"])
    elif not payments.attempt(call, invoice):
        # The attempt has been made, whatever became of it.
        raise StripeError(
            402, "Your card was declined.", kind="card_error", code="card_declined", param=None, commits=True
        )
    return drafts.shown(call, invoice)


def void(call: Call) -> Json:
    """POST /v1/invoices/{id}/void: for good"""
    invoice = _in(call, "open", "uncollectible")
    _close(call, invoice, "void", "voided_at")
    customers.change_balance(call.store, invoice.customer or "", invoice.body["amount_due"] - invoice.body["total"])
    snapshot_events.emit(call, "invoice.voided", drafts.shown(call, invoice))
    return drafts.shown(call, invoice)


def mark_uncollectible(call: Call) -> Json:
    """POST /v1/invoices/{id}/mark_uncollectible"""
    invoice = _in(call, "open")
    _close(call, invoice, "uncollectible", "marked_uncollectible_at")
    snapshot_events.emit(call, "invoice.marked_uncollectible", drafts.shown(call, invoice))
    return drafts.shown(call, invoice)


def list_all(call: Call) -> Json:
    """GET /v1/invoices, newest first"""
    wanted = call.parameters
    due = objects.created_within({"created": wanted.get("due_date", {})})

    def fits(body: Json) -> bool:
        if "due_date" in wanted and (body["due_date"] is None or not due(body["due_date"])):
            return False
        if "subscription" in wanted and _subscription_of(body) != wanted["subscription"]:
            return False
        return all(wanted.get(name, body[name]) == body[name] for name in ("collection_method", "customer", "status"))

    return objects.listed(
        call.store,
        KIND,
        wanted,
        URL,
        lambda thing: drafts.shown(call, thing),
        fits,
        parent=wanted.get("subscription"),
    )


def _set_time(call: Call, invoice: Thing) -> None:
    moment: int | None = call.parameters.get("automatically_finalizes_at")
    if moment is None:
        return
    if not invoice.body["auto_advance"]:
        raise bad_request("automatically_finalizes_at needs auto_advance=true.", param="automatically_finalizes_at")
    if moment <= call.now:
        raise bad_request("automatically_finalizes_at must be in the future.", param="automatically_finalizes_at")
    drafts.schedule_at(invoice, moment)


def _advance(call: Call, invoice: Thing) -> None:
    """auto_advance has been switched: a draft waits its time again, an open invoice is charged again or left alone."""
    body = invoice.body
    if body["status"] == "draft":
        drafts.schedule(call, invoice)
    elif body["status"] == "open" and body["collection_method"] == "charge_automatically":
        again = call.now + call.settings.draft_seconds if body["auto_advance"] else None
        invoice.due_at = body["next_payment_attempt"] = again


def _close(call: Call, invoice: Thing, status: str, transition: str) -> None:
    invoice.body["status"] = status
    invoice.body["status_transitions"][transition] = call.now
    invoice.body["next_payment_attempt"] = invoice.due_at = None
    objects.change(call.store, invoice)


def _in(call: Call, *statuses: str) -> Thing:
    invoice = objects.get(call.store, KIND, call.path["id"])
    if invoice.body["status"] not in statuses:
        raise _wrong_state(invoice, " or ".join(statuses))
    return invoice


def _wrong_state(invoice: Thing, wanted: str) -> StripeError:
    status = invoice.body["status"]
    if status == "paid":
        return bad_request("Invoice is already paid", code="invoice_already_paid")
    if wanted == "draft":
        return bad_request("This invoice is already finalized, you can't re-finalize a non-draft invoice.")
    return bad_request(f"This invoice is {status}; this needs an invoice that is {wanted}.")


def _not_editable(param: str) -> StripeError:
    return bad_request(
        f"This invoice is no longer editable, because it has been finalized: {param} cannot be changed.",
        code="invoice_not_editable",
        param=param,
    )


def _subscription_of(body: Json) -> str | None:
    if body["parent"] is None:
        return None
    subscription: str = body["parent"]["subscription_details"]["subscription"]
    return subscription

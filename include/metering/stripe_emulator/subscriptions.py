"""Subscriptions: which prices a customer pays, from when on, and around which anchor the periods repeat."""

from metering.stripe_emulator import (
    billing_cycle,
    customers,
    objects,
    periods,
    snapshot_events,
    standing,
    subscription_items,
)
from metering.stripe_emulator.call import Call, new_id
from metering.stripe_emulator.errors import Json, bad_request
from metering.stripe_emulator.objects import Thing

URL = "/v1/subscriptions"
KIND = standing.SUBSCRIPTION
_SET = ("collection_method", "days_until_due", "description")


def create(call: Call) -> Json:
    """POST /v1/subscriptions"""
    wanted = call.parameters
    customer = objects.required(wanted, "customer")
    customers.get(call.store, customer)
    items = objects.required(wanted, "items")
    if not items:
        raise bad_request("Missing required param: items.", code="parameter_missing", param="items")
    first = subscription_items.priced(call, objects.required(items[0], "price"))
    start = wanted.get("backdate_start_date", call.now)
    if start > call.now:
        raise bad_request("backdate_start_date must be in the past.", param="backdate_start_date")
    body = _body(call, customer, first["currency"], start)
    body["billing_cycle_anchor"] = _anchor(call, first["recurring"], start)
    body["billing_cycle_anchor_config"] = _config(wanted)
    body["billing_mode"]["type"] = wanted.get("billing_mode", {}).get("type", "flexible")
    objects.fill(body, wanted, _SET)
    _check_collection(body)
    subscription = Thing(KIND, body, customer, private={"items_start": start})
    objects.add(call.store, subscription)
    for item in items:
        subscription_items.add(call, subscription, item)
    del subscription.private["items_start"]
    _set_end(call, subscription)
    billing_cycle.schedule(call, subscription)
    billing_cycle.begin(call, subscription, prorate=wanted.get("proration_behavior") != "none")
    # The first charge may have changed it since.
    return standing.shown(call, objects.get(call.store, KIND, subscription.id))


def retrieve(call: Call) -> Json:
    """GET /v1/subscriptions/{id}"""
    return standing.shown(call, objects.get(call.store, KIND, call.path["id"]))


def update(call: Call) -> Json:
    """POST /v1/subscriptions/{id}"""
    subscription = objects.get(call.store, KIND, call.path["id"])
    wanted = call.parameters
    if subscription.body["status"] == "canceled" and wanted.keys() - {"metadata", "expand"}:
        raise bad_request("A canceled subscription can only update its cancellation_details and metadata.")
    before = standing.shown(call, subscription)
    objects.fill(subscription.body, wanted, _SET)
    _check_collection(subscription.body)
    for item in wanted.get("items", []):
        _alter_item(call, subscription, item)
    _set_end(call, subscription)
    if subscription.body["status"] != "canceled":
        billing_cycle.schedule(call, subscription)
    objects.change(call.store, subscription)
    snapshot_events.emit(call, "customer.subscription.updated", standing.shown(call, subscription), before)
    return standing.shown(call, subscription)


def cancel(call: Call) -> Json:
    """DELETE /v1/subscriptions/{id}: usage since the last invoice is billed only with ``invoice_now``."""
    subscription = objects.get(call.store, KIND, call.path["id"])
    if subscription.body["status"] == "canceled":
        raise bad_request(f"No such subscription: '{subscription.id}'", code="resource_missing", param="id")
    subscription.body["cancellation_details"]["reason"] = "cancellation_requested"
    for name, value in call.parameters.get("cancellation_details", {}).items():
        subscription.body["cancellation_details"][name] = value or None
    billing_cycle.end(call, subscription, invoice_now=call.parameters.get("invoice_now", False))
    return standing.shown(call, subscription)


def list_all(call: Call) -> Json:
    """GET /v1/subscriptions, newest first; the canceled ones only where ``status`` asks for them"""
    wanted = call.parameters
    status = wanted.get("status")

    def fits(body: Json) -> bool:
        if status is None and body["status"] == "canceled":
            return False
        if status not in (None, "all") and body["status"] != ("canceled" if status == "ended" else status):
            return False
        if wanted.get("collection_method", body["collection_method"]) != body["collection_method"]:
            return False
        if "price" not in wanted:
            return True
        items = objects.of_parent(call.store, standing.ITEM, body["id"])
        return any(item.body["price"] == wanted["price"] for item in items)

    return objects.listed(call.store, KIND, wanted, URL, lambda thing: standing.shown(call, thing), fits)


def _anchor(call: Call, recurring: Json, start: int) -> int:
    """The moment that all periods are counted from: given, configured, or the start."""
    wanted = call.parameters
    if "billing_cycle_anchor_config" in wanted:
        if "billing_cycle_anchor" in wanted:
            raise bad_request(
                "You may only specify one of these parameters: billing_cycle_anchor, billing_cycle_anchor_config.",
                param="billing_cycle_anchor",
            )
        return periods.configured_anchor(wanted["billing_cycle_anchor_config"], call.now)
    anchor: int | None = wanted.get("billing_cycle_anchor")
    if anchor is None:
        return start
    if anchor < call.now:
        raise bad_request("billing_cycle_anchor must be in the future.", param="billing_cycle_anchor")
    if anchor > periods.edge(call.now, recurring, 1):
        raise bad_request(
            "billing_cycle_anchor cannot be later than next natural billing date "
            f"({periods.edge(call.now, recurring, 1)}) for plan",
            param="billing_cycle_anchor",
        )
    return anchor


def _config(wanted: Json) -> Json | None:
    given: Json | None = wanted.get("billing_cycle_anchor_config")
    if given is None:
        return None
    return {**dict.fromkeys(("hour", "minute", "month", "second")), **given}


def _check_collection(body: Json) -> None:
    sends = body["collection_method"] == "send_invoice"
    if sends and body["days_until_due"] is None:
        raise bad_request("If collection_method is send_invoice, you must pass days_until_due.", param="days_until_due")
    if not sends and body["days_until_due"] is not None:
        raise bad_request(
            "You can only set days_until_due if collection_method is send_invoice.", param="days_until_due"
        )


def _set_end(call: Call, subscription: Thing) -> None:
    """When the subscription ends, if it does: at a moment, or with a period."""
    wanted, body = call.parameters, subscription.body
    ends = [item.body["current_period_end"] for item in standing.items_of(call, subscription)]
    if "cancel_at" in wanted:
        named = {"": None, "min_period_end": min(ends), "max_period_end": max(ends)}
        cancel_at = named.get(wanted["cancel_at"], wanted["cancel_at"])
        if isinstance(cancel_at, str):
            raise bad_request(f"Invalid integer: {cancel_at}", param="cancel_at")
        if cancel_at is not None and cancel_at <= call.now:
            raise bad_request("cancel_at must be in the future.", param="cancel_at")
        body["cancel_at"] = cancel_at
        body["cancel_at_period_end"] = False
    if "cancel_at_period_end" in wanted:
        body["cancel_at_period_end"] = wanted["cancel_at_period_end"]
        body["cancel_at"] = max(ends) if wanted["cancel_at_period_end"] else None
    if "cancel_at" in wanted or "cancel_at_period_end" in wanted:
        body["canceled_at"] = None if body["cancel_at"] is None else call.now


def _alter_item(call: Call, subscription: Thing, wanted: Json) -> None:
    if "id" not in wanted:
        subscription_items.add(call, subscription, wanted)
        return
    item = objects.get(call.store, standing.ITEM, wanted["id"], param="items")
    if item.parent != subscription.id:
        raise bad_request(f"No such subscription item: '{wanted['id']}'", code="resource_missing", param="items")
    if wanted.get("deleted"):
        subscription_items.remove(call, subscription, item)
    else:
        subscription_items.alter(call, item, wanted)


def _body(call: Call, customer: str, currency: str, start: int) -> Json:
    nothing = (
        "application application_fee_percent billing_cycle_anchor_config billing_thresholds cancel_at canceled_at "
        "customer_account days_until_due default_payment_method default_source description ended_at latest_invoice "
        "next_pending_invoice_item_invoice on_behalf_of pause_collection pending_invoice_item_interval "
        "pending_setup_intent pending_update schedule test_clock transfer_data trial_end trial_start"
    )
    return {
        "id": new_id("sub"),
        "object": "subscription",
        **dict.fromkeys(nothing.split()),
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
        "billing_cycle_anchor": start,
        "billing_mode": {"flexible": None, "type": "flexible", "updated_at": None},
        "billing_schedules": [],
        "cancel_at_period_end": False,
        "cancellation_details": {"comment": None, "feedback": None, "feedback_option": None, "reason": None},
        "collection_method": "charge_automatically",
        "created": call.now,
        "currency": currency,
        "customer": customer,
        "default_tax_rates": [],
        "discounts": [],
        "invoice_settings": {
            "account_tax_ids": None,
            "custom_fields": None,
            "description": None,
            "footer": None,
            "issuer": {"account": None, "type": "self"},
        },
        "livemode": False,
        "metadata": {},
        "payment_settings": {
            "payment_method_options": None,
            "payment_method_types": None,
            "save_default_payment_method": "off",
        },
        "start_date": start,
        "status": "active",
        "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
    }

"""Subscription items: one price of a subscription, with a billing period of its own."""

from metering.stripe_emulator import billing_cycle, objects, periods, prices, snapshot_events, standing
from metering.stripe_emulator.call import Call, new_id
from metering.stripe_emulator.errors import Json, bad_request
from metering.stripe_emulator.objects import Thing

URL = "/v1/subscription_items"
KIND = standing.ITEM
MAX_ITEMS = 20


def create(call: Call) -> Json:
    """POST /v1/subscription_items: usage counts from now on, to the edge that the subscription's anchor gives."""
    subscription = _live(call, call.parameters["subscription"], param="subscription")
    before = standing.shown(call, subscription)
    item = add(call, subscription, call.parameters)
    _changed(call, subscription, before)
    return standing.item_shown(call, item)


def retrieve(call: Call) -> Json:
    """GET /v1/subscription_items/{id}"""
    return standing.item_shown(call, objects.get(call.store, KIND, call.path["id"]))


def update(call: Call) -> Json:
    """POST /v1/subscription_items/{id}"""
    item = objects.get(call.store, KIND, call.path["id"])
    subscription = _live(call, item.parent or "")
    before = standing.shown(call, subscription)
    alter(call, item, call.parameters)
    _changed(call, subscription, before)
    return standing.item_shown(call, item)


def delete(call: Call) -> Json:
    """DELETE /v1/subscription_items/{id}: its usage since the last invoice is billed nowhere."""
    item = objects.get(call.store, KIND, call.path["id"])
    subscription = _live(call, item.parent or "")
    before = standing.shown(call, subscription)
    remove(call, subscription, item)
    _changed(call, subscription, before)
    return {"id": item.id, "object": KIND, "deleted": True}


def list_all(call: Call) -> Json:
    """GET /v1/subscription_items, newest first"""
    subscription = objects.get(call.store, standing.SUBSCRIPTION, call.parameters["subscription"], param="subscription")
    return objects.listed(
        call.store, KIND, call.parameters, URL, lambda item: standing.item_shown(call, item), parent=subscription.id
    )


def add(call: Call, subscription: Thing, wanted: Json) -> Thing:
    """A new item of a subscription that has been checked."""
    price = priced(call, objects.required(wanted, "price"))
    others = standing.items_of(call, subscription)
    if any(other.body["price"] == price["id"] for other in others):
        raise bad_request(f"The price {price['id']} is already used by this subscription.", param="price")
    if len(others) >= MAX_ITEMS:
        raise bad_request(f"A subscription can have at most {MAX_ITEMS} items.", param="items")
    if price["currency"] != subscription.body["currency"]:
        raise bad_request(
            f"The price {price['id']} is in {price['currency']}, the subscription in {subscription.body['currency']}.",
            param="price",
        )
    anchor = subscription.body["billing_cycle_anchor"]
    begin, end = periods.around(anchor, price["recurring"], call.now)
    # The first period reaches back to a backdated start, and on to an anchor that is still ahead.
    start = subscription.private.get("items_start", call.now)
    start = start if anchor > call.now else max(start, begin)
    body: Json = {
        "id": new_id("si"),
        "object": KIND,
        "billing_thresholds": None,
        "created": call.now,
        "current_period_end": end,
        "current_period_start": start,
        "discounts": [],
        "metadata": {},
        "price": price["id"],
        "quantity": _quantity(price, wanted),
        "subscription": subscription.id,
        "tax_rates": [],
    }
    objects.merge_metadata(body, wanted)
    private = {"usage_from": start}
    return objects.add(call.store, Thing(KIND, body, subscription.customer, subscription.id, private=private))


def alter(call: Call, item: Thing, wanted: Json) -> None:
    """Change an item. With a new metered price, what was used before the change is billed nowhere."""
    if "price" in wanted and wanted["price"] != item.body["price"]:
        price = priced(call, wanted["price"])
        old = objects.get(call.store, prices.KIND, item.body["price"]).body
        if price["currency"] != old["currency"]:
            raise bad_request("A subscription keeps its currency.", param="price")
        if any(price["recurring"][name] != old["recurring"][name] for name in ("interval", "interval_count")):
            raise bad_request("The emulator does not change the interval of an item.", param="price")
        item.body["price"] = price["id"]
        item.private["usage_from"] = call.now
        item.body["quantity"] = _quantity(price, wanted)
    elif "quantity" in wanted:
        item.body["quantity"] = _quantity(priced(call, item.body["price"]), wanted)
    objects.merge_metadata(item.body, wanted)
    objects.change(call.store, item)


def remove(call: Call, subscription: Thing, item: Thing) -> None:
    """Take an item away, unless it is the last."""
    if len(standing.items_of(call, subscription)) == 1:
        raise bad_request("A subscription must have at least one active item.", param="items")
    objects.remove(call.store, item)


def priced(call: Call, price_id: str) -> Json:
    """A price that a subscription can take."""
    price = objects.get(call.store, prices.KIND, price_id, param="price").body
    if price["recurring"] is None:
        raise bad_request(
            f"The price specified is set to `type=one_time` but this field only accepts prices with "
            f"`type=recurring`: {price_id}",
            param="price",
        )
    if not price["active"]:
        raise bad_request(f"The price specified is inactive: {price_id}", param="price")
    return price


def _quantity(price: Json, wanted: Json) -> int | None:
    if price["recurring"]["usage_type"] == "metered":
        if "quantity" in wanted:
            raise bad_request("You cannot set a quantity for a metered price.", param="quantity")
        return None
    quantity: int = wanted.get("quantity", 1)
    if quantity < 0:
        raise bad_request("Invalid integer: quantity must be greater than or equal to 0", param="quantity")
    return quantity


def _live(call: Call, subscription_id: str, *, param: str | None = None) -> Thing:
    subscription = objects.get(call.store, standing.SUBSCRIPTION, subscription_id, param=param)
    if subscription.body["status"] == "canceled":
        raise bad_request("A canceled subscription can only update its cancellation_details and metadata.")
    return subscription


def _changed(call: Call, subscription: Thing, before: Json) -> None:
    billing_cycle.schedule(call, subscription)
    snapshot_events.emit(call, "customer.subscription.updated", standing.shown(call, subscription), before)

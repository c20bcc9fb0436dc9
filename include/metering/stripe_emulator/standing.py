"""Subscriptions and their items as replies show them."""

from metering.stripe_emulator import objects, prices
from metering.stripe_emulator.call import Call
from metering.stripe_emulator.errors import Json
from metering.stripe_emulator.objects import Thing

SUBSCRIPTION = "subscription"
ITEM = "subscription_item"


def items_of(call: Call, subscription: Thing) -> list[Thing]:
    """The items of a subscription, in the order they came."""
    return objects.of_parent(call.store, ITEM, subscription.id)


def shown(call: Call, subscription: Thing) -> Json:
    """A subscription with its items."""
    items = items_of(call, subscription)
    return {
        **subscription.body,
        "items": {
            "object": "list",
            "data": [item_shown(call, item) for item in items],
            "has_more": False,
            "total_count": len(items),
            "url": f"/v1/subscription_items?subscription={subscription.id}",
        },
    }


def item_shown(call: Call, item: Thing) -> Json:
    """An item with its price, and without a quantity where usage is metered."""
    price = objects.get(call.store, prices.KIND, item.body["price"]).body
    body = {**item.body, "price": price, "plan": prices.plan_of(price)}
    if price["recurring"]["usage_type"] == "metered":
        del body["quantity"]
    return body

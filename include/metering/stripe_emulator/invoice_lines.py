"""Invoice lines: of a subscription item or of an invoice item, each rounded once."""

from decimal import Decimal

from metering.stripe_emulator import meters, objects, pricing, quantity, summaries
from metering.stripe_emulator.call import Call, new_id
from metering.stripe_emulator.errors import Json
from metering.stripe_emulator.objects import Thing
from metering.stripe_emulator.pages import page

KIND = "line_item"


def list_all(call: Call) -> Json:
    """GET /v1/invoices/{id}/lines"""
    invoice = objects.get(call.store, "invoice", call.path["id"])
    return _listed(call, invoice.id, call.parameters)


def embedded(call: Call, invoice_id: str) -> Json:
    """The first lines, as an invoice shows them: a long invoice has more than it shows."""
    return _listed(call, invoice_id, {})


def _listed(call: Call, invoice_id: str, parameters: Json) -> Json:
    """Pending items and then subscription items, each the newest first, then what was added to the draft, in order."""
    lines = objects.of_parent(call.store, KIND, invoice_id)
    ordered = [
        line for group in ("pending", "subscription") for line in reversed(lines) if line.private["group"] == group
    ]
    ordered += [line for line in lines if line.private["group"] == "added"]
    return page([line.body for line in ordered], parameters, f"/v1/invoices/{invoice_id}/lines")


def add_subscription_item(call: Call, invoice: Thing, item: Thing, start: int, end: int) -> None:
    """A line for what a subscription item costs in a period. What is metered is read again at finalization."""
    price = objects.get(call.store, "price", item.body["price"])
    metered = price.body["recurring"]["usage_type"] == "metered"
    subscription = objects.get(call.store, "subscription", item.parent or "")
    body = _body(invoice, {"start": start, "end": end}, subscription.body["metadata"])
    body["parent"] = {
        "type": "subscription_item_details",
        "invoice_item_details": None,
        "subscription_item_details": {
            "invoice_item": None,
            "proration": False,
            "proration_details": None,
            "subscription": item.parent,
            "subscription_item": item.id,
        },
    }
    body["subscription"] = item.parent
    body["pricing"] = {
        "type": "price_details",
        "price_details": {"price": price.id, "product": price.body["product"]},
        "unit_amount_decimal": price.body["unit_amount_decimal"],
    }
    private: Json = {"price": price.id, "group": "subscription"}
    if metered:
        private |= {"meter": price.body["recurring"]["meter"], "from": max(start, item.private["usage_from"])}
    line = Thing(KIND, body, invoice.customer, invoice.id, private=private)
    _price(call, line, _usage(call, line) if metered else Decimal(item.body["quantity"]))
    objects.add(call.store, line)


def add_invoice_item(call: Call, invoice: Thing, item: Thing, *, group: str) -> None:
    """A line for an invoice item, which keeps its amount."""
    shown = item.body
    body = _body(invoice, shown["period"], shown["metadata"])
    subscription = None if shown["parent"] is None else shown["parent"]["subscription_details"]["subscription"]
    body["parent"] = {
        "type": "invoice_item_details",
        "subscription_item_details": None,
        "invoice_item_details": {
            "invoice_item": item.id,
            "proration": False,
            "proration_details": None,
            "subscription": subscription,
        },
    }
    body["subscription"] = subscription
    line = Thing(KIND, body, invoice.customer, invoice.id, private={"invoice_item": item.id, "group": group})
    _copy_item(line, item)
    objects.add(call.store, line)


def refresh_invoice_item(call: Call, invoice_id: str, item: Thing) -> None:
    """An invoice item has changed, and its line with it."""
    for line in objects.of_parent(call.store, KIND, invoice_id):
        if line.private.get("invoice_item") == item.id:
            _copy_item(line, item)
            objects.change(call.store, line)


def remove_invoice_item(call: Call, invoice_id: str, item_id: str) -> None:
    """An invoice item is gone, and its line with it."""
    for line in objects.of_parent(call.store, KIND, invoice_id):
        if line.private.get("invoice_item") == item_id:
            objects.remove(call.store, line)


def read_usage(call: Call, invoice_id: str) -> None:
    """Read what has been used by now into every metered line."""
    for line in objects.of_parent(call.store, KIND, invoice_id):
        if "meter" in line.private:
            _price(call, line, _usage(call, line))
            objects.change(call.store, line)


def _usage(call: Call, line: Thing) -> Decimal:
    """The meter's usage in the period, its start inclusive and its end exclusive. Less than nothing bills nothing."""
    meter = meters.get(call.store, line.private["meter"])
    start, end = line.private["from"], line.body["period"]["end"]
    used = summaries.total(call.store, meter, line.customer or "", start, end)
    return max(Decimal(0), used)


def _price(call: Call, line: Thing, units: Decimal) -> None:
    price = objects.get(call.store, "price", line.private["price"])
    product = objects.get(call.store, "product", price.body["product"]).body
    shown = format(quantity.written_out(units), "f")
    line.body["quantity"], line.body["quantity_decimal"] = int(units), shown
    line.body["amount"] = line.body["subtotal"] = pricing.amount(price.body, price.private["tiers"], units)
    line.body["description"] = f"{shown} × {product['name']}"


def _copy_item(line: Thing, item: Thing) -> None:
    line.body["subtotal"] = item.body["amount"]
    for name in ("amount", "description", "discountable", "metadata", "period", "quantity", "quantity_decimal"):
        line.body[name] = item.body[name]
    line.body["pricing"] = item.body["pricing"]


def _body(invoice: Thing, period: Json, metadata: Json) -> Json:
    return {
        "id": new_id("il"),
        "object": "line_item",
        "amount": 0,
        "currency": invoice.body["currency"],
        "description": None,
        "discount_amounts": [],
        "discountable": True,
        "discounts": [],
        "invoice": invoice.id,
        "livemode": False,
        "metadata": metadata,
        "parent": None,
        "period": period,
        "pretax_credit_amounts": [],
        "pricing": None,
        "quantity": 0,
        "quantity_decimal": "0",
        "subscription": None,
        "subtotal": 0,
        "taxes": [],
    }

"""Invoice items: amounts of the caller's own, pending for the next invoice or put on a draft."""

from decimal import Decimal

from metering.stripe_emulator import customers, drafts, invoice_lines, objects, pricing, quantity, snapshot_events
from metering.stripe_emulator.call import Call, new_id
from metering.stripe_emulator.errors import Json, bad_request
from metering.stripe_emulator.objects import Thing

URL = "/v1/invoiceitems"
KIND = "invoiceitem"
_SET = ("description", "discountable", "period")
_MAX_DECIMALS = 12


def create(call: Call) -> Json:
    """POST /v1/invoiceitems: on the draft that ``invoice`` names, else pending for the customer's next invoice."""
    wanted = call.parameters
    customer = objects.required(wanted, "customer")
    customers.get(call.store, customer)
    invoice = _draft(call, wanted["invoice"], customer) if "invoice" in wanted else None
    subscription = _subscription(call, customer, invoice)
    body: Json = {
        "id": new_id("ii"),
        "object": KIND,
        "amount": 0,
        "currency": _currency(call, invoice),
        "customer": customer,
        "customer_account": None,
        "date": call.now,
        "description": None,
        "discountable": False,
        "discounts": [],
        "invoice": None,
        "livemode": False,
        "metadata": {},
        "net_amount": 0,
        "parent": None
        if subscription is None
        else {
            "type": "subscription_details",
            "subscription_details": {"subscription": subscription, "subscription_item": None},
        },
        "period": {"start": call.now, "end": call.now},
        "pricing": None,
        "proration": False,
        "proration_details": None,
        "quantity": 1,
        "quantity_decimal": "1",
        "tax_rates": [],
        "test_clock": None,
    }
    _fill(call, body)
    _check_room(call, customer, invoice)
    item = objects.add(call.store, Thing(KIND, body, customer, private={"subscription": subscription}))
    if invoice is not None:
        drafts.attach(call, invoice, item)
        drafts.add_up(call, invoice)
    snapshot_events.emit(call, "invoiceitem.created", item.body)
    return item.body


def retrieve(call: Call) -> Json:
    """GET /v1/invoiceitems/{id}"""
    return objects.get(call.store, KIND, call.path["id"]).body


def update(call: Call) -> Json:
    """POST /v1/invoiceitems/{id}: until its invoice is finalized"""
    item = objects.get(call.store, KIND, call.path["id"])
    invoice = _of_draft(call, item)
    _fill(call, item.body)
    objects.change(call.store, item)
    if invoice is not None:
        invoice_lines.refresh_invoice_item(call, invoice.id, item)
        drafts.add_up(call, invoice)
    return item.body


def delete(call: Call) -> Json:
    """DELETE /v1/invoiceitems/{id}: until its invoice is finalized"""
    item = objects.get(call.store, KIND, call.path["id"])
    invoice = _of_draft(call, item)
    objects.remove(call.store, item)
    if invoice is not None:
        invoice_lines.remove_invoice_item(call, invoice.id, item.id)
        drafts.add_up(call, invoice)
    snapshot_events.emit(call, "invoiceitem.deleted", item.body)
    return {"id": item.id, "object": KIND, "deleted": True}


def list_all(call: Call) -> Json:
    """GET /v1/invoiceitems, newest first"""
    wanted = call.parameters

    def fits(body: Json) -> bool:
        if "pending" in wanted and wanted["pending"] != (body["invoice"] is None):
            return False
        return bool(wanted.get("customer", body["customer"]) == body["customer"])

    return objects.listed(call.store, KIND, wanted, URL, lambda thing: thing.body, fits, parent=wanted.get("invoice"))


def _fill(call: Call, body: Json) -> None:
    wanted = call.parameters
    objects.fill(body, wanted, _SET)
    period = body["period"]
    if period["start"] > period["end"]:
        raise bad_request("The period's start must not be after its end.", param="period")
    priced = wanted.keys() & {"unit_amount_decimal", "pricing", "quantity", "quantity_decimal"}
    if "amount" in wanted:
        if priced:
            raise bad_request(f"You may only specify one of these parameters: amount, {min(priced)}.", param="amount")
        body["pricing"] = _pricing(None, Decimal(wanted["amount"]))
        body["quantity"], body["quantity_decimal"] = 1, "1"
        body["amount"] = wanted["amount"]
    elif priced:
        _price(call, body)
    elif body["pricing"] is None:
        raise bad_request("You must pass an amount, a unit_amount_decimal or a price.", param="amount")
    if body["amount"] % pricing.step(body["currency"]):
        raise bad_request(
            f"Invalid amount: amounts in {body['currency']} must be a multiple of {pricing.step(body['currency'])}.",
            param="amount",
        )
    body["net_amount"] = body["amount"]


def _price(call: Call, body: Json) -> None:
    """Quantity times unit amount, rounded once."""
    wanted = call.parameters
    given = [wanted[name] for name in ("quantity_decimal", "quantity") if name in wanted]
    units = Decimal(given[0] if given else body["quantity_decimal"])
    if units < 0:
        raise bad_request("Invalid decimal: the quantity must not be negative.", param="quantity_decimal")
    price = None
    if "pricing" in wanted:
        price = objects.get(call.store, "price", objects.required(wanted["pricing"], "price"), param="pricing[price]")
        if price.body["type"] != "one_time" or price.body["currency"] != body["currency"]:
            raise bad_request("The price must be of type one_time and in the item's currency.", param="pricing[price]")
        unit = Decimal(price.body["unit_amount_decimal"])
    else:
        kept = None if body["pricing"] is None else body["pricing"]["unit_amount_decimal"]
        unit = Decimal(wanted.get("unit_amount_decimal", kept or "0"))
    for name, value in (("quantity_decimal", units), ("unit_amount_decimal", unit)):
        if len(format(quantity.written_out(value), "f").partition(".")[2]) > _MAX_DECIMALS:
            raise bad_request(f"Invalid decimal: {name} has more than {_MAX_DECIMALS} decimal places.", param=name)
    body["quantity"], body["quantity_decimal"] = int(units), format(quantity.written_out(units), "f")
    body["pricing"] = _pricing(price, unit)
    body["amount"] = pricing.rounded(quantity.product(units, unit), body["currency"])


def _pricing(price: Thing | None, unit: Decimal) -> Json:
    details = None if price is None else {"price": price.id, "product": price.body["product"]}
    exact = format(quantity.written_out(unit), "f")
    return {"type": "price_details", "price_details": details, "unit_amount_decimal": exact}


def _currency(call: Call, invoice: Thing | None) -> str:
    wanted: str | None = call.parameters.get("currency")
    if "pricing" in call.parameters and wanted is None and "price" in call.parameters["pricing"]:
        price = objects.get(call.store, "price", call.parameters["pricing"]["price"], param="pricing[price]")
        wanted = price.body["currency"]
    if invoice is not None:
        wanted = wanted or invoice.body["currency"]
        if wanted.lower() != invoice.body["currency"]:
            raise bad_request(
                f"The invoice is in {invoice.body['currency']}, the item in {wanted.lower()}.", param="currency"
            )
    if wanted is None:
        raise bad_request("Missing required param: currency.", code="parameter_missing", param="currency")
    return wanted.lower()


def _subscription(call: Call, customer: str, invoice: Thing | None) -> str | None:
    subscription: str | None = call.parameters.get("subscription")
    if subscription is not None:
        thing = objects.get(call.store, "subscription", subscription, param="subscription")
        if thing.customer != customer:
            raise bad_request("The subscription belongs to another customer.", param="subscription")
        if invoice is not None and invoice.parent != subscription:
            raise bad_request("The invoice belongs to another subscription.", param="subscription")
    return subscription or (None if invoice is None else invoice.parent)


def _draft(call: Call, invoice_id: str, customer: str) -> Thing:
    invoice = objects.get(call.store, drafts.KIND, invoice_id, param="invoice")
    if invoice.customer != customer:
        raise bad_request("The invoice belongs to another customer.", param="invoice")
    if invoice.body["status"] != "draft":
        raise bad_request(
            "This invoice is no longer editable, because it has been finalized.",
            code="invoice_not_editable",
            param="invoice",
        )
    return invoice


def _of_draft(call: Call, item: Thing) -> Thing | None:
    if item.parent is None:
        return None
    invoice = objects.get(call.store, drafts.KIND, item.parent)
    if invoice.body["status"] != "draft":
        raise bad_request(
            "This invoice item is attached to an invoice that is no longer editable.", code="invoice_not_editable"
        )
    return invoice


def _check_room(call: Call, customer: str, invoice: Thing | None) -> None:
    if invoice is None:
        rows = call.store.all("objects_of_customer", kind=KIND, customer=customer)
        taken = sum(row["parent"] is None for row in rows)
    else:
        taken = len(call.store.all("objects_of_parent", kind=KIND, parent=invoice.id))
    if taken >= drafts.MAX_ITEMS:
        raise bad_request(f"An invoice can have at most {drafts.MAX_ITEMS} invoice items.", param="invoice")

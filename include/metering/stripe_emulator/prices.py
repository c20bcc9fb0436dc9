"""Prices: what a unit of a product costs, in minor units with up to twelve decimals."""

import json
from decimal import Decimal

from metering.stripe_emulator import meters, objects, quantity, snapshot_events
from metering.stripe_emulator.call import Call, new_id
from metering.stripe_emulator.errors import Json, bad_request
from metering.stripe_emulator.objects import Thing

URL = "/v1/prices"
KIND = "price"
_MAX_DECIMALS = 12
_SET = ("active", "nickname", "tax_behavior")


def create(call: Call) -> Json:
    """POST /v1/prices"""
    wanted = call.parameters
    objects.get(call.store, "product", objects.required(wanted, "product"), param="product")
    recurring = _recurring(call)
    body: Json = {
        "id": new_id("price"),
        "object": "price",
        "active": True,
        "billing_scheme": wanted.get("billing_scheme", "per_unit"),
        "created": call.now,
        "currency": wanted["currency"].lower(),
        "custom_unit_amount": None,
        "livemode": False,
        "lookup_key": None,
        "metadata": {},
        "nickname": None,
        "product": wanted["product"],
        "recurring": recurring,
        "tax_behavior": "unspecified",
        "tiers_mode": None,
        "transform_quantity": None,
        "type": "one_time" if recurring is None else "recurring",
        "unit_amount": None,
        "unit_amount_decimal": None,
    }
    if len(body["currency"]) != 3:
        raise bad_request(f"Invalid currency: {wanted['currency']}", param="currency")
    tiers = _scheme(body, wanted)
    objects.fill(body, wanted, _SET)
    _take_lookup_key(call, body)
    thing = objects.add(call.store, Thing(KIND, body, parent=wanted["product"], private={"tiers": tiers}))
    snapshot_events.emit(call, "price.created", body)
    return _shown(call, thing, "tiers")


def retrieve(call: Call) -> Json:
    """GET /v1/prices/{id}: the tiers are shown where they are expanded."""
    return _shown(call, objects.get(call.store, KIND, call.path["id"]), "tiers")


def update(call: Call) -> Json:
    """POST /v1/prices/{id}: what a price costs never changes."""
    thing = objects.get(call.store, KIND, call.path["id"])
    before = dict(thing.body)
    objects.fill(thing.body, call.parameters, _SET)
    _take_lookup_key(call, thing.body)
    objects.change(call.store, thing)
    snapshot_events.emit(call, "price.updated", thing.body, before)
    return _shown(call, thing, "tiers")


def list_all(call: Call) -> Json:
    """GET /v1/prices, newest first"""
    wanted = call.parameters

    def fits(body: Json) -> bool:
        recurring = body["recurring"] or {}
        same = all(
            wanted.get(name, body[name]) == body[name] for name in ("active", "currency", "product", "type")
        ) and all(recurring.get(name) == value for name, value in wanted.get("recurring", {}).items())
        return same and body["lookup_key"] in wanted.get("lookup_keys", [body["lookup_key"]])

    return objects.listed(call.store, KIND, wanted, URL, lambda thing: _shown(call, thing, "data.tiers"), fits)


def plan_of(price: Json) -> Json:
    """The price in the words of the older Plans API, which subscription items still carry."""
    recurring = price["recurring"]
    transform = price["transform_quantity"]
    return {
        "id": price["id"],
        "object": "plan",
        "active": price["active"],
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": price["billing_scheme"],
        "created": price["created"],
        "currency": price["currency"],
        "interval": recurring["interval"],
        "interval_count": recurring["interval_count"],
        "livemode": False,
        "metadata": price["metadata"],
        "meter": recurring["meter"],
        "nickname": price["nickname"],
        "product": price["product"],
        "tiers_mode": price["tiers_mode"],
        "transform_usage": transform,
        "trial_period_days": None,
        "usage_type": recurring["usage_type"],
    }


def _recurring(call: Call) -> Json | None:
    wanted: Json | None = call.parameters.get("recurring")
    if wanted is None:
        return None
    usage_type = wanted.get("usage_type", "licensed")
    meter = wanted.get("meter")
    if usage_type == "metered" and meter is None:
        raise bad_request(
            "Prices with usage_type=metered must be backed by a meter: pass recurring[meter].", param="recurring[meter]"
        )
    if usage_type == "licensed" and meter is not None:
        raise bad_request("A meter can only be set with usage_type=metered.", param="recurring[meter]")
    if meter is not None and meters.get(call.store, meter, param="recurring[meter]")["status"] != "active":
        raise bad_request(f"The meter {meter} is inactive and cannot be attached to a price.", param="recurring[meter]")
    count = wanted.get("interval_count", 1)
    if count < 1:
        raise bad_request("Invalid integer: interval_count must be at least 1", param="recurring[interval_count]")
    return {
        "interval": wanted["interval"],
        "interval_count": count,
        "meter": meter,
        "trial_period_days": None,
        "usage_type": usage_type,
    }


def _scheme(body: Json, wanted: Json) -> list[Json] | None:
    """Fill in what a unit costs and return the tiers, if there are any."""
    if body["billing_scheme"] == "tiered":
        for name in ("unit_amount", "unit_amount_decimal", "transform_quantity"):
            if name in wanted:
                raise bad_request(f"You cannot use {name} with billing_scheme=tiered.", param=name)
        body["tiers_mode"] = objects.required(wanted, "tiers_mode")
        return _tiers(objects.required(wanted, "tiers"))
    for name in ("tiers", "tiers_mode"):
        if name in wanted:
            raise bad_request(f"You can only use {name} with billing_scheme=tiered.", param=name)
    body["unit_amount"], body["unit_amount_decimal"] = _amount(wanted, "unit_amount", "")
    if body["unit_amount_decimal"] is None:
        raise bad_request("Prices require an unit_amount or unit_amount_decimal.", param="unit_amount")
    transform: Json | None = wanted.get("transform_quantity")
    if transform is not None and transform["divide_by"] < 1:
        raise bad_request("Invalid integer: divide_by must be at least 1", param="transform_quantity[divide_by]")
    body["transform_quantity"] = transform
    return None


def _tiers(wanted: list[Json]) -> list[Json]:
    tiers: list[Json] = []
    bound: int | None = 0
    for number, one in enumerate(wanted):
        up_to = None if one["up_to"] == "inf" else one["up_to"]
        where = f"tiers[{number}]"
        if bound is None or isinstance(up_to, str) or (up_to is not None and up_to <= bound):
            raise bad_request(
                "Invalid tiers: up_to must be an integer that grows from tier to tier, and inf in the last.",
                param=f"{where}[up_to]",
            )
        bound = up_to
        tier: Json = {"up_to": up_to}
        for name in ("flat_amount", "unit_amount"):
            tier[name], tier[f"{name}_decimal"] = _amount(one, name, where)
        if tier["flat_amount_decimal"] is None and tier["unit_amount_decimal"] is None:
            raise bad_request("Each tier needs a unit amount or a flat amount.", param=where)
        tiers.append(tier)
    if bound is not None:
        raise bad_request("Invalid tiers: the up_to of the last tier must be inf.", param="tiers")
    return tiers


def _amount(wanted: Json, name: str, where: str) -> tuple[int | None, str | None]:
    """An amount in minor units: as a whole number, None where it has decimals, and as exact text."""
    decimal_name = f"{name}_decimal"
    param = f"{where}[{decimal_name}]" if where else decimal_name
    if name in wanted and decimal_name in wanted:
        raise bad_request(f"You may only specify one of these parameters: {name}, {decimal_name}.", param=param)
    if name in wanted:
        exact = Decimal(wanted[name])
    elif decimal_name in wanted:
        text = wanted[decimal_name]
        exact = quantity.written_out(Decimal(text))
        if len(format(exact, "f").partition(".")[2]) > _MAX_DECIMALS:
            raise bad_request(f"Invalid decimal: {text} has more than {_MAX_DECIMALS} decimal places.", param=param)
    else:
        return None, None
    if exact < 0:
        raise bad_request(f"Invalid decimal: {exact} must be greater than or equal to 0.", param=param)
    return (int(exact) if exact == exact.to_integral_value() else None), format(exact, "f")


def _take_lookup_key(call: Call, body: Json) -> None:
    """A lookup key names one price: another's is taken over only where the request says so."""
    key = call.parameters.get("lookup_key")
    if key is None:
        return
    for row in call.store.all("objects_of_kind", kind=KIND):
        other: Json = json.loads(row["body"])
        if key == "" or other["lookup_key"] != key or other["id"] == body["id"]:
            continue
        if not call.parameters.get("transfer_lookup_key", False):
            raise bad_request(
                f"A price (`{other['id']}`) already uses that lookup key.",
                code="resource_already_exists",
                param="lookup_key",
            )
        thing = objects.get(call.store, KIND, other["id"])
        thing.body["lookup_key"] = None
        objects.change(call.store, thing)
    body["lookup_key"] = key or None


def _shown(call: Call, thing: Thing, expansion: str) -> Json:
    tiers = thing.private["tiers"]
    if tiers is None or expansion not in call.parameters.get("expand", []):
        return thing.body
    return {**thing.body, "tiers": tiers}

"""Cancelling an event that Stripe received within the last day."""

from metering.stripe_emulator.call import Call, new_id, rfc3339
from metering.stripe_emulator.errors import Json, bad_request

CANCEL_SECONDS = 24 * 3600


def create_v1(call: Call) -> Json:
    """POST /v1/billing/meter_event_adjustments"""
    identifier = call.parameters.get("cancel", {}).get("identifier")
    if identifier is None:
        raise bad_request(
            "Missing required param: cancel[identifier].", code="parameter_missing", param="cancel[identifier]"
        )
    _cancel(call, identifier, code=None)
    return {
        "object": "billing.meter_event_adjustment",
        "cancel": {"identifier": identifier},
        "event_name": call.parameters["event_name"],
        "livemode": False,
        "status": "pending",
        "type": "cancel",
    }


def create_v2(call: Call) -> Json:
    """POST /v2/billing/meter_event_adjustments"""
    identifier = call.parameters["cancel"]["identifier"]
    _cancel(call, identifier, code="invalid_cancel_configuration")
    return {
        "object": "v2.billing.meter_event_adjustment",
        "id": new_id("mtr_adj_test"),
        "cancel": {"identifier": identifier},
        "created": rfc3339(call.now),
        "event_name": call.parameters["event_name"],
        "livemode": False,
        "status": "pending",
        "type": "cancel",
    }


def _cancel(call: Call, identifier: str, code: str | None) -> None:
    row = call.store.one("event_to_cancel", identifier=identifier, event_name=call.parameters["event_name"])
    param = "cancel[identifier]"
    if row is None:
        raise bad_request(f"No meter event exists with identifier {identifier}.", code=code, param=param)
    if row["cancelled_at"] is not None:
        raise bad_request(f"The meter event {identifier} is already cancelled.", code=code, param=param)
    if row["received_at"] <= call.now - CANCEL_SECONDS:
        raise bad_request(
            f"The meter event {identifier} was received more than 24 hours ago and cannot be cancelled.",
            code=code,
            param=param,
        )
    call.store.run("cancel_meter_event", seq=row["seq"], now=call.now)

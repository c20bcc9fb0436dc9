"""Delivery of alerts that triggered: at least once to each channel, and one channel's failure is nobody else's."""

from __future__ import annotations

import hashlib
import json
import logging
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import httpx
import psycopg
from psycopg.rows import DictRow

from metering import statements
from metering.database import rows

log = logging.getLogger(__name__)

SQL = statements.beside(__file__, "alerts")

TIMEOUT = httpx.Timeout(5.0)
"""For each step of one POST; a webhook that takes longer is tried again at the next run."""
AT_ONCE = 8
"""Alerts delivered side by side, so that slow webhooks don't add up."""
AT_MOST = 1000
"""Alerts taken up by one run, those tried least often first."""


def deliver(connection: psycopg.Connection[DictRow]) -> dict[str, Any]:
    """Deliver what has triggered and was not delivered to all of its channels yet; record each outcome at once.

    A webhook gets a POST of JSON with quantities and amounts as strings and an `Idempotency-Key` made of the fact
    (team, alert, subscription, period, threshold), the same at every attempt: whoever receives it twice can tell.
    Anything but a 2xx reply is a failure. Returns counts of delivered and failed; never raises for a failing webhook.
    """
    pending = rows(connection, SQL["pending"], at_most=AT_MOST)
    failures: list[str] = []
    with httpx.Client(timeout=TIMEOUT) as client, ThreadPoolExecutor(AT_ONCE) as pool:
        attempts = {pool.submit(_deliver, client, alert): alert for alert in pending}
        for attempt in as_completed(attempts):
            alert, error = attempts[attempt], attempt.result()
            connection.execute(SQL["record_attempt"], {**alert, "error": error})
            if error is not None:
                failures.append(f"{alert['team_key']} {alert['alert_key']}: {error}")
                log.error("Alert %s of team %s was not delivered: %s", alert["alert_key"], alert["team_key"], error)
    return {"delivered": len(pending) - len(failures), "failed": len(failures), "failures": failures}


def idempotency_key(alert: dict[str, Any]) -> str:
    """A name of the fact that an alert triggered, the same whenever and however often it is delivered."""
    fact = [
        alert["team_key"],
        alert["alert_key"],
        alert["subscription_key"],
        alert["period_start"].isoformat(),
        f"{alert['threshold'].normalize():f}",
    ]
    return f"alert_{hashlib.sha256(json.dumps(fact).encode()).hexdigest()[:32]}"


def message(alert: dict[str, Any]) -> dict[str, Any]:
    """What a webhook is told. Amounts are in the currency's major unit, quantities in the meter's; moments are UTC."""
    return {
        "type": "alert.triggered",
        "id": idempotency_key(alert),
        "team": alert["team_key"],
        "alert": alert["alert_key"],
        "severity": alert["severity"],
        "measure": alert["measure"],
        "meter": alert["meter_key"],
        "unit": alert["unit"],
        "threshold": f"{alert['threshold'].normalize():f}",
        "observed": f"{alert['observed'].normalize():f}",
        "subscription": alert["subscription_key"],
        "period": alert["period_label"],
        "period_start": alert["period_start"].isoformat(),
        "period_end": alert["period_end"].isoformat(),
        "triggered_at": alert["triggered_at"].isoformat(),
    }


def _deliver(client: httpx.Client, alert: dict[str, Any]) -> str | None:
    """Try every channel of one alert; the error to record, or None where all of them took it."""
    errors = []
    for channel in alert["channels"]:
        try:
            _to_channel(client, channel, alert)
        # Whatever a channel does, the others and the other alerts go on.
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}".splitlines()[0])
    return "; ".join(errors) or None


def _to_channel(client: httpx.Client, channel: Any, alert: dict[str, Any]) -> None:
    body = message(alert)
    if channel == "log":
        log.warning(
            "Alert %(alert)s (%(severity)s) of team %(team)s: %(observed)s %(unit)s in %(period)s reach %(threshold)s.",
            body,
        )
    elif isinstance(channel, dict) and set(channel) == {"webhook"}:
        reply = client.post(channel["webhook"], json=body, headers={"Idempotency-Key": body["id"]})
        if not reply.is_success:
            raise RuntimeError(f"the webhook answered {reply.status_code}")
    else:
        raise ValueError(f"no such channel: {json.dumps(channel)}")

"""Telling people: into the log, and to the webhook that BILLING_NOTICE_WEBHOOK names, where it does."""

from __future__ import annotations

import logging

import httpx

from metering import settings

log = logging.getLogger(__name__)


def tell(subject: str, details: list[str]) -> bool:
    """Tell people about something; True where everybody who should know was reached. Never raises.

    The webhook gets a POST of JSON: `text` (what chat services show) with the subject and the details, one a line.
    """
    text = "\n".join([subject, *details])
    log.warning("%s", text)
    webhook = settings.load().get("BILLING_NOTICE_WEBHOOK")
    if not webhook:
        return True
    try:
        httpx.post(webhook, json={"text": text}, timeout=5).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        log.error("The notice webhook was not reached: %s", error)
        return False
    return True

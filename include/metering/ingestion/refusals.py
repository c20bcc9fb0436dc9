"""What is said of a request that can't be answered as it was meant, whatever has gone wrong."""

from __future__ import annotations

import logging

from metering.ingestion.events import TooLarge, Unreadable
from metering.ingestion.logs import log
from metering.ingestion.queue import QueueFull
from metering.ingestion.replies import Refusal
from metering.ingestion.worker import RETRY_AFTER, Unavailable


def refusal_of(error: BaseException) -> Refusal:
    """The refusal that tells an error; what nobody has foreseen goes to the log."""
    match error:
        case Refusal():
            return error
        case TooLarge():
            return Refusal(413, "body_too_large", error.message)
        case Unreadable():
            return Refusal(400, "unreadable_body", error.message, position=error.position)
        case QueueFull():
            message = "Too many events wait for their commit; nothing of this request was kept. Send it again."
            return Refusal(429, "queue_full", message, retry_after=1)
        case Unavailable():
            message = "The database can't be reached. Send the request again: what was already kept counts once."
            return Refusal(503, "unavailable", message, retry_after=RETRY_AFTER)
    log(logging.ERROR, "unexpected_error", error=error)
    return Refusal(500, "internal_error", "This is our mistake, and it is in our log. Sending it again is safe.")

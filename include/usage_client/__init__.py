"""Send usage events to a metering service: batched, retried, counted once, never in the way of the application.

from usage_client import UsageClient

with UsageClient("http://127.0.0.1:8090", api_key) as usage:
    usage.track("api_request", quantity=1, properties={"endpoint": "search"})
"""

from usage_client.aio import AsyncUsageClient
from usage_client.base import UsageClientError
from usage_client.client import UsageClient
from usage_client.events import derive_key
from usage_client.lifetime import flush_on_sigterm
from usage_client.retry import RetryPolicy
from usage_client.spool import SpoolState
from usage_client.tally import Drops, FailedBatch, Rejection, Tally

__all__ = [
    "AsyncUsageClient",
    "Drops",
    "FailedBatch",
    "Rejection",
    "RetryPolicy",
    "SpoolState",
    "Tally",
    "UsageClient",
    "UsageClientError",
    "derive_key",
    "flush_on_sigterm",
]

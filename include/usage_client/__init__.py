"""Send usage events to a metering service: batched, retried, counted once, never in the way of the application.

from usage_client import UsageClient

with UsageClient("http://127.0.0.1:8090", api_key) as usage:
    usage.track("api_request", quantity=1, properties={"endpoint": "search"})
"""

from usage_client.client import UsageClient, UsageClientError
from usage_client.events import derive_key
from usage_client.tally import FailedBatch, Rejection, Tally

__all__ = ["FailedBatch", "Rejection", "Tally", "UsageClient", "UsageClientError", "derive_key"]

"""The synchronous client: `track` hands an event over, threads of its own send it."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from usage_client.base import BaseClient
from usage_client.tally import Tally


class UsageClient(BaseClient):
    """Sends usage events in batches, by count and by time, and retries until the service has answered for each.

    Nothing of it raises into the application or blocks it, unless it asks: with `raise_errors`, `track` raises for
    what is no event, and `flush` and `close` raise `UsageClientError` for what was not delivered; with `wait_for_room`,
    `track` waits where `max_pending` events are on their way, instead of dropping (and counting) the new one.

    Safe to use from many threads, and in processes forked off. Batches leave in the order in which events were
    tracked, one at a time; with more than one of `connections`, that many are on their way at once, and their order is
    the network's. What was on disk comes when it comes.
    """

    def flush(self, timeout: float | None = 30.0) -> bool:
        """Send what is pending, on disk too, and wait until the service has answered for all of it.

        False where that took longer than `timeout` seconds (None: as long as it takes).
        """
        return self._flush(timeout)

    def close(self, timeout: float | None = 30.0) -> Tally:
        """Flush for at most `timeout` seconds, stop, and return the tally.

        What could not be sent is on disk, or (without a spool) in `failed_batches`. While the service is away, what is
        on disk is not waited for.
        """
        done = self._close(timeout)
        if self._raise:
            self._raise_for_failures(done)
        return self.tally

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

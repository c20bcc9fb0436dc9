"""The asynchronous client: the same, and nothing of it holds up the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

from usage_client.base import BaseClient
from usage_client.tally import Tally

T = TypeVar("T")


class AsyncUsageClient(BaseClient):
    """`UsageClient` for asyncio. `track` is a plain call, as there is nothing in it to wait for.

    Threads do the sending: a loop that is busy does not hold up the usage, and a large batch does not hold up the loop.
    Instead of `wait_for_room` there is `room`.
    """

    _may_wait = False

    async def room(self) -> None:
        """Wait until there is room for an event, for those who rather wait than drop."""
        while not self._buffer.has_room:
            await asyncio.sleep(0.005)

    async def flush(self, timeout: float | None = 30.0) -> bool:
        """Send what is pending, on disk too; False where that took longer than `timeout` seconds."""
        return await in_thread(lambda: self._flush(timeout))

    async def close(self, timeout: float | None = 30.0) -> Tally:
        """Flush for at most `timeout` seconds, stop, and return the tally."""
        done = await in_thread(lambda: self._close(timeout))
        if self._raise:
            self._raise_for_failures(done)
        return self.tally

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def in_thread(work: Callable[[], T]) -> T:
    """Wait for work in a thread of its own: the loop's pool is the application's, and may be full."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def finish(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)  # type: ignore[arg-type] # without an error there is a result
        else:
            future.set_exception(error)

    def run() -> None:
        try:
            result, error = work(), None
        except BaseException as raised:
            result, error = None, raised
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(finish, result, error)

    threading.Thread(target=run, name="usage-client-wait", daemon=True).start()
    return await future

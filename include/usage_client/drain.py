"""What waits on disk, and sending it by hand: `python -m usage_client.drain FOLDER [--url URL]`.

For a key that was replaced, a machine that is given up, a service that has moved.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from usage_client.base import default_http
from usage_client.buffer import Buffer
from usage_client.delivery import Delivery
from usage_client.retry import RetryPolicy
from usage_client.sender import Sender
from usage_client.spool import Spool
from usage_client.tally import Books, Tally

BATCH = 1000
KEY = "USAGE_API_KEY"


def spools_in(folder: Path) -> list[Spool]:
    """The spools of a folder: one for each service and team."""
    return [Spool(path, sys.maxsize) for path in sorted(folder.iterdir()) if path.is_dir()]


def drain(
    spool: Spool, delivery: Delivery, timeout: float, progress: Callable[[Tally], None] = lambda _: None
) -> tuple[Tally, bool]:
    """Send what a spool holds and no process sends, what was refused before too, for at most `timeout` seconds.

    Returns what became of it, and whether nothing waits any more. What could not be sent stays where it is.
    """
    books, buffer = Books(max_kept=0), Buffer(BATCH, 1.0, max_pending=1, max_bytes=1)
    sender = Sender(buffer, books, delivery, spool, policy=RetryPolicy(), connections=1, batch_size=BATCH)
    until = time.monotonic() + timeout
    sender.start()
    try:
        while not (done := sender.flush(min(1.0, max(0.0, until - time.monotonic())))) and time.monotonic() < until:
            progress(books.tally)
    finally:
        sender.close(0)
    return books.tally, done


def main() -> int:
    """Show what a folder holds, or send it; fails where something is left."""
    parser = argparse.ArgumentParser(
        prog="python -m usage_client.drain",
        description="Show the usage that waits in a spool's folder, or send it.",
        epilog=f"example: {KEY}=... python -m usage_client.drain spool --url http://127.0.0.1:8090",
    )
    parser.add_argument("folder", type=Path, help="the spool that clients were given")
    parser.add_argument("--url", help=f"send it to this service, with the API key that is in {KEY}")
    parser.add_argument("--only", metavar="SENDER", help="only that of this sender, as the list names it")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for each sender (default: %(default)s)")
    arguments = parser.parse_args()
    if not arguments.folder.is_dir():
        parser.error(f"{arguments.folder} is no folder")
    spools = [spool for spool in spools_in(arguments.folder) if arguments.only in (None, spool.folder.name)]
    if arguments.url is None:
        print(f"{'sender':<18} {'files':>7} {'events':>9} {'refused':>9} {'damaged':>8} {'KiB':>9}")
        for spool in spools:
            state = spool.state
            counts = f"{state.files:>7} {state.events:>9} {state.failed:>9} {state.damaged:>8} {state.bytes // 1024:>9}"
            print(f"{spool.folder.name:<18} {counts}")
        return 0
    if KEY not in os.environ:
        parser.error(f"the API key is expected in the environment, as {KEY}")
    delivery = Delivery(arguments.url, os.environ[KEY], compress=False, make_http=default_http(arguments.url, 30.0))
    left = False
    for spool in spools:
        tally, done = drain(
            spool,
            delivery,
            arguments.timeout,
            lambda tally: print(f"{tally.sent} events sent ...", file=sys.stderr, flush=True),
        )
        left = left or not done or tally.failed > 0
        print(
            f"{spool.folder.name}: {tally.accepted} accepted, {tally.duplicate} duplicate, {tally.quarantined} in"
            f" quarantine, {tally.refused + tally.failed} refused, {spool.state.events} left"
        )
    delivery.close()
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())

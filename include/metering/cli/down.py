"""`./billing down`"""

from __future__ import annotations

EXAMPLES = ["./billing down"]


def down() -> None:
    """Stop everything that up or demo started.

    What is stored stays, and the next `./billing up` goes on with it. A database that DATABASE_URL names runs on.
    """
    from metering import settings
    from metering.cli.console import say
    from metering.processes import system

    stopped = system.down(settings.load(), say)
    print(f"Stopped: {', '.join(stopped)}." if stopped else "Nothing was running.")

"""`./billing down`"""

from __future__ import annotations

EXAMPLES = ["./billing down"]


def down() -> None:
    """Stop everything that `up` or `demo` started; what is stored stays."""
    from metering import settings
    from metering.cli.console import say
    from metering.processes import system

    stopped = system.down(settings.load(), say)
    print(f"Stopped: {', '.join(stopped)}." if stopped else "Nothing was running.")

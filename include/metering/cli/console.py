"""What all commands say things with."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator


def say(message: str) -> None:
    """Tell of progress: a line on standard error, so that standard output stays what the command is asked for."""
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True, highlight=False, soft_wrap=True).print(
        Text.assemble((time.strftime("%H:%M:%S "), "dim"), message)
    )


def complain(message: str, remedy: str = "") -> None:
    """Say what went wrong and what to do."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(Text.assemble(("billing: ", "bold red"), message))
    if remedy:
        console.print(Text(f"  {remedy}"))


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Turn Ctrl-C into a sentence that says what is left running."""
    try:
        yield
    except KeyboardInterrupt:
        from metering import settings
        from metering.errors import BillingError
        from metering.processes import system

        raise BillingError("Interrupted.", system.left_running(settings.load())) from None


def table(rows: Iterable[Iterable[object]], *, headers: Iterable[str] = (), title: str | None = None) -> None:
    """Print a table on standard output; plain columns where that is a file or a pipe."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    headers = tuple(headers)
    made = Table(title=title, title_justify="left", show_header=bool(headers), box=None, pad_edge=False)
    for header in headers:
        made.add_column(header)
    for row in rows:
        made.add_row(*(Text("" if cell is None else str(cell), overflow="fold") for cell in row))
    # A pipe has no width; one wide enough keeps each row on its line.
    Console(highlight=False, width=None if sys.stdout.isatty() else 200).print(made)

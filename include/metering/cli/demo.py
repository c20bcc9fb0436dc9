"""`./billing demo`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = [
    "./billing demo",
    "./billing demo --summary summary.json",
    "./billing demo --events usage.csv --map usage_map.yaml",
]


def demo(
    events: Annotated[Path | None, typer.Option(help="Usage to bill instead of the sample: CSV or JSON lines.")] = None,
    map: Annotated[
        Path | None, typer.Option(help="Which column of the file is what, and the catalog to bill it by.")
    ] = None,
    summary: Annotated[Path | None, typer.Option(help="Write what came of it to this file, as JSON.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask before sending to a Stripe account.")] = False,
) -> None:
    """Go the whole way: start the system, send usage, bill it, submit it, reconcile it, check each bill to the cent.

    Leaves the system running and says how to look and how to stop. Doing it again changes no bill and submits nothing
    twice.
    """
    from metering import settings as settings_module
    from metering.cli.console import interruptible
    from metering.demo import outcome, sources
    from metering.demo.display import Display, report
    from metering.demo.journey import travel
    from metering.errors import BillingError

    settings = settings_module.load()
    if summary:
        outcome.writable(summary)
    if (events is None) != (map is None):
        raise BillingError("--events and --map go together.", "Give both, or neither to use the sample.")
    if not settings.stripe_emulated and not yes:
        _ = settings.stripe_api_key  # a wrong or a live key is refused before anything is asked
        typer.confirm("The demo sends its usage to the Stripe account of STRIPE_API_KEY. Go on?", abort=True, err=True)
    source: sources.Source
    if events and map:
        from metering.demo.file_source import FileSource

        source = FileSource(events, map)
    else:
        source = sources.SampleSource(settings)
    with interruptible(), Display() as display:
        display.say(f"This demo bills {source.title}.")
        result, settings = travel(settings, source, display)
    if summary:
        outcome.write(result, summary)
    report(result, settings)
    result.require_right()

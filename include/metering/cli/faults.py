"""`./billing faults`"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from typing import Annotated

import typer

EXAMPLES = ["./billing faults", "./billing faults disk replies", "./billing faults processes --times 100 --seed 4711"]
PARTS = {
    "processes": "kill -9 of the service, of PostgreSQL, and of both, in the middle of a load",
    "disk": "a disk that fills up, and one whose power is cut (as root on Linux; skipped elsewhere)",
    "replies": "connections that break after the commit and before the reply",
    "races": "several services, the same keys, commits out of order, archived months",
    "metering": "kill -9 of a metering run, and of the database under it",
}
PART_HELP = "Which parts: " + "; ".join(f"{name} ({what})" for name, what in PARTS.items()) + ". All if left out."


def faults(
    parts: Annotated[list[str] | None, typer.Argument(help=PART_HELP, metavar="[PART]...")] = None,
    times: Annotated[int, typer.Option(min=1, help="How often each fault happens.")] = 20,
    seed: Annotated[
        str, typer.Option(help="Repeat the random moments of an earlier run, which printed its seed.")
    ] = "",
) -> None:
    """Prove that nothing acknowledged is lost and nothing counted twice, by really killing, filling and cutting.

    Everything happens to servers of its own, which are removed afterwards; the running system is not touched. What was
    acknowledged, landed, metered and billed is compared event by event, and printed. All parts take about 15 minutes.
    Exits with another status than 0 when something was lost, counted twice, or billed wrong.
    """
    from metering.cli.console import say
    from metering.errors import BillingError
    from metering.settings import PROJECT_ROOT

    chosen = list(dict.fromkeys(parts or PARTS))
    if unknown := [part for part in chosen if part not in PARTS]:
        raise BillingError(f"There is no part {unknown[0]!r}.", f"The parts are {', '.join(PARTS)}.")
    seed = seed or str(secrets.randbelow(1_000_000))
    for part in chosen:
        say(f"{part}: {PARTS[part]}")
    say(f"{times} times each, with the seed {seed}")
    files = [str(PROJECT_ROOT / "tests" / "faults" / f"test_{part}.py") for part in chosen]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "-v", "--no-header", "-p", "no:cacheprovider", *files],
        cwd=PROJECT_ROOT,
        env={**os.environ, "FAULTS_TIMES": str(times), "FAULTS_SEED": seed},
    )
    raise typer.Exit(done.returncode)

"""`./billing init`: catalog files to start from."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = [
    "./billing init --preset api",
    "./billing init --preset storage include/catalog",
    "./billing init --preset compute catalog --force",
]


class Preset(StrEnum):
    """The products that there are presets for."""

    api = "api"
    storage = "storage"
    compute = "compute"


def init(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR",
            help="Where to write it; BILLING_CATALOG, or include/catalog, where it is left out.",
            show_default=False,
        ),
    ] = None,
    preset: Annotated[
        Preset,
        typer.Option(help="API calls; storage by average or peak, with bandwidth; compute hours, spot and on demand."),
    ] = ...,  # type: ignore[assignment]  # Typer's way to ask for an option that has no default
    force: Annotated[
        bool, typer.Option("--force", help="Write over a file that is there with something else.")
    ] = False,
) -> None:
    """Write a catalog to start from: meters, prices and an example team of one product, as a file.

    Nothing is applied. A file that is there already with something else in it is written over only with --force.
    Several presets may stand in one folder.
    """
    from metering import settings
    from metering.catalog import presets

    target = folder or settings.load().catalog
    path = presets.write(preset.value, target, overwrite=force)
    print(f"{path} is written. Change it as you need, then:")
    print(f"  ./billing prices plan{f' {folder}' if folder else ''}")

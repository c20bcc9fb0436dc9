"""`./billing ingest`"""

from __future__ import annotations

import gc
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from metering.errors import BillingError
    from metering.files import Mapping, Tally
    from metering.ingestion.landing import Landing

EXAMPLES = [
    "./billing ingest usage.csv",
    "./billing ingest requests.jsonl.gz --map requests.map.yaml",
    "./billing ingest exports/ 'archive/2026-*/*.parquet'",
    "./billing ingest /var/log/nginx/access.log* --map access.map.yaml",
]


def ingest(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="CSV with a header, JSON lines, Parquet, or access logs; plain, gzip or zstd. Directories and quoted"
            " patterns are searched.",
        ),
    ],
    map_file: Annotated[
        Path | None,
        typer.Option("--map", help="A YAML file that says which column is the time, the key, the team and so on."),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Read files from their beginning, also those that were read before.")
    ] = False,
) -> None:
    """Take usage events from files. Rows that can't count are kept in quarantine, each with its line and reason.

    Without --map, columns are the fields of events: team, event, quantity, unit, idempotency_key, time, subject,
    properties.<name>. An import that was interrupted goes on where it was, and no event counts twice, however often
    it is read. What a map can say is in docs/ingestion.md.
    """
    # Modules hold no garbage; looking for it while they are read, and once more at the end, takes a third of a second.
    gc.disable()
    from metering import settings
    from metering.files import Interrupted, Mapping, paths
    from metering.files.content import Content
    from metering.ingestion.landing import Landing

    gc.freeze()
    gc.enable()
    found = paths.find(files)
    if not any(path.exists() for path in found):
        Content(found[0])  # raises, before a database is asked for that may not be there yet
    mapping = Mapping.load(map_file) if map_file else None
    url = settings.load().database_url
    landing = Landing.connect(url, application="billing-ingest")
    try:
        tallies, failures = _import(landing, url, found, mapping, again)
    finally:
        landing.close()
    _show(tallies, len(found))
    for failure in failures:
        from metering.cli.console import complain

        complain(failure.message, failure.remedy)
    if any(isinstance(failure, Interrupted) for failure in failures):
        raise typer.Exit(130)
    if failures or not any(tally.accepted or tally.duplicate for tally in tallies.values()):
        raise typer.Exit(1)


def _import(
    landing: Landing, url: str, files: list[Path], mapping: Mapping | None, again: bool
) -> tuple[dict[Path, Tally], list[BillingError]]:
    """Import one file after the other; what is wrong with one is told at the end, and the others are imported."""
    from metering.errors import BillingError
    from metering.files import Interrupted, import_file

    tallies: dict[Path, Tally] = {}
    failures: list[BillingError] = []
    with _Progress(files) as progress, _Stop() as stop:
        for path in files:
            progress.begin(path)
            try:
                tallies[path] = import_file(
                    landing, path, mapping, again=again, progress=progress.advance, url=url, stop=stop
                )
                progress.end(tallies[path])
            except Interrupted:
                failures.append(Interrupted(progress.interrupted, "Run the same again: it goes on from there."))
                break
            except BillingError as error:
                failures.append(error)
                if landing.connection.broken:
                    break
    return tallies, failures


class _Stop:
    """Ctrl-C, once: stop after what has begun to land, so that the place is that of the last row; twice: at once."""

    def __init__(self) -> None:
        self._asked = False

    def __call__(self) -> bool:
        return self._asked

    def __enter__(self) -> _Stop:
        self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _ask(self, *_: object) -> None:
        self._asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)


class _Progress:
    """A bar over the bytes of all files, with what became of their events."""

    def __init__(self, files: list[Path]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        self._bar = Progress(
            TextColumn("{task.fields[what]}"),
            BarColumn(bar_width=16),
            TaskProgressColumn(),
            TextColumn("{task.fields[landed]}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            # No thread beside this one, so that the processes which land a large file can go on from here.
            auto_refresh=False,
        )
        self._sizes = {path: path.stat().st_size if path.is_file() else 0 for path in files}
        self._task = self._bar.add_task("", total=sum(self._sizes.values()), what="", landed="")
        self._begun = time.monotonic()
        self._done = 0
        self._size = self._events = 0
        self._name = ""
        self._counts: tuple[int, ...] = (0, 0, 0, 0)

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, path: Path) -> None:
        """Go on to the next file."""
        self._done += self._size
        self._size = self._sizes[path]
        self._name = path.name
        self._bar.update(self._task, what=path.name, completed=self._done, refresh=True)

    def advance(self, read: int, of: int, tally: Tally) -> None:
        """A piece of the file has landed."""
        whole = tally.read, tally.accepted, tally.duplicate, tally.quarantined
        events, accepted, duplicate, quarantined = (a + b for a, b in zip(self._counts, whole, strict=True))
        self._events = events
        rate = events / max(time.monotonic() - self._begun, 0.001)
        said = f"{rate:,.0f} events/s: {accepted:,} accepted"
        said += f", {duplicate:,} duplicate" if duplicate else ""
        said += f", {quarantined:,} quarantined" if quarantined else ""
        self._bar.update(
            self._task, completed=self._done + (self._size * read // of if of else 0), landed=said, refresh=True
        )

    @property
    def interrupted(self) -> str:
        """How far it came, where it was interrupted."""
        return f"Interrupted in {self._name}; {self._events:,} events were read and have landed."

    def end(self, tally: Tally) -> None:
        """All of the file has landed."""
        if not tally.finished_before:
            before, whole = self._counts, (tally.read, tally.accepted, tally.duplicate, tally.quarantined)
            self._counts = tuple(a + b for a, b in zip(before, whole, strict=True))


def _show(tallies: dict[Path, Tally], files: int) -> None:
    from metering.cli.console import table
    from metering.files import Tally

    if not tallies:
        return
    if files > 1:
        headers = ("file", "read", "accepted", "duplicate", "quarantined", "")
        table(((path, *_counts(tally), _note(tally)) for path, tally in tallies.items()), headers=headers)
        print()
    whole = Tally()
    for tally in tallies.values():
        whole.add(tally)
    rows = list(zip(("read", "accepted", "duplicate", "quarantined"), _counts(whole), strict=True))
    rows += [(f"  {reason}", f"{count:,}") for reason, count in whole.reasons.most_common()]
    table(rows, headers=(f"{len(tallies)} files" if files > 1 else next(iter(tallies)).name, "events"))
    if files == 1 and (note := _note(whole := next(iter(tallies.values())))):
        print(f"\n{note[0].upper()}{note[1:]}.")
    for path, tally in tallies.items():
        if tally.examples:
            title = (
                f"\nIn quarantine, the first of {path.name}:" if files > 1 else "\nIn quarantine, the first of them:"
            )
            table(tally.examples, headers=("line", "reason", "what is wrong"), title=title)


def _counts(tally: Tally) -> tuple[str, str, str, str]:
    return f"{tally.read:,}", f"{tally.accepted:,}", f"{tally.duplicate:,}", f"{tally.quarantined:,}"


def _note(tally: Tally) -> str:
    if tally.finished_before:
        return "was read before, as counted here; --again reads it again"
    return f"went on after line {tally.resumed_at:,}, where it was interrupted" if tally.resumed_at else ""


if __name__ == "__main__":
    from metering.cli.app import main

    main(["ingest", *sys.argv[1:]])

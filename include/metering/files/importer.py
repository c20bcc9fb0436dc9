"""Landing of files, piece by piece; what was interrupted goes on from its place, and nothing counts twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg

from metering.errors import BillingError
from metering.files.lander import Lander
from metering.files.mapping import Mapping
from metering.files.pieces import PIECE, Piece
from metering.files.pipeline import WORTH_IT, Pipeline
from metering.files.place import Place
from metering.files.reader import UsageFile
from metering.files.tally import Tally
from metering.ingestion.landing import Landing


class Interrupted(BillingError):
    """An import was asked to stop, and did after the last piece that it had begun."""


Progress = Callable[[int, int, Tally], None]
"""Is told after each piece how much of the file was read, how much there is, and the tally."""


def import_file(
    landing: Landing,
    path: Path,
    mapping: Mapping | None = None,
    *,
    again: bool = False,
    progress: Progress | None = None,
    piece: int = PIECE,
    url: str | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Tally:
    """Land all events of a file and return what became of them; rows that are wrong are kept in quarantine.

    An import that was interrupted goes on after the last piece that was committed, and a file that was imported as a
    whole is not read again, whatever its name is now; with `again` it is read from its beginning, and counts nothing
    twice. With `url`, the address of the same database, a large file is landed by two processes of their own. `stop` is
    asked before each piece; where it says yes, what has begun lands, and `Interrupted` is raised. Raises
    `BillingError` where the file can't be read, holds no rows, or where PostgreSQL goes away; what was landed stays.
    """
    file = UsageFile(path, mapping)
    with Place(landing.connection, file, file.digest()) as place:
        place.begin(again)
        if place.finished_at:
            place.before.finished_before = True
            return place.before
        tally = Tally(resumed_at=place.lines if place.position else None)
        try:
            for found, landed in _land(landing, file, place, piece, url, stop):
                place.advance(found, landed)
                tally.add(landed)
                if progress:
                    progress(file.read, file.size, tally)
        except psycopg.OperationalError as error:
            raise BillingError(
                f"PostgreSQL stopped answering after {tally.read} events of {path.name}.",
                "See `./billing status`, then import the file again: what was already kept counts once.",
            ) from error
        if not tally.read and not place.before.read:
            raise BillingError(f"The file {path} has a header and no rows.", "Give a file with usage in it.")
        place.finish()
    return tally


def _land(
    landing: Landing, file: UsageFile, place: Place, piece: int, url: str | None, stop: Callable[[], bool]
) -> Iterator[tuple[Piece, Tally]]:
    pieces = _until(stop, file.pieces(piece, after=place.position, lines=place.lines))
    if url is None or file.path.stat().st_size < WORTH_IT:
        lander = Lander(landing, file.path, file.decoder)
        for found in pieces:
            yield found, lander.land(lander.prepare(found))
        return
    with Pipeline(url, file.path, file.decoder, plain=file.lies_plain) as pipeline:
        yield from pipeline.land(pieces)


def _until(stop: Callable[[], bool], pieces: Iterator[Piece]) -> Iterator[Piece]:
    for piece in pieces:
        if stop():
            raise Interrupted("The import was interrupted.", "Run it again: it goes on from there.")
        yield piece

"""Landing of files, piece by piece; what was interrupted goes on from its place, and nothing counts twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg

from metering.errors import BillingError
from metering.files.mapping import Mapping
from metering.files.pieces import PIECE, Piece
from metering.files.place import Place
from metering.files.reader import Decoder, UsageFile
from metering.files.tally import Tally
from metering.ingestion.catalog import REFRESH_ON_MISS_SECONDS, Catalog
from metering.ingestion.events import Sorted
from metering.ingestion.landing import Landing
from metering.ingestion.validation import Judge

Progress = Callable[[int, int, Tally], None]
"""Is told after each piece how much of the file was read, how much there is, and the tally."""


class Lander:
    """Makes events of the pieces of one file, and lands them."""

    def __init__(self, landing: Landing, path: Path, decoder: Decoder) -> None:
        """Land on `landing` what `decoder` makes of the pieces of `path`."""
        self._landing, self._decoder, self._name = landing, decoder, path.name
        self._catalog = Catalog.load(landing.connection)

    def prepare(self, piece: Piece) -> Sorted:
        """Tell what can count from what can't; the database is asked only where the catalog may have grown."""
        events, origin = self._decoder.decode(piece)
        # The file is read over a long time: what is too far ahead is judged by the clock of each piece.
        judge = Judge(self._catalog)
        result = judge.sort(events, origin)
        if judge.may_be_outdated(result) and self._catalog.age > REFRESH_ON_MISS_SECONDS:
            self._catalog = Catalog.load(self._landing.connection)
            result = Judge(self._catalog).sort(events, origin)
        return result

    def land(self, prepared: Sorted) -> Tally:
        """Land what was prepared, in one transaction, and tell once it is committed."""
        kept = self._landing.land(f"file:{self._name}", prepared.facts, prepared.rejects)
        return Tally.of(len(prepared), prepared.facts, kept)


def import_file(
    landing: Landing,
    path: Path,
    mapping: Mapping | None = None,
    *,
    again: bool = False,
    progress: Progress | None = None,
    piece: int = PIECE,
) -> Tally:
    """Land all events of a file and return what became of them; rows that are wrong are kept in quarantine.

    An import that was interrupted goes on after the last piece that was committed, and a file that was imported as a
    whole is not read again, whatever its name is now; with `again` it is read from its beginning, and counts nothing
    twice. Raises `BillingError` where the file can't be read, holds no rows, or where PostgreSQL goes away; what was
    landed stays.
    """
    file = UsageFile(path, mapping)
    with Place(landing.connection, file, file.digest()) as place:
        place.begin(again)
        if place.finished_at:
            place.before.finished_before = True
            return place.before
        tally = Tally(resumed_at=place.lines if place.position else None)
        lander = Lander(landing, path, file.decoder)
        for found in file.pieces(piece, after=place.position, lines=place.lines):
            try:
                landed = lander.land(lander.prepare(found))
                place.advance(found, landed)
            except psycopg.OperationalError as error:
                raise BillingError(
                    f"PostgreSQL stopped answering after {tally.read} events of {path.name}.",
                    "See `./billing status`, then import the file again: what was already kept counts once.",
                ) from error
            tally.add(landed)
            if progress:
                progress(file.read, file.size, tally)
        if not tally.read and not place.before.read:
            raise BillingError(f"The file {path} has a header and no rows.", "Give a file with usage in it.")
        place.finish()
    return tally

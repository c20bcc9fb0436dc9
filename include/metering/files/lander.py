"""What lands the pieces of a file: the judge of events and landing, as for what comes over HTTP."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from metering.files.pieces import Piece
from metering.files.reader import Decoder
from metering.files.tally import Tally
from metering.ingestion.catalog import REFRESH_ON_MISS_SECONDS, Catalog
from metering.ingestion.events import Sorted
from metering.ingestion.landing import Landing
from metering.ingestion.validation import Judge


class Lander:
    """Makes events of the pieces of one file, and lands them."""

    def __init__(self, landing: Landing, path: Path, decoder: Decoder) -> None:
        """Land on `landing` what `decoder` makes of the pieces of `path`."""
        self._landing, self._decoder, self._source = landing, decoder, f"file:{path.name}"
        self._catalog = Catalog.load(landing.connection)

    def prepare(self, piece: Piece) -> Sorted:
        """Tell what can count from what can't; the database is asked only where the catalog may have grown."""
        batch = self._decoder.decode(piece)
        # The file is read over a long time: what is too far ahead is judged by the clock of each piece.
        judge = Judge(self._catalog)
        result = judge.sort_body(batch)
        if judge.may_be_outdated(result) and self._catalog.age > REFRESH_ON_MISS_SECONDS:
            self._catalog = Catalog.load(self._landing.connection)
            result = Judge(self._catalog).sort_body(batch)
        return result

    def land(self, prepared: Sorted) -> Tally:
        """Land what was prepared, in one transaction, and tell once it is committed."""
        kept = self._landing.land(self._source, prepared.facts, prepared.rejects)
        return Tally.of(len(prepared), prepared.facts, kept)

    def steps(self, prepared: Sorted) -> Generator[Tally | None, None, None] | None:
        """Land it in three steps, the last of which gives the tally; see `Landing.land_in_steps`."""
        steps = self._landing.land_in_steps(self._source, prepared.facts, prepared.rejects)
        return None if steps is None else self._telling(steps, prepared)

    @staticmethod
    def _telling(steps: Generator[None, None, None], prepared: Sorted) -> Generator[Tally | None, None, None]:
        yield from steps
        yield Tally.of(len(prepared), prepared.facts, prepared.rejects)

    @property
    def broken(self) -> bool:
        """Whether the connection is lost."""
        return self._landing.connection.broken

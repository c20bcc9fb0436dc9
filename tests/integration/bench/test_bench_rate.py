"""What `./billing bench rate` measures, small: what it makes, it compares with what there should be."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from metering import database
from metering.bench.rating import Bench


def test_increments_and_bills_are_measured_and_proved(deployed_database_url: str, tmp_path: Path) -> None:
    said: list[str] = []
    with database.connect(deployed_database_url) as connection:
        place = SimpleNamespace(home=tmp_path, url=deployed_database_url, connection=connection)
        bench = Bench(place, teams=4, meters=3, told=said.append)
        plain, seconds, steps = bench.increment(1_000)
        assert 0 < plain < seconds
        assert {"queue", "usage", "billing", "close"} <= steps.keys()
        rows = connection.execute(
            "SELECT count(*) AS n, max(occurred_at) - min(occurred_at) AS width FROM landing.usage_events"
        )
        landed = rows.fetchone()
        assert landed is not None and landed["n"] == 1_000
        assert 1 < landed["width"].days < 31  # some are late

        made = bench.bills()
        assert (made.what, made.met) == ("4 teams × 3 meters", True)
        preview = bench.preview()
        assert preview.seconds and preview.as_dict()["target"] == "100 ms"

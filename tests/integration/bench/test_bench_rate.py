"""What `./billing bench rate` measures, small: what it makes, it compares with what there should be."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from metering import database
from metering.bench.rating import HOUR, Bench


def test_increments_and_bills_are_measured_and_proved(deployed_database_url: str, tmp_path: Path) -> None:
    said: list[str] = []
    with database.connect(deployed_database_url) as connection:
        place = SimpleNamespace(home=tmp_path, url=deployed_database_url, connection=connection)
        bench = Bench(place, teams=4, meters=3, told=said.append)
        bench.land_history(2_000, 1, bench.until - HOUR)
        again = bench.month("again", bench.until - HOUR)
        assert again.what.startswith("2,000 events of 4 teams in ")
        assert again.beside and again.seconds and again.beside < again.seconds
        landed = connection.execute(
            "SELECT count(*) AS n, count(DISTINCT (team_id, event_name, occurred_at - date_trunc('day', occurred_at)"
            " >= interval '12 hours')) AS halves FROM landing.usage_events"
        ).fetchone()
        # Each meter of a team has its hour of the day.
        assert landed == {"n": 2_000, "halves": 12}

        plain, seconds, steps = bench.increment(1_000, bench.until)
        assert 0 < plain < seconds
        assert {"queue", "usage", "billing", "close"} <= steps.keys()
        rows = connection.execute(
            "SELECT count(*) AS n, max(occurred_at) - min(occurred_at) AS width FROM landing.usage_events"
            " WHERE event_key LIKE 'bench-2-%'"
        )
        landed = rows.fetchone()
        assert landed is not None and landed["n"] == 1_000
        assert 1 < landed["width"].days < 31  # some are late

        made = bench.bills()
        assert (made.what, made.met) == ("4 teams × 3 meters", True)
        preview = bench.preview()
        assert preview.seconds and preview.as_dict()["target"] == "100 ms"

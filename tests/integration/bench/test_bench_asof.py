"""What `./billing bench asof` measures, small: the history it makes at once is what metering would have made."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from metering import database
from metering.bench.asof import measure_at


def test_bills_of_the_past_are_measured_on_a_history_that_is_proved(deployed_database_url: str, tmp_path: Path) -> None:
    said: list[str] = []
    with database.connect(deployed_database_url) as connection:
        place = SimpleNamespace(home=tmp_path, url=deployed_database_url, connection=connection)
        results = {result.name: result for result in measure_at(place, 3_000, 3, 2, said.append)}
        events = database.one(connection, "SELECT count(*) AS n FROM landing.usage_events")["n"]
        metered = database.one(
            connection,
            "SELECT sum(event_count)::bigint AS n FROM intermediate.int_usage_buckets WHERE recorded_to = 'infinity'",
        )["n"]
    assert events == metered == 3_000 + 30 + 15
    assert results["a month's bills, again"].what == "3 compared"
    assert results["a bill as of a past moment"].seconds and results["a difference"].seconds
    assert "quarter-hours of the month are superseded" in results["versions, on disk"].what
    assert any("Filling" in what for what in said) and any("Comparing" in what for what in said)

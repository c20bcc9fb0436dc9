"""dbt's own unit tests, which say of single models what they make of given rows."""

from __future__ import annotations

from pathlib import Path

from metering import transform
from metering.settings import Settings


def test_every_unit_test_of_a_model_passes(deployed_database_url: str, dbt_home: Path) -> None:
    settings = Settings(home=dbt_home, values={"DATABASE_URL": deployed_database_url})
    done = transform.build("test_type:unit", settings, command="test")
    assert len(done.results) >= 7
    assert {result["status"] for result in done.results} == {"pass"}

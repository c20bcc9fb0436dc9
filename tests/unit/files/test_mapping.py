"""Maps: what they make of a row, and what is said where one is wrong."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from metering.errors import BillingError
from metering.files.mapping import Mapping
from metering.ingestion.events import Event, Malformed

BASE: dict[str, Any] = {"time": {"column": "at", "zone": "UTC"}, "team": {"value": "acme"}, "event": {"value": "call"}}


def load(tmp_path: Path, **fields: Any) -> Mapping:
    path = tmp_path / "usage.map.yaml"
    path.write_text(yaml.safe_dump({**BASE, **fields}))
    return Mapping.load(path)


def read(mapping: Mapping, **row: Any) -> Event:
    event = mapping.reader()({"at": "2026-10-01 00:00:00", **row})
    assert isinstance(event, Event), event
    return event


def test_each_field_comes_from_a_column_or_is_one_value(tmp_path: Path) -> None:
    mapping = load(
        tmp_path,
        key=["at", "n"],
        key_prefix="web-",
        team={"column": "who", "prefix": "team-"},
        quantity={"column": "n"},
        unit={"value": "call"},
        subject="user",
        properties={"n": {"column": "n", "type": "number"}, "text": "n", "ok": {"column": "ok", "type": "boolean"}},
    )
    event = read(mapping, n="1.50", who="7", user="", ok="TRUE")
    assert event.idempotency_key == "web-2026-10-01 00:00:00,1.50"
    assert (event.team, event.quantity, event.unit, event.subject) == ("team-7", Decimal("1.5"), "call", None)
    assert event.properties == {"n": Decimal("1.50"), "text": "1.50", "ok": True}


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("2023-11-16 18:15:46.6805900", "UTC", "2023-11-16T18:15:46.6805900Z"),
        ("2026-10-01T00:00:00Z", None, "2026-10-01T00:00:00Z"),
        ("2026-10-01T00:00:00+0545", "UTC", "2026-10-01T00:00:00+05:45"),
        ("2026-10-01 00:00", "Asia/Kathmandu", "2026-09-30T18:15:00+00:00"),
        ("2026-10-25 02:30:00", "Europe/Berlin", "2026-10-25T00:30:00+00:00"),
        ("1790812800", None, "2026-10-01T00:00:00+00:00"),
        ("1790812800.1234567", None, "2026-10-01T00:00:00.123456+00:00"),
        ("1790812800123", "Asia/Kathmandu", "2026-10-01T00:00:00.123000+00:00"),
    ],
)
def test_times_are_read_in_each_format(tmp_path: Path, text: str, zone: str | None, expected: str) -> None:
    mapping = load(tmp_path, time={"column": "at", **({"zone": zone} if zone else {})})
    assert read(mapping, at=text).time == expected


@pytest.mark.parametrize(
    ("text", "zone", "said"),
    [
        ("2026-10-01 00:00", None, "has no zone"),
        ("2026-03-29 02:30:00", "Europe/Berlin", "clocks were put forward"),
        ("2026-02-30 02:30:00", "Europe/Berlin", "There is no time"),
        ("soon", "UTC", "can't be read"),
        ("", "UTC", "can't be read"),
    ],
)
def test_a_time_that_is_none_is_told(tmp_path: Path, text: str, zone: str | None, said: str) -> None:
    mapping = load(tmp_path, time={"column": "at", **({"zone": zone} if zone else {})})
    event = mapping.reader()({"at": text})
    assert isinstance(event, Malformed) and said in event.message and event.field == "time"


def test_teams_are_derived_from_columns_evenly_and_always_alike(tmp_path: Path) -> None:
    mapping = load(tmp_path, team={"hash_of": ["n"], "into": 12, "prefix": "tenant-"})
    teams = [read(mapping, n=str(number)).team for number in range(2000)]
    assert set(teams) == {f"tenant-{number:02d}" for number in range(12)}
    assert min(teams.count(team) for team in set(teams)) > 100
    assert read(mapping, n="374").team == "tenant-06"  # int(sha256("374"), 16) % 12


def test_no_two_rows_make_one_key_of_different_texts(tmp_path: Path) -> None:
    mapping = load(tmp_path, key=["a", "b"])
    rows = [("x,y", "z"), ("x", "y,z"), ("x\\", "y"), ("x\\,y", ""), ("x", "\\,y")]
    assert len({read(mapping, a=a, b=b).idempotency_key for a, b in rows}) == len(rows)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"teem": "x"}, "teem: is not a field that is known here"),
        ({"event": None}, "needs an event or a meter"),
        ({"time": {"column": "at", "zone": "Mars/Base"}}, "'Mars/Base' is not a time zone"),
        ({"quantity": {"column": "n", "value": 2}}, "takes either column or value"),
        ({"team": {"hash_of": ["n"]}}, "takes hash_of and into together"),
        ({"time": None}, "needs a time or a key"),
        ({"properties": {"a": {"column": "n", "type": "money"}}}, "properties → a → type"),
    ],
)
def test_a_wrong_map_names_its_file_and_field(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(BillingError) as caught:
        load(tmp_path, **fields)
    assert said in caught.value.message
    assert "usage.map.yaml" in caught.value.message


def test_a_map_that_is_missing_or_no_map_is_said(tmp_path: Path) -> None:
    with pytest.raises(BillingError, match="is not a file"):
        Mapping.load(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(BillingError, match="is not a map"):
        Mapping.load(tmp_path / "list.yaml")


def test_a_column_that_the_file_lacks_is_named_with_the_field_that_wants_it(tmp_path: Path) -> None:
    mapping = load(tmp_path, properties={"size": "Bytes"})
    with pytest.raises(
        BillingError, match=r"usage\.map\.yaml, properties\.size: the file a\.csv has no column 'Bytes'"
    ):
        mapping.check_columns(["at", "n"], "a.csv")


def test_the_catalog_is_found_beside_the_map(tmp_path: Path) -> None:
    assert load(tmp_path, catalog="prices/catalog.yaml").catalog == tmp_path / "prices" / "catalog.yaml"
    assert load(tmp_path).catalog is None


def test_without_a_map_columns_are_the_fields_of_events() -> None:
    mapping = Mapping.of_header(["team", "event", "time", "idempotency_key", "properties.region"])
    row = {"team": "a", "event": "b", "time": "2026-10-01T00:00:00Z", "idempotency_key": "", "properties.region": "eu"}
    event = mapping.reader()(row)
    assert isinstance(event, Event)
    assert event.idempotency_key is None and event.properties == {"region": "eu"}
    named = Mapping.of_header(["team", "meter", "event", "time"]).reader()
    for cells in ({"meter": "calls", "event": ""}, {"meter": "", "event": "call"}):
        found = named({"team": "a", "time": "2026-10-01T00:00:00Z", **cells})
        assert isinstance(found, Event)
        assert (found.meter, found.event) == (cells["meter"] or None, cells["event"] or None)
    for header, said in (
        (["event"], "no column 'team'"),
        (["team", "time"], "no column 'event'"),
        (["team", "meter"], "told apart"),
        (["team", "event", "colour"], "'colour'"),
        (["team", "event"], "told apart"),
    ):
        with pytest.raises(BillingError, match=said):
            Mapping.of_header(header)


@pytest.mark.parametrize("row", [{"n": "many"}, {"n": ""}, {"n": "1", "at": "soon"}, {"n": "1", "at": ""}])
def test_a_row_that_is_no_event_still_says_whose_it_is(tmp_path: Path, row: dict[str, str]) -> None:
    mapping = load(tmp_path, team={"column": "who", "prefix": "team-"}, quantity="n")
    found = mapping.reader()({"at": "2026-10-01 00:00:00", "who": "7", **row})
    assert isinstance(found, Malformed) and found.team == "team-7"

"""The Billing pages: what they show is what the marts say, page by page, and nothing of a text becomes markup."""

from __future__ import annotations

import csv
import re
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from html import unescape
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from metering.database import connect
from metering.pages import application, overview
from metering.settings import Settings

from ...conftest import database_from
from ..metering.conftest import House

PLAN = [("0", "100", "3", "0"), ("100", None, "2", "0")]
STRANGE = "<b>bold</b>"


@pytest.fixture(scope="module")
def url(postgres_server: str, deployed_template_database: str) -> Iterator[str]:
    """The address of a database for the file."""
    with database_from(postgres_server, deployed_template_database) as address:
        yield address


@pytest.fixture(scope="module")
def house(url: str, dbt_home: Path) -> Iterator[House]:
    """Two teams with two months of usage each, metered, rated and reconciled."""
    with connect(url) as connection:
        made = House(connection, Settings(home=dbt_home, values={"DATABASE_URL": url}))
        plan = made.plan("standard")
        made.version(made.price("standard/calls", plan, made.meter("calls", "call", "sum", ("region",))),
                     "2020-01-01Z", "graduated", PLAN)  # fmt: skip
        for team in ("acme", "other"):
            made.team(team, plan, "2026-09-01")
            for number in range(130):
                day = 1 + number % 28
                made.event(team, f"{team}-{number}", "call", f"2026-09-{day:02}T{number % 24:02}:00Z", "2.5",
                           region=STRANGE)  # fmt: skip
        made.aggregate(finance=True)
        yield made


@pytest.fixture
async def client(
    house: House, url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[httpx.AsyncClient]:
    """Whoever has been let in by the UI."""
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("BILLING_HOME", str(tmp_path))
    transport = httpx.ASGITransport(Starlette(routes=application.ROUTES))
    async with httpx.AsyncClient(transport=transport, base_url="http://pages") as made:
        yield made


def _links(text: str, to: str) -> list[str]:
    return [unescape(link) for link in re.findall(r'href="([^"]*)"', text) if to in link]


async def test_the_overview_has_each_period_once_and_goes_on_where_a_page_ended(client, house, monkeypatch):
    monkeypatch.setattr(application, "PER_PAGE", 3)
    seen: list[str] = []
    where: str | None = "/"
    while where:
        answer = await client.get(where)
        assert answer.status_code == 200
        seen += _links(answer.text, "/periods/")
        where = next(iter(_links(answer.text, "after=")), None)
    assert len(seen) == len(set(seen)) == house.value("select count(*) from marts.fct_reconciliation_by_period")


def test_the_overview_counts_what_differs_and_names_who_is_on_hold(house):
    with house.connection.transaction(force_rollback=True):
        house.connection.execute("update marts.fct_reconciliation set is_reconciled = team_key = 'acme'")
        house.connection.execute(
            "insert into billing.holds (team_id, hold_key, gate, reason) values (%s, 'drop', 'bills', 'It fell.')",
            (house.teams["other"],),
        )
        found = overview.read(house.connection, team=None, only_differing=True, after=None, limit=100)
        assert found.differing == len(found.rows) > 0
        assert {row["team_key"] for row in found.rows} == {"other"}
        assert found.held == [{"team_key": "other", "reason": "It fell."}]
        none = overview.read(house.connection, team="acme", only_differing=True, after=None, limit=100)
        assert (none.differing, none.rows) == (0, [])


async def test_a_period_shows_its_bill_and_leads_to_the_events_of_each_line(client, house):
    total = house.value("select total from marts.fct_bills where team_key = 'acme' and period_label = '2026-09'")
    text = (await client.get("/periods/acme/2026-09")).text
    assert f"{total:,f} USD" in text
    (line,) = _links(text, "/events?")
    events: list[Decimal] = []
    where: str | None = line
    while where:
        text = (await client.get(where)).text
        assert STRANGE not in text and "&lt;b&gt;bold" in text
        for row in re.findall(r"<tr>(.*?)</tr>", text, re.S):
            numbers = re.findall(r'<td class="n">([^<]*)</td>', row)
            events += [Decimal(numbers[1])] if "<code>" in row else []
        where = next(iter(_links(text, "after=")), None)
    assert len(events) == 130
    assert sum(events) == Decimal("325")


async def test_all_events_of_a_line_come_as_csv_and_those_of_a_tier_by_themselves(client):
    line = "acme/2026-09/" + "standard/calls@2026-09-01T00:00Z"
    whole = list(csv.DictReader((await client.get("/events.csv", params={"line": line})).text.splitlines()))
    assert (len(whole), sum(Decimal(row["counts"]) for row in whole)) == (130, Decimal("325"))
    tier = list(csv.DictReader((await client.get("/events.csv", params={"line": line, "tier": "1"})).text.splitlines()))
    assert sum(Decimal(row["counts"]) for row in tier) == 100


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/periods/nobody/2026-09", "There is no team"),
        ("/periods/acme/1999-01", "no billing period"),
        ("/events?line=acme", "does not name a line"),
        ("/events?line=acme/2026-09/none", "There was no line"),
        ("/events?line=acme/2026-09/standard/calls@2026-09-01T00:00Z&tier=x", "is no tier"),
        ("/events.csv?line=acme/2026-09/none", "There was no line"),
        ("/?after=zz", "no place to go on from"),
    ],
)
async def test_what_is_not_there_is_said_in_a_sentence(client, path, sentence):
    answer = await client.get(path)
    assert answer.status_code == 404
    assert sentence in unescape(answer.text)
    assert "default-src 'none'" in answer.headers["content-security-policy"]

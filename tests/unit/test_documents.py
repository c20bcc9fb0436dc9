"""The documents say what is so: links lead somewhere, commands and settings exist, the SQL runs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import psycopg
import pytest

from metering import database, deployment
from metering.cli import app as cli
from metering.settings import PROJECT_ROOT

DOCUMENTS = sorted(
    PROJECT_ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    if (PROJECT_ROOT / name).exists()
)
OPERATIONS = PROJECT_ROOT / "docs" / "operations.md"
SETTING = re.compile(r"\b(?:BILLING_[A-Z][A-Z_]*[A-Z]|(?:AIRFLOW_)?DATABASE_URL|STRIPE_API_KEY)\b")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(!?)\[[^\]]*\]\(([^)\s]+)\)")


def prose(document: Path) -> str:
    return FENCE.sub("", document.read_text(encoding="utf-8"))


def anchors(document: Path) -> set[str]:
    """The names that headings have as the target of a link, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def named(document: Path) -> str:
    return str(document.relative_to(PROJECT_ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_link_and_picture_leads_somewhere(document: Path) -> None:
    broken = []
    for _, target in LINK.findall(prose(document)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (document.parent / path).resolve() if path else document
        if not found.is_file() or (anchor and anchor not in anchors(found)):
            broken.append(target)
    assert broken == []


def test_every_picture_is_shown_and_none_is_large() -> None:
    shown = {
        (document.parent / target).resolve()
        for document in DOCUMENTS
        for picture, target in LINK.findall(prose(document))
        if picture
    }
    pictures = set((PROJECT_ROOT / "docs" / "images").iterdir())
    assert pictures == shown
    assert [picture.name for picture in pictures if picture.stat().st_size > 300_000] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_command_exists(document: Path) -> None:
    commands = cli.Commands(name="billing")
    known = commands.list_commands(None)
    unknown = []
    for name, after in re.findall(r"\./billing ([a-z]+)(?: ([a-z]+)\b)?", document.read_text(encoding="utf-8")):
        if name not in known:
            unknown.append(name)
            continue
        group = getattr(commands.get_command(None, name), "commands", None)
        if group and after and after not in group:
            unknown.append(f"{name} {after}")
    assert unknown == []


def settings_of_the_product() -> set[str]:
    files = [PROJECT_ROOT / "billing", *(PROJECT_ROOT / "include" / "metering").rglob("*.py")]
    found = {name for file in files for name in SETTING.findall(file.read_text(encoding="utf-8"))}
    # Put together from the name of a user, all of which are in the code in full as well.
    return found - {"BILLING_AIRFLOW_"}


def test_every_setting_is_documented_and_every_documented_setting_exists() -> None:
    documented = set(SETTING.findall(OPERATIONS.read_text(encoding="utf-8")))
    assert settings_of_the_product() - documented == set()
    assert documented - settings_of_the_product() == set()


def test_the_sql_for_finance_runs(deployed_database_url: str) -> None:
    blocks = FENCE.findall((PROJECT_ROOT / "docs" / "finance.md").read_text(encoding="utf-8"))
    questions = [text for language, text in blocks if language == "sql"]
    assert questions
    with database.connect(deployed_database_url) as connection:
        deployment.let_readers_read(connection)
        connection.execute("SET ROLE billing_reader")
        for question in questions:
            connection.execute(question)
        for elsewhere in ("billing.api_keys", "landing.usage_events", "billing.teams"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"SELECT * FROM {elsewhere}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM marts.fct_bill_lines")


def test_the_catalog_example_is_a_catalog(tmp_path: Path) -> None:
    from metering.catalog import Catalog

    blocks = FENCE.findall((PROJECT_ROOT / "docs" / "catalog.md").read_text(encoding="utf-8"))
    (example,) = (text for language, text in blocks if language == "yaml")
    file = tmp_path / "catalog.yaml"
    file.write_text(example, encoding="utf-8")
    catalog = Catalog.load(file)
    assert [team.team for team in catalog.teams] == ["acme"]


def test_nothing_names_a_place_of_one_machine() -> None:
    places = re.compile(r"(?<![\w.])/(?:work|tmp|home|root)/")
    found = [named(document) for document in DOCUMENTS if places.search(document.read_text(encoding="utf-8"))]
    assert found == []

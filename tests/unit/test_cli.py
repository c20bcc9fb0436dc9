"""The command line: help with examples, quickly; what goes wrong is a sentence and what to do about it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from metering.cli import app as cli
from metering.cli import test as test_command
from metering.errors import BillingError
from metering.processes.ports import free_port
from metering.settings import PROJECT_ROOT

HEAVY = ("airflow", "dbt", "great_expectations", "stripe", "pandas", "sqlalchemy", "psycopg", "httpx", "fastapi")


def command_names() -> list[str]:
    return cli.Commands(name="billing").list_commands(None)


def billing(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "metering.cli", *arguments],
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT / "include"), "BILLING_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        cwd="/",
    )


@pytest.mark.parametrize("name", command_names())
def test_help_says_what_a_command_does_and_shows_an_example(name: str) -> None:
    shown = CliRunner().invoke(cli.app, [name, "--help"])
    assert shown.exit_code == 0, shown.output
    assert "Examples:" in shown.output
    assert f"./billing {name}" in shown.output


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    program = (
        "import sys\nfrom typer.testing import CliRunner\nfrom metering.cli.app import app\n"
        "print(CliRunner().invoke(app, ['--help']).output)\n"
        f"print('heavy:', sorted(set(sys.modules) & set({HEAVY!r})))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(PROJECT_ROOT / "include")}
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert "heavy: []" in done.stdout
    for name in command_names():
        assert f"  {name} " in done.stdout


def test_the_version_is_printed() -> None:
    shown = CliRunner().invoke(cli.app, ["--version"])
    assert (shown.exit_code, shown.output.split()[0]) == (0, "billing")


def test_an_unknown_command_is_refused(tmp_path: Path) -> None:
    done = billing(tmp_path, "bils")
    assert done.returncode == 2
    assert "No such command 'bils'" in done.stderr


@pytest.mark.parametrize(
    ("name", "missing", "cure"),
    [
        ("psql", "PostgreSQL does not run.", "Start it with `./billing up`"),
        ("airflow", "is missing.", "Run `./billing up` once"),
        ("dbt", "is missing.", "Run `./billing up` once"),
    ],
)
def test_the_real_tools_say_what_is_missing_before_the_first_up(
    tmp_path: Path, name: str, missing: str, cure: str
) -> None:
    done = billing(tmp_path, name)
    assert done.returncode == 1
    assert missing in done.stderr
    assert cure in done.stderr
    assert "Traceback" not in done.stderr


def test_down_of_nothing_is_no_failure_and_status_says_by_its_code_that_nothing_runs(tmp_path: Path) -> None:
    down = billing(tmp_path, "down")
    assert (down.returncode, down.stdout) == (0, "Nothing was running.\n")
    status = billing(tmp_path, "status", "--json")
    found = json.loads(status.stdout)
    assert status.returncode == 3
    assert {part["name"] for part in found["components"]} > {"postgres", "ingestion", "airflow-scheduler"}
    assert not any(part["running"] for part in found["components"])
    assert "Nothing runs" in billing(tmp_path, "status").stdout


def test_a_home_that_cannot_be_written_to_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = billing(tmp_path / "file" / "home", "up")
    assert done.returncode == 1
    assert "can't be used" in done.stderr
    assert "BILLING_HOME" in done.stderr


def test_a_full_disk_is_one_sentence_and_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from metering import settings
    from metering.processes import obstacles, system

    monkeypatch.setattr(obstacles.shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    with pytest.raises(BillingError, match=r"is too full: 1 MB are free, 300 MB are needed; nothing was started"):
        system.up(settings.load({"BILLING_HOME": str(tmp_path)}))
    assert not (tmp_path / "postgres").exists()


def test_wrong_settings_are_sentences(tmp_path: Path) -> None:
    done = billing(tmp_path, "up", STRIPE_API_KEY="sk_live_1")
    assert (done.returncode, "live key" in done.stderr) == (1, True)
    assert "BILLING_ALLOW_LIVE_STRIPE" in done.stderr
    done = billing(tmp_path, "up", BILLING_AIRFLOW_PORT="http")
    assert (done.returncode, "BILLING_AIRFLOW_PORT='http' is not a port number." in done.stderr) == (1, True)
    assert not (tmp_path / "postgres").exists()


def test_two_settings_with_one_port_are_refused_before_anything_starts(tmp_path: Path) -> None:
    done = billing(tmp_path / "home", "up", BILLING_AIRFLOW_PORT="8090")  # the ingestion service's default
    assert done.returncode == 1
    assert "BILLING_AIRFLOW_PORT and BILLING_INGESTION_PORT name the same port, 8090." in done.stderr
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("foo", "DATABASE_URL is not the address of a PostgreSQL database."),
        ("postgresql://me:secret@127.0.0.1:1/usage", "port 1 failed: Connection refused."),
        ("postgresql://me:secret@127.0.0.1:1/usage?no=such", "invalid URI query parameter"),
    ],
)
def test_a_wrong_database_is_one_sentence_and_not_remembered(tmp_path: Path, url: str, said: str) -> None:
    ports = {f"BILLING_{name}_PORT": str(free_port()) for name in ("AIRFLOW", "INGESTION", "STRIPE_EMULATOR")}
    done = billing(tmp_path, "up", DATABASE_URL=url, **ports)
    assert done.returncode == 1
    assert said in done.stderr
    assert "DATABASE_URL" in done.stderr
    for never in ("PostgreSQL runs", "PostgreSQL answers", "unexpected", "secret"):
        assert never not in done.stderr
    assert not (tmp_path / "settings.json").exists()


def test_a_file_that_is_not_there_is_told_before_a_database_that_is_not(tmp_path: Path) -> None:
    missing = billing(tmp_path, "ingest", str(tmp_path / "nope.csv"))
    assert (missing.returncode, "nope.csv does not exist" in missing.stderr) == (1, True)
    (tmp_path / "usage.csv").write_text("team\n")
    before = billing(tmp_path, "ingest", str(tmp_path / "usage.csv"))
    assert (before.returncode, "Run `./billing up` once" in before.stderr) == (1, True)


def test_a_second_demo_in_the_same_home_is_refused(tmp_path: Path) -> None:
    from metering.processes import lock

    (tmp_path / "run").mkdir()
    with lock.held(tmp_path / "run" / "demo.lock", lambda _: None):
        done = billing(tmp_path, "demo")
    assert done.returncode == 1
    assert f"Another demo is at work here (process {os.getpid()})." in done.stderr.replace("\n", " ")
    assert not (tmp_path / "settings.json").exists()


def test_something_unexpected_is_a_sentence_and_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise RuntimeError("the moon is in the way")

    from metering.cli import down

    monkeypatch.setattr(down, "down", fail)
    monkeypatch.setenv("BILLING_HOME", str(tmp_path))
    with pytest.raises(SystemExit) as end:
        cli.main(["down"])
    assert end.value.code == 1
    said = capsys.readouterr().err
    assert "RuntimeError: the moon is in the way" in said
    assert "Traceback" not in said
    assert str(tmp_path / "logs" / "errors.log") in said.replace("\n", "")
    assert 'raise RuntimeError("the moon is in the way")' in (tmp_path / "logs" / "errors.log").read_text()


@pytest.mark.parametrize(("linter", "tests", "exit_code"), [(0, 0, 0), (1, 0, 1), (0, 1, 1), (0, 5, 5)])
def test_test_fails_when_a_linter_or_a_test_fails(
    monkeypatch: pytest.MonkeyPatch, linter: int, tests: int, exit_code: int
) -> None:
    calls: list[list[str]] = []

    def run(command: list[str], **_: object) -> SimpleNamespace:
        calls.append(command)
        return SimpleNamespace(returncode=tests if "pytest" in command else linter, stdout="found\n")

    monkeypatch.setattr(test_command.subprocess, "run", run)
    monkeypatch.setattr(test_command, "_install_programs", lambda: None)
    monkeypatch.chdir("/")
    with pytest.raises(typer.Exit) as end:
        test_command.test(SimpleNamespace(args=["-k", "foo"]))  # type: ignore[arg-type]
    assert end.value.exit_code == exit_code
    assert calls[-1][-3:] == ["pytest", "-k", "foo"], "pytest comes last and gets the arguments"
    assert any("mypy" in command for command in calls)

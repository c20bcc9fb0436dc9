"""`./billing faults` runs the parts that are asked for, as often as asked, and fails where one of them fails."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from metering.cli import faults as command
from metering.errors import BillingError
from metering.settings import PROJECT_ROOT


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[set[str], dict[str, str]]]:
    """The files that are run, and what they are told; one fails."""
    made: list[tuple[set[str], dict[str, str]]] = []

    def run(arguments: list[str], *, env: dict[str, str], **_: Any) -> SimpleNamespace:
        made.append(({Path(file).name for file in arguments if file.endswith(".py")}, env))
        return SimpleNamespace(returncode=1)

    monkeypatch.setattr(command.subprocess, "run", run)
    return made


def test_every_part_has_its_tests_and_every_test_its_part() -> None:
    files = {path.name for path in (PROJECT_ROOT / "tests" / "faults").glob("test_*.py")}
    assert files == {f"test_{part}.py" for part in command.PARTS}


def test_the_parts_asked_for_run_as_asked_and_the_command_fails_where_they_do(
    calls: list[tuple[set[str], dict[str, str]]],
) -> None:
    with pytest.raises(typer.Exit) as end:
        command.faults(["races", "replies", "races"], times=7, seed="12")
    assert end.value.exit_code == 1
    ((files, environment),) = calls
    assert files == {"test_races.py", "test_replies.py"}
    assert (environment["FAULTS_TIMES"], environment["FAULTS_SEED"]) == ("7", "12")


def test_all_parts_run_where_none_is_named_with_a_seed_of_their_own(
    calls: list[tuple[set[str], dict[str, str]]],
) -> None:
    with pytest.raises(typer.Exit):
        command.faults(None, times=1, seed="")
    ((files, environment),) = calls
    assert len(files) == len(command.PARTS)
    assert environment["FAULTS_SEED"].isdigit()


def test_an_unknown_part_is_a_sentence() -> None:
    with pytest.raises(BillingError, match=r"no part 'moon'.*The parts are processes, disk"):
        command.faults(["moon"], times=1, seed="1")

"""`./billing`: installs once, repairs what was interrupted, takes turns; with a stand-in for Python that only notes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from metering.settings import PROJECT_ROOT

# Notes each call, makes what `venv` would, and takes its time or fails where a file says so.
PYTHON = """#!/bin/sh
case "$1 $2" in
    "-c "*) exec "{python}" "$@" ;;
    "-P -m") printf 'ran:'; printf ' [%s]' "$@"; printf ' in %s with %s\\n' "$PWD" "$PYTHONPATH"; exit 0 ;;
esac
echo "$*" >>"{calls}"
case "$*" in
    "-m venv"*) rm -rf "$5"; mkdir -p "$5/bin"; cp "$0" "$5/bin/python" ;;
    "-m uv"*) if [ -f "{home}/slow" ]; then sleep 2; fi; if [ -f "{home}/uv-fails" ]; then exit 1; fi ;;
    "-m pip install --disable"*) if [ -f "{home}/pip-fails" ]; then exit 1; fi ;;
esac
"""


class Clone:
    """A clone whose path has spaces, with the script in it and a stand-in for Python."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.root = home / "my clone"
        self.root.mkdir()
        shutil.copy(PROJECT_ROOT / "billing", self.root)
        (self.root / "requirements.txt").write_text("some==1\n")
        self.python = home / "bin" / "python3.11"
        self.python.parent.mkdir()
        self.python.write_text(PYTHON.format(python=sys.executable, calls=home / "calls", home=home))
        self.python.chmod(0o755)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(self.root / "billing"), *arguments],
            env={"PATH": os.environ["PATH"], "BILLING_PYTHON": str(self.python), **environment},
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def calls(self) -> list[str]:
        """What Python was called for since the last question."""
        path = self.home / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [" ".join(line.split()[1:3]) for line in lines]


@pytest.fixture
def clone() -> Iterator[Clone]:
    home = Path(tempfile.mkdtemp(prefix="billing entry "))
    yield Clone(home)
    shutil.rmtree(home)


INSTALLATION = ["venv --clear", "pip install", "uv pip"]


def test_it_installs_once_and_passes_everything_on(clone: Clone) -> None:
    status, out, err = clone.run("up", "with space")
    assert (status, clone.calls()) == (0, INSTALLATION)
    assert out == f"ran: [-P] [-m] [metering.cli] [up] [with space] in / with {clone.root}/include\n"
    assert "making the Python environment" in err
    assert clone.run("down")[2] == ""
    assert clone.calls() == [], "a second call installs nothing"


def test_changed_requirements_are_installed_into_the_same_environment(clone: Clone) -> None:
    clone.run()
    clone.calls()
    (clone.root / "requirements.txt").write_text("some==2\n")
    assert clone.run()[0] == 0
    assert clone.calls() == ["pip install", "uv pip"]


def test_it_works_through_a_link(clone: Clone) -> None:
    link = clone.home / "billing"
    link.symlink_to(clone.root / "billing")
    done = subprocess.run([link, "up"], env={**os.environ, "BILLING_PYTHON": str(clone.python)}, capture_output=True)
    assert (done.returncode, clone.calls()) == (0, INSTALLATION)


def test_an_interrupted_installation_is_begun_again(clone: Clone) -> None:
    (clone.home / "slow").touch()
    interrupted = clone.start()
    until = time.monotonic() + 30
    while not (clone.home / "calls").exists() or "-m uv" not in (clone.home / "calls").read_text():
        assert time.monotonic() < until
        time.sleep(0.05)
    interrupted.kill()
    interrupted.communicate()
    assert not (clone.root / ".venv" / ".installed").exists()
    clone.calls()
    (clone.home / "slow").unlink()
    assert clone.run()[0] == 0
    assert clone.calls() == INSTALLATION


def test_two_first_calls_install_once(clone: Clone) -> None:
    (clone.home / "slow").touch()
    both = [clone.start("up"), clone.start("status")]
    ended = [(process, *process.communicate(timeout=60)) for process in both]
    assert [process.returncode for process, _, _ in ended] == [0, 0]
    assert all(out.startswith("ran:") for _, out, _ in ended)
    assert clone.calls() == INSTALLATION
    assert sum("another call is installing" in err for _, _, err in ended) == 1


def test_pip_does_what_uv_cannot(clone: Clone) -> None:
    (clone.home / "uv-fails").touch()
    status, out, err = clone.run()
    assert (status, out[:4]) == (0, "ran:")
    assert "pip tries" in err
    assert clone.calls() == [*INSTALLATION, "pip install"]


def test_a_failed_installation_is_a_sentence_and_leaves_no_stamp(clone: Clone) -> None:
    (clone.home / "uv-fails").touch()
    (clone.home / "pip-fails").touch()
    status, out, err = clone.run()
    assert (status, out) == (1, "")
    assert "The packages can't be installed." in err
    assert not (clone.root / ".venv" / ".installed").exists()


def test_no_python_is_a_sentence(clone: Clone) -> None:
    tools = clone.home / "tools"
    tools.mkdir()
    for name in ("sh", "dirname", "readlink", "cksum", "cat"):
        (tools / name).symlink_to(shutil.which(name) or "")
    status, _, err = clone.run("up", PATH=str(tools), BILLING_PYTHON="python-of-nobody")
    assert status == 1
    assert "No Python 3.11 or newer was found." in err
    assert "BILLING_PYTHON" in err

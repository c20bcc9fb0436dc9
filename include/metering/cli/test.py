"""`./billing test`"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import typer

EXAMPLES = ["./billing test", "./billing test -k settings", "./billing test tests/unit -x"]
CONTEXT = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}

# The whole suite runs in three parts side by side, since much of it waits; what was asked for in particular runs as
# asked. The files keep their order, in which the longest, those that start the whole system, come first.
SIDE_BY_SIDE = ["-n", "3", "--dist", "loadscope", "--no-loadscope-reorder"]
# Programs that some tests drive, by the Debian package that has them.
PACKAGES = {"chromium": "chromium", "redis-server": "redis-server"}


def test(context: typer.Context) -> None:
    """Set up what the tests need, and run the linters and all tests.

    All arguments are passed on to pytest, whose closing line comes last; what the linters say stands above it. Exits
    with another status than 0 when a test failed or a linter found something.
    """
    from metering.cli.console import say
    from metering.settings import PROJECT_ROOT

    os.chdir(PROJECT_ROOT)
    _install_programs()
    with ThreadPoolExecutor(max_workers=1) as beside:
        linted = beside.submit(lambda: all([_passes(name, command) for name, command in _linters()]))
        if context.args:
            # A few tests may be done before the linters are, and pytest's closing line comes last.
            linted.result()
        say("pytest")
        tests = subprocess.run([sys.executable, "-P", "-m", "pytest", *(context.args or SIDE_BY_SIDE)])
        raise typer.Exit(tests.returncode or (0 if linted.result() else 1))


def _linters() -> list[tuple[str, list[str]]]:
    python = [sys.executable, "-P", "-m"]
    found = [
        ("ruff check", [*python, "ruff", "check", "."]),
        ("ruff format", [*python, "ruff", "format", "--check", "."]),
        ("mypy", [*python, "mypy"]),
    ]
    if shutil.which("shellcheck"):
        found.append(("shellcheck", ["shellcheck", "billing", ".ci/run"]))
    return found


def _passes(name: str, command: list[str]) -> bool:
    from metering.cli.console import complain, say

    began = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode == 0:
        say(f"{name} is content ({time.monotonic() - began:.0f} s).")
        return True
    print(done.stdout, end="", flush=True)
    complain(f"{name} found what is listed above.", f"Mend it; to see it again: {' '.join(command[-3:])}")
    return False


def _install_programs() -> None:
    """Install the programs that some tests drive where we may, else say which tests will be skipped."""
    from metering.cli.console import say

    missing = [program for program in PACKAGES if not shutil.which(program)]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        say(f"Installing {', '.join(missing)} for the tests that need them.")
        install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *(PACKAGES[name] for name in missing)]
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "update", "-q"], install):
            subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        missing = [program for program in missing if not shutil.which(program)]
    if missing:
        say(f"Not installed: {', '.join(missing)}. The tests that need them are skipped, and say so.")

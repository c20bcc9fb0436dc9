"""The library is installed alone, from its folder, and works and is typed there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import usage_client

Server = Any
FOLDER = Path(usage_client.__file__).parent

PROGRAM = """
import importlib.metadata, sys
import usage_client, usage_client.aio, usage_client.asgi, usage_client.bench, usage_client.compute, usage_client.storage
import usage_client.wsgi
assert "site-packages" in usage_client.__file__, usage_client.__file__
names = {name.partition(".")[0] for name in sys.modules}
assert not names & {"metering", "starlette", "flask", "msgspec", "psycopg"}, names
with usage_client.UsageClient(sys.argv[1], "bk_secret", spool="spool") as usage:
    usage.track("e", idempotency_key="installed")
assert usage.tally.accepted == 1
print(importlib.metadata.version("usage-client"))
"""

TYPED = """
from decimal import Decimal
from usage_client import AsyncUsageClient, UsageClient
from usage_client.compute import ComputeMeter

usage = UsageClient("http://127.0.0.1:8090", "key", spool="spool", durable=True)
key: str | None = usage.track("e", Decimal("1.5"))
compute = ComputeMeter(usage)

@compute.metered(team="acme", cpus=4)
def work(number: int) -> str:
    return str(number)

@compute.metered()
async def wait(number: int) -> str:
    return str(number)

async def use() -> None:
    async with AsyncUsageClient("http://127.0.0.1:8090", "key") as client:
        done: bool = await client.flush()
        text: str = await wait(7)

usage.track("e", 1.5)  # wrong
work("seven")  # wrong
UsageClient("http://127.0.0.1:8090", "key", spol="folder")  # wrong
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an empty environment into which the library was installed from a copy of its folder.

    By uv, whose cache has what it takes after the first time.
    """
    home = tmp_path_factory.mktemp("alone")
    source = home / "source"
    shutil.copytree(FOLDER, source, ignore=shutil.ignore_patterns("__pycache__"))
    uv = [sys.executable, "-m", "uv", "--quiet", "--no-progress"]
    subprocess.run([*uv, "venv", "--python", sys.executable, str(home / "venv")], check=True, timeout=120)
    python = home / "venv" / "bin" / "python"
    subprocess.run([*uv, "pip", "install", "--python", str(python), str(source)], check=True, timeout=300)
    return python


def test_it_works_in_an_empty_environment(server: Server, installed: Path, tmp_path: Path) -> None:
    run = subprocess.run(
        [installed, "-c", PROGRAM, server.url],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    assert set(server.kept) == {"installed"}
    assert run.stdout.strip() == tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]["version"]


def test_it_brings_httpx_and_nothing_else_of_its_own(installed: Path) -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "uv", "pip", "list", "--quiet", "--python", str(installed), "--format", "json"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    names = {package["name"] for package in json.loads(listed.stdout)}
    assert names - {"anyio", "certifi", "h11", "httpcore", "idna", "sniffio", "typing-extensions"} == {
        "httpx",
        "usage-client",
    }


def test_who_uses_it_is_checked_by_mypy_strictly(installed: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(TYPED)
    # Reading all of httpx takes long.
    settings = tmp_path / "mypy.ini"
    settings.write_text(
        "[mypy]\nstrict = true\n[mypy-httpx.*]\nfollow_imports = skip\n"
    )  # reading all of it takes long
    command = [sys.executable, "-m", "mypy", "--python-executable", installed, "--config-file", settings, program]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    wrong = [number for number, line in enumerate(TYPED.splitlines(), 1) if line.endswith("# wrong")]
    found = [int(line.split(":")[1]) for line in run.stdout.splitlines() if ": error:" in line]
    assert found == wrong, run.stdout

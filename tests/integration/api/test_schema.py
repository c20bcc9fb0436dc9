"""schemathesis makes requests of all that the OpenAPI document allows, and of much that it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from .conftest import Planted

EXAMPLES = 5
"""Random requests for each operation; `SCHEMATHESIS_EXAMPLES` asks for more."""
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest.mark.parametrize(("key", "phases"), [("anyone", "examples,coverage"), ("acme", "examples,fuzzing")])
def test_nothing_that_is_sent_makes_the_service_fail_or_answer_otherwise_than_described(
    planted: Planted, tmp_path: Path, key: str, phases: str
) -> None:
    program = Path(sys.executable).with_name("schemathesis")
    # By this interpreter: the one that its first line names may be that of another clone, which has gone.
    command = [sys.executable, str(program), "run", f"{planted.world.address}/openapi.json"]
    command += ["--header", f"Authorization: Bearer {planted.world.keys[key]}", "--checks", CHECKS]
    command += ["--phases", phases, "--mode", "all", "--continue-on-failure", "--no-color"]
    command += ["--max-examples", os.environ.get("SCHEMATHESIS_EXAMPLES", str(EXAMPLES)), "--seed", "1", "--no-shrink"]
    command += ["--request-timeout", "60", "--generation-database", "none", "--suppress-health-check", "all"]
    command += ["--exclude-path-regex", "aggregat"]  # it starts Airflow's runs, and there is no Airflow here
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "SCHEMATHESIS_HOOKS": "schemathesis_hooks"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert httpx.get(f"{planted.world.address}/health", timeout=30).status_code == 200

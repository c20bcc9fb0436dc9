"""The DAG files: what Airflow makes of them, what they say to people, and what parsing them costs."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "dags").glob("*.py"))
HEAVY = ("great_expectations", "dbt", "stripe", "pandas", "psycopg2", "httpx")

# Parsed as the dag-processor would, in a process of its own: Airflow keeps its configuration and imports for good.
PARSE = """
import json, sys, time
from airflow.dag_processing.dagbag import DagBag
import house
known, begun = set(sys.modules), time.process_time()
bag = DagBag(sys.argv[1], bundle_name="dags")
pools = set(house.POOLS)
print(json.dumps({
    "import_errors": bag.import_errors,
    "seconds": time.process_time() - begun,
    "heavy": sorted(set(sys.argv[2].split(",")) & {name.split(".")[0] for name in set(sys.modules) - known}),
    "tags": [tag.value for tag in house.Tag],
    "pools": sorted(pools),
    "named_pools": [pool.value for pool in house.Pool],
    "dags": {dag_id: {
        "file": dag.fileloc, "owner": dag.owner, "tags": sorted(dag.tags), "doc_md": dag.doc_md,
        "description": dag.description, "catchup": dag.catchup, "max_active_runs": dag.max_active_runs,
        "tasks": [{
            "id": task.task_id, "retries": task.retries, "doc_md": task.doc_md, "pool": task.pool,
            "backoff": task.retry_exponential_backoff, "told": bool(task.on_failure_callback),
        } for task in dag.tasks],
    } for dag_id, dag in bag.dags.items()},
}))
"""


@pytest.fixture(scope="session")
def parsed(tmp_path_factory):
    """What Airflow sees in dags/."""
    home = tmp_path_factory.mktemp("airflow")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/none.db",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "include"), str(ROOT / "plugins")]),
        "BILLING_HOME": str(home),
    }
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(ROOT / "dags"), ",".join(HEAVY)],
        env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(params=[file.stem for file in FILES])
def dag(request, parsed):
    """Each DAG in turn."""
    return parsed["dags"][request.param]


def test_every_file_is_one_dag_of_the_same_name_and_none_fails(parsed):
    assert parsed["import_errors"] == {}
    assert {dag_id: Path(dag["file"]).stem for dag_id, dag in parsed["dags"].items()} == {f.stem: f.stem for f in FILES}
    assert len(FILES) == 7


def test_parsing_is_light(parsed):
    assert parsed["heavy"] == []
    # Processor time, since a busy machine makes any file slow.
    assert parsed["seconds"] / len(FILES) < 0.3


def test_a_dag_has_an_owner_tags_of_the_house_and_a_sentence(dag, parsed):
    assert dag["owner"] == "data-engineering"
    assert dag["tags"] and set(dag["tags"]) <= set(parsed["tags"])
    assert dag["description"].endswith(".")


def test_a_dag_says_what_it_bills_what_to_do_when_red_and_that_it_is_safe_to_run_again(dag):
    for part in ("**What it bills.**", "**When it is red.**", "**Safe to run again?** Always"):
        assert part in dag["doc_md"]


def test_a_dag_runs_once_at_a_time_and_does_not_catch_up_by_itself(dag):
    assert dag["max_active_runs"] == 1
    assert dag["catchup"] is False


def test_every_task_is_documented_retries_with_backoff_and_tells_people_when_it_fails(dag, parsed):
    for task in dag["tasks"]:
        assert task["doc_md"], task["id"]
        assert task["retries"] >= 2
        assert task["backoff"]
        assert task["told"]
        assert task["pool"] in {"default_pool", *parsed["pools"]}


def test_every_pool_that_is_named_is_made(parsed):
    assert parsed["pools"] == sorted(parsed["named_pools"])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_is_short_and_has_a_runbook(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 120
    runbook = (ROOT / "docs" / "runbooks" / f"{file.stem}.md").read_text(encoding="utf-8")
    for heading in ("## What it bills", "## When it is red", "## Is it safe to run again?", "## Backfill"):
        assert heading in runbook, heading


def test_no_importable_file_is_taken_for_a_plugin_of_dbt():
    folders = (ROOT / "plugins", ROOT / "include", ROOT / "dags")
    assert [path for folder in folders for path in folder.rglob("dbt_*.py")] == []


def test_no_plugin_takes_the_name_of_another_module():
    # Airflow puts each file of plugins/ into sys.modules by its bare name: metering.py would hide the product.
    names = {path.stem for path in (ROOT / "plugins").rglob("*.py")} - {"__init__", "house"}
    assert [name for name in sorted(names) if importlib.util.find_spec(name) is not None] == []

"""docker-compose.yaml says what exists, asks for every secret, and says the same to Airflow and PostgreSQL as `up`."""

from __future__ import annotations

import fnmatch
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from metering import settings as settings_module
from metering.processes import airflow, health, postgres
from metering.settings import PROJECT_ROOT, SECRETS, SERVER_SECRETS, Settings

from .conftest import FILE, Unset, image, read_compose, read_env, write_secrets

ENDS = {"init", "billing"}
"""The services that end when they have done their work."""

# How Airflow runs as servers otherwise than under `./billing up`, and why. What is not here must be the same.
DIFFERENT = {
    "BILLING_HOME": "a volume",
    "AIRFLOW_HOME": "in that volume",
    "AIRFLOW_CONN_BILLING_POSTGRES": "another server",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": "in the volume",
    "AIRFLOW__CORE__FERNET_KEY": "another installation's secret",
    "AIRFLOW__API__SECRET_KEY": "another installation's secret",
    "AIRFLOW__API_AUTH__JWT_SECRET": "another installation's secret",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "another server",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": "another server",
    "AIRFLOW__LOGGING__BASE_LOG_FOLDER": "in the volume, which all of Airflow's servers share",
    "AIRFLOW__LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": "in the volume",
    "AIRFLOW__CORE__EXECUTOR": "tasks run on Celery workers",
    "AIRFLOW__CORE__PARALLELISM": "as many tasks as the workers together may run, not what two cores can",
    "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": "tasks reach the API server by its service's name",
    "AIRFLOW__CORE__HOSTNAME_CALLABLE": "each container is asked for its own health by its own name",
    "AIRFLOW__API__HOST": "a container's own addresses; what is published is for docker-compose.yaml to say",
    "AIRFLOW__CELERY__BROKER_URL": "Celery",
    "AIRFLOW__CELERY__WORKER_CONCURRENCY": "Celery",
    "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "Celery",
    "NO_PROXY": "names of servers",
    "no_proxy": "names of servers",
}
# How the server of the file differs from the embedded one.
POSTGRES_DIFFERENT = {
    "listen_addresses": "other containers connect",
    "unix_socket_directories": "the image's health and its first start use one",
}


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """What `./billing secrets` writes."""
    return write_secrets(tmp_path / "env")


@pytest.fixture
def compose(variables: dict[str, str]) -> dict[str, Any]:
    """The file as Compose reads it with those."""
    return read_compose(variables)


def test_it_is_valid_by_the_compose_specification() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_compose_itself_reads_it(variables: dict[str, str], tmp_path: Path) -> None:
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("Docker's compose plugin is not installed")
    command = [docker, "compose", "--env-file", str(tmp_path / "env"), "--file", str(FILE), "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", sorted({**SECRETS, **SERVER_SECRETS}))
def test_no_secret_has_a_default(variables: dict[str, str], name: str) -> None:
    with pytest.raises(Unset, match=rf"{name} is missing; make \.env with \./billing secrets"):
        read_compose({**variables, name: ""})
    assert read_env(PROJECT_ROOT / ".env.example")[name] == ""


def test_secrets_are_each_made_and_a_file_that_is_there_is_left_alone(
    variables: dict[str, str], tmp_path: Path
) -> None:
    made = [variables[name] for name in {**SECRETS, **SERVER_SECRETS}]
    assert len({*made}) == len(made) and all(len(secret) >= 16 for secret in made)
    before = (tmp_path / "env").read_bytes()
    with pytest.raises(subprocess.CalledProcessError) as refused:
        write_secrets(tmp_path / "env")
    assert b"is there already; nothing was changed" in refused.value.stderr
    assert (tmp_path / "env").read_bytes() == before


def test_the_example_has_every_variable_of_the_file_and_no_other() -> None:
    used = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", FILE.read_text(encoding="utf-8")))
    assert used | {"COMPOSE_PROFILES"} == read_env(PROJECT_ROOT / ".env.example").keys()


def test_each_variable_that_a_service_is_given_is_one_that_the_product_reads(compose: dict[str, Any]) -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in (PROJECT_ROOT / "include").rglob("*.py"))
    ours = [service for service in compose["services"].values() if "build" in service]
    given = {name for service in ours for name in service.get("environment", {})} - {"NO_PROXY"}
    # The users' passwords are asked for by a name that is put together.
    unknown = [name for name in given if f'"{name}"' not in code and name not in SECRETS]
    assert unknown == []


def test_what_services_name_of_each_other_exists(compose: dict[str, Any]) -> None:
    services = compose["services"]
    mounted = {volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])}
    assert mounted == compose["volumes"].keys()
    for name, service in services.items():
        for other, condition in service.get("depends_on", {}).items():
            healthy = condition["condition"] == "service_healthy"
            assert healthy == ("healthcheck" in services[other]), f"{name} waits for {other}"
            assert condition.get("required", True) == ("profiles" not in services[other]), f"{name} on {other}"
        assert ("healthcheck" in service) == (name not in ENDS), name
    profiles = {profile for service in services.values() for profile in service.get("profiles", [])}
    assert {*read_env(PROJECT_ROOT / ".env.example")["COMPOSE_PROFILES"].split(",")} == profiles - {"command-line"}


def test_addresses_name_services_and_the_ports_that_they_listen_on(compose: dict[str, Any]) -> None:
    listens = {"postgres": "5432", "redis": "6379", "airflow-api-server": "8080", "stripe-emulator": "12111"}
    for service in compose["services"].values():
        for value in service.get("environment", {}).values():
            address = urlsplit(value)
            if "//" in value and address.hostname != "127.0.0.1":
                assert listens[str(address.hostname)] == str(address.port)
    services = compose["services"]
    environment = services["airflow-worker"]["environment"]
    assert environment["BILLING_AIRFLOW_PORT"] == listens["airflow-api-server"]
    assert (environment["BILLING_STRIPE_EMULATOR_HOST"], environment["BILLING_STRIPE_EMULATOR_PORT"]) == (
        "stripe-emulator",
        listens["stripe-emulator"],
    )
    assert f"port {listens['redis']}\n" in services["redis"]["command"][-1]
    for name in ("ingestion", "stripe-emulator"):
        port = services[name]["command"][services[name]["command"].index("--port") + 1]
        assert services[name]["ports"][0].endswith(f":{port}")
        assert f":{port}/" in services[name]["healthcheck"]["test"][-1]


def test_ports_are_published_on_loopback_unless_somebody_says_otherwise(variables: dict[str, str]) -> None:
    def published(**more: str) -> dict[str, str]:
        services = read_compose({**variables, **more})["services"]
        return {name: port for name, service in services.items() for port in service.get("ports", [])}

    assert published() == {
        "airflow-api-server": "127.0.0.1:8080:8080",
        "ingestion": "127.0.0.1:8090:8090",
        "stripe-emulator": "127.0.0.1:12111:12111",
    }
    assert published(BILLING_PUBLISH_ADDRESS="10.0.0.5", BILLING_STRIPE_EMULATOR_PORT="1")["stripe-emulator"] == (
        "127.0.0.1:1:12111"
    )
    assert published(BILLING_PUBLISH_ADDRESS="10.0.0.5", BILLING_AIRFLOW_PORT="80")["airflow-api-server"] == (
        "10.0.0.5:80:8080"
    )


def test_every_module_and_command_exists(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        if "build" not in service:
            continue
        entrypoint = service.get("entrypoint", image()["entrypoint"])
        assert entrypoint[:3] == ["python", "-P", "-m"]
        assert importlib.util.find_spec(entrypoint[3])
        check = service.get("healthcheck", {}).get("test", [])
        if check:
            assert check[:5] == ["CMD", "python", "-P", "-m", "metering.processes.health"]
            assert check[5].startswith("http://127.0.0.1:") or check[5] in {*health.JOBS, "worker"}


def test_images_are_pinned_and_the_server_is_the_one_we_test_with(compose: dict[str, Any]) -> None:
    foreign = [service["image"] for service in compose["services"].values() if "build" not in service]
    for name in [*foreign, *image()["base"]]:
        assert re.fullmatch(r"[a-z]+:\d+\.\d+(\.\d+)?(-slim)?-bookworm", name), name
    embedded = subprocess.run([postgres.binary("postgres"), "--version"], capture_output=True, text=True).stdout
    assert compose["services"]["postgres"]["image"].startswith(f"postgres:{embedded.split()[-1]}-")


def test_postgresql_runs_as_the_embedded_one_does(compose: dict[str, Any]) -> None:
    service = compose["services"]["postgres"]
    assert service["command"][0] == "postgres"
    given = dict(word.removeprefix("-c").split("=", 1) for word in service["command"][1:])
    assert given == {k: v for k, v in postgres.CONFIGURATION.items() if k not in POSTGRES_DIFFERENT}
    source = Path(postgres.__file__).read_text(encoding="utf-8")
    assert all(f'"{option}"' in source for option in service["environment"]["POSTGRES_INITDB_ARGS"].split())
    assert int(service["image"].split(":")[1].split(".")[0]) == postgres.MAJOR_VERSION
    assert service["volumes"] == ["postgres:/var/lib/postgresql"], "since 18 the image keeps its data below this"


def test_airflow_is_told_the_same_as_under_up(
    compose: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = airflow.airflow_environment(settings_module.generate_secrets(Settings(tmp_path, {})))
    told = compose["services"]["airflow-worker"]["environment"]
    monkeypatch.setenv("NO_PROXY", told["NO_PROXY"])
    there = airflow.airflow_environment(Settings(Path(image()["environment"]["BILLING_HOME"]), told))
    differ = {name for name in here.keys() | there.keys() if here.get(name) != there.get(name)}
    assert differ == DIFFERENT.keys()
    assert there["AIRFLOW__CORE__EXECUTOR"] == "CeleryExecutor"
    assert not [name for name in told if name.startswith("AIRFLOW__")], "options have one place: airflow_environment"
    for name in ("init", "airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer"):
        assert compose["services"][name]["environment"] == told


def test_a_database_and_a_stripe_of_ones_own_take_the_place_of_ours(variables: dict[str, str]) -> None:
    own = {"DATABASE_URL": "postgresql://me:pw@db.example.com/usage", "STRIPE_API_KEY": "sk_test_mine"}
    told = read_compose({**variables, **own})["services"]["airflow-worker"]["environment"]
    settings = Settings(Path("/nowhere"), told)
    assert settings.database_url == own["DATABASE_URL"]
    assert settings.airflow_database_url == "postgresql://me:pw@db.example.com/usage_airflow"
    assert (settings.stripe_api_key, settings.stripe_base_url) == ("sk_test_mine", None)
    ours = Settings(Path("/nowhere"), read_compose(variables)["services"]["airflow-worker"]["environment"])
    assert ours.stripe_base_url == "http://stripe-emulator:12111"


def test_our_services_can_write_nowhere_but_where_they_are_meant_to(compose: dict[str, Any]) -> None:
    made = image()
    assert made["user"] not in ("root", "0")
    for name, service in compose["services"].items():
        if "build" not in service:
            continue
        assert (service["read_only"], service["cap_drop"], service["tmpfs"]) == (True, ["ALL"], ["/tmp"]), name
        assert "privileged" not in service and "user" not in service
        targets = [volume.split(":")[1] for volume in service.get("volumes", [])]
        assert targets in ([], [made["environment"]["BILLING_HOME"]]), name


def test_the_image_has_all_that_runs_and_nothing_else() -> None:
    lines = (PROJECT_ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    assert all((PROJECT_ROOT / name).exists() for name in let_in)
    assert {"dags", "dbt_project", "include", "plugins", "requirements.txt"} <= let_in
    assert not [name for name in let_in if fnmatch.fnmatch(name, ".*")], "no secrets, no data, no history"
    made = image()
    assert [name for name in made["copied"] if name != "./" and name not in let_in and name != "."] == []
    assert made["environment"]["PYTHONPATH"] == f"{made['workdir']}/include"


def test_the_documentation_names_only_services_and_variables_that_exist(compose: dict[str, Any]) -> None:
    text = (PROJECT_ROOT / "docs" / "servers.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\b(?:BILLING|COMPOSE)_[A-Z_]+\b", text))
    assert named <= read_env(PROJECT_ROOT / ".env.example").keys() | {"BILLING_HOME"}
    for command in re.findall(r"docker compose (?:exec|stop|restart|logs --follow) (?:-T )?([a-z-]+)", text):
        assert command in compose["services"], command
    assert yaml.safe_load(FILE.read_text(encoding="utf-8"))["name"] == "billing"

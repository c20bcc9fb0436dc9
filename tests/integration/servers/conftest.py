"""docker-compose.yaml as Compose would read it, and its services started as processes of this machine."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from metering.processes.ports import free_port
from metering.settings import PROJECT_ROOT

FILE = PROJECT_ROOT / "docker-compose.yaml"
DOCKERFILE = PROJECT_ROOT / "Dockerfile"
_REFERENCE = re.compile(r"\$(?:(\$)|\{([A-Za-z_][A-Za-z0-9_]*)|(?=.))", re.DOTALL)


class Unset(Exception):
    """A variable that must be set is not; the message is the file's own."""


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """Put variables into a text by the rules of the Compose specification, as far as the file uses them.

    `$$` is a dollar; `${NAME}`, `${NAME:-default}` and `${NAME:?message}` may stand inside one another.
    """
    done = ""
    while found := _REFERENCE.search(text):
        done, rest = done + text[: found.start()], text[found.end() :]
        if found[1]:
            done, text = done + "$", rest
            continue
        assert found[2], f"neither $$ nor ${{NAME}}: {text}"
        depth, end = 1, 0
        while depth:
            depth += {"{": 1, "}": -1}.get(rest[end], 0)
            end += 1
        operator, argument, text = rest[: end - 1][:2], rest[: end - 1][2:], rest[end:]
        assert operator in ("", ":-", ":?"), f"{operator} is not used here"
        value = variables.get(found[2], "")
        if not value and operator == ":?":
            raise Unset(f"{found[2]} {argument}")
        done += value or (interpolate(argument, variables) if operator == ":-" else "")
    return done + text


def _everywhere(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _everywhere(inner, variables) for key, inner in value.items()}
    if isinstance(value, list):
        return [_everywhere(inner, variables) for inner in value]
    return interpolate(value, variables) if isinstance(value, str) else value


def read_compose(variables: Mapping[str, str]) -> dict[str, Any]:
    """The file with its anchors resolved and these variables put in."""
    return dict(_everywhere(yaml.safe_load(FILE.read_text(encoding="utf-8")), variables))


def read_env(path: Path) -> dict[str, str]:
    """The variables of an .env file."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def write_secrets(path: Path) -> dict[str, str]:
    """Call `./billing secrets` for a file and return what it wrote."""
    subprocess.run(
        [sys.executable, "-P", "-m", "metering.cli", "secrets", "--to", str(path)],
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT / "include")},
        check=True,
        capture_output=True,
    )
    return read_env(path)


def image() -> dict[str, Any]:
    """What the Dockerfile gives every container: `ENV`, `ENTRYPOINT`, `WORKDIR` and what it copies."""
    text = DOCKERFILE.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]

    def all_of(instruction: str) -> list[str]:
        return [rest for name, rest in lines if name == instruction]

    return {
        "base": all_of("FROM"),
        "environment": dict(pair.split("=", 1) for line in all_of("ENV") for pair in line.split()),
        "entrypoint": yaml.safe_load(all_of("ENTRYPOINT")[0]),
        "workdir": all_of("WORKDIR")[0],
        "user": all_of("USER")[-1],
        "copied": [source for line in all_of("COPY") for source in line.split()[:-1]],
    }


class Servers:
    """The services of the file, each started by its own command with its own environment and nothing else.

    What a container would have of its own is translated: names of services to loopback, their ports to free ones, the
    image's directories to this checkout and a new one.
    """

    def __init__(self, variables: Mapping[str, str], home: Path) -> None:
        self.home = home
        self.ports = {name: free_port() for name in ("redis", "airflow-api-server", "ingestion", "stripe-emulator")}
        self.services: dict[str, dict[str, Any]] = read_compose(variables)["services"]
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        redis, airflow, ingestion, stripe = self.ports.values()
        # Longer ones first.
        self._translations = {
            "http://airflow-api-server:8080": f"http://127.0.0.1:{airflow}",
            "http://127.0.0.1:8080": f"http://127.0.0.1:{airflow}",
            "http://127.0.0.1:8090": f"http://127.0.0.1:{ingestion}",
            "http://127.0.0.1:12111": f"http://127.0.0.1:{stripe}",
            "@redis:6379": f"@127.0.0.1:{redis}",
            "port 6379": f"port {redis}",
            "redis-cli": f"redis-cli -p {redis}",
            "dir /data": f"dir {home}",
            "0.0.0.0": "127.0.0.1",
            "/var/lib/billing": str(home),
            "/opt/billing": str(PROJECT_ROOT),
        }
        self._exactly = {
            "8080": str(airflow),
            "8090": str(ingestion),
            "12111": str(stripe),
            "stripe-emulator": "127.0.0.1",
            "python": sys.executable,
        }

    def translate(self, text: str) -> str:
        """A word of a command or the value of a variable, as it has to be outside its container."""
        for inside, outside in self._translations.items():
            text = text.replace(inside, outside)
        return self._exactly.get(text, text)

    def environment(self, name: str) -> dict[str, str]:
        """A service's environment: its image's, its own, and where programs are. Nothing of this process's."""
        ours = image()["environment"] if "build" in self.services[name] else {}
        given = {**ours, **self.services[name].get("environment", {})}
        return {
            **{key: self.translate(value) for key, value in given.items()},
            "HOME": str(self.home),
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        }

    def command(self, name: str) -> list[str]:
        """A service's command line."""
        service = self.services[name]
        entrypoint = service.get("entrypoint", image()["entrypoint"] if "build" in service else [])
        return [self.translate(word) for word in [*entrypoint, *service.get("command", [])]]

    def log(self, name: str) -> str:
        """What a service has printed."""
        return (self.home / f"{name}.out").read_text(encoding="utf-8", errors="replace")

    def start(self, name: str) -> None:
        """Start a service."""
        with (self.home / f"{name}.out").open("ab") as output:
            self.running[name] = subprocess.Popen(
                self.command(name),
                env=self.environment(name),
                cwd=PROJECT_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self, name: str, timeout: float = 180) -> None:
        """Run a service that ends; it must succeed."""
        self.start(name)
        assert self.running.pop(name).wait(timeout) == 0, self.log(name)

    def is_well(self, name: str) -> bool:
        """What a service's own health check says."""
        kind, *words = self.services[name]["healthcheck"]["test"]
        command = [self.translate(word) for word in words]
        return (
            subprocess.run(
                ["sh", "-c", *command] if kind == "CMD-SHELL" else command,
                env=self.environment(name),
                cwd=PROJECT_ROOT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=30,
            ).returncode
            == 0
        )

    def wait_well(self, *names: str, timeout: float = 180) -> None:
        """Wait until services are well by their own health checks."""
        until = time.monotonic() + timeout
        for name in names:
            while not self.is_well(name):
                assert self.running[name].poll() is None, f"{name} has ended:\n{self.log(name)[-4000:]}"
                assert time.monotonic() < until, f"{name} is not well:\n{self.log(name)[-4000:]}"
                time.sleep(2)  # each check is a program of its own

    def stop(self, *names: str, patience: float = 20) -> None:
        """Stop services, all that run by default, the last one first."""
        stopping = [self.running.pop(name) for name in names or [*reversed(self.running)]]
        for process in stopping:
            process.terminate()
        until = time.monotonic() + patience
        for process in stopping:
            try:
                process.wait(max(until - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                pass
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # its session is its own: nothing else is in it
                process.wait()


@pytest.fixture
def example() -> dict[str, str]:
    """The variables of .env.example, each secret set to its own name."""
    return {
        name: value or (name if name.endswith(("PASSWORD", "SECRET", "KEY")) and name != "STRIPE_API_KEY" else "")
        for name, value in read_env(PROJECT_ROOT / ".env.example").items()
    }


@pytest.fixture
def servers_home() -> Iterator[Path]:
    """A directory for what servers write."""
    home = Path(tempfile.mkdtemp(prefix="billing-servers-"))
    yield home
    shutil.rmtree(home, ignore_errors=True)

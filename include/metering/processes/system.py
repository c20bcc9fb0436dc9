"""The whole system: what it consists of, how it comes up, how it goes down."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from urllib.parse import unquote, urlsplit

from metering import migrate
from metering import settings as settings_module
from metering.errors import BillingError
from metering.processes import airflow, lock, obstacles, postgres, supervisor
from metering.processes.supervisor import Component, Record
from metering.settings import GIVEN, PORTS, PROJECT_ROOT, Settings

READY_TIMEOUT = 180
"""Seconds until a component must be ready; generous, for machines that do much else."""
Say = Callable[[str], None]


@dataclass
class Report:
    """What `up` found and did."""

    settings: Settings
    already: bool = False
    started: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)


def own_environment(settings: Settings) -> dict[str, str]:
    """The environment of the project's own programs."""
    return {
        **airflow.inherited(),
        **airflow.quiet(),
        "BILLING_HOME": str(settings.home),
        "PYTHONPATH": str(PROJECT_ROOT / "include"),
    }


def deployment(settings: Settings) -> Component:
    """Deploys the dbt models, and ends."""
    return Component(
        name="deploy-models",
        title="the deployment of the models",
        command=[sys.executable, "-P", "-m", "metering.deployment"],
        environment=own_environment(settings),
    )


def services(settings: Settings) -> list[Component]:
    """The project's own services."""
    environment = own_environment(settings)

    def service(name: str, title: str, port: int, setting: str, health: str, live: str, *arguments: str) -> Component:
        return Component(
            name=name,
            title=title,
            command=[sys.executable, "-P", "-m", *arguments],
            environment=environment,
            port=port,
            port_setting=setting,
            ready=lambda: _answers(f"http://127.0.0.1:{port}{health}"),
            alive=lambda: _answers(f"http://127.0.0.1:{port}{live}"),
        )

    found = []
    if settings.stripe_emulated:
        port = settings.stripe_emulator_port
        state = settings.home / "stripe_emulator.sqlite"
        found.append(
            service(
                *("stripe-emulator", "the Stripe emulator", port, "BILLING_STRIPE_EMULATOR_PORT"),
                *("/emulator/health", "/emulator/health"),
                *("metering.stripe_emulator", "--port", str(port), "--state", str(state)),
            )
        )
    found.append(
        service(
            *("ingestion", "the ingestion service", settings.ingestion_port, "BILLING_INGESTION_PORT"),
            *("/health", "/health/live"),
            "metering.ingestion",
        )
    )
    return found


def airflow_components(settings: Settings) -> list[Component]:
    """Airflow's programs; the first, its API server, needs no migrated database to start."""
    return [
        Component(
            name="airflow-api-server",
            title="Airflow's API server",
            command=["api-server"],
            port=settings.airflow_port,
            port_setting="BILLING_AIRFLOW_PORT",
            # The side that tasks talk to is built at its first request: let that be ours, and no task waits for it.
            ready=lambda: _answers(f"{airflow.airflow_url(settings)}/execution/health", timeout=10),
        ),
        *(
            Component(
                name=f"airflow-{name}",
                title=f"Airflow's {name.replace('-', ' ')}",
                command=[name, *arguments],
                ready=partial(_beats, settings, name.replace("-", "_")),
                patience=patience,
            )
            # A scheduler that is asked to stop waits for its running tasks. Triggers keep their state in the database.
            for name, patience, *arguments in (
                ("scheduler", 20, "--skip-serve-logs"),
                ("dag-processor", 5),
                ("triggerer", 2, "--skip-serve-logs"),
            )
        ),
    ]


def up(settings: Settings, say: Say = lambda _: None, given_up: threading.Event | None = None) -> Report:
    """Start whatever does not run yet, in the order of what needs what, and wait until all of it is ready.

    `say` is told of each step. Raises `BillingError`, having stopped again what this call started and forgotten what it
    was given, where it can't be, or where `given_up` is set meanwhile.
    """
    began = time.monotonic()
    given_up = given_up or threading.Event()
    obstacles.refuse_shared_ports(settings)
    obstacles.prepare_home(settings)
    with _one_at_a_time(settings, say, given_up):
        parts = [*services(settings), *airflow_components(settings)]
        with ThreadPoolExecutor(max_workers=len(parts)) as pool:
            staying = list(pool.map(lambda part: supervisor.stays(settings, part, given_up), parts))
        missing = [part for part, stays in zip(parts, staying, strict=True) if not stays]
        database_up = not settings.embedded_postgres or postgres.running(settings.postgres_data) is not None
        if len(missing) < len(parts) or postgres.running(settings.postgres_data):
            obstacles.refuse_other_configuration(settings)
        if not missing and database_up:
            return Report(settings, already=True)
        if not database_up:
            postgres.refuse_taken_port(settings.postgres_port)
        obstacles.refuse_taken_ports(missing)
        if not settings.embedded_postgres:
            at = time.monotonic()
            obstacles.refuse_unreachable_databases(settings)
            say(f"PostgreSQL answers at {addresses(settings)['postgres']} ({time.monotonic() - at:.1f} s).")
        # Remembered while it starts, so that whoever comes after a call that was killed finds what it left running;
        # put back where the start fails, so that what was wrong is not used again.
        before = settings_module.stored(settings)
        settings = _settle(settings)
        report = Report(settings)
        start = _Start(settings, say, report, {part.name for part in missing}, given_up)
        try:
            start.run()
        except BaseException:
            try:
                say("Stopping again what was started.")
            finally:  # whatever happened to the output
                with _undisturbed():
                    _stop(settings, report.started)
                    settings_module.restore(settings, before, *GIVEN, *PORTS)
            raise
    report.seconds["up"] = time.monotonic() - began
    return report


class _Start:
    """One start of the system: the parts that depend on nothing of each other come up side by side."""

    def __init__(
        self, settings: Settings, say: Say, report: Report, missing: set[str], given_up: threading.Event
    ) -> None:
        self.settings = settings
        self.say = say
        self.report = report
        self.services = [part for part in services(settings) if part.name in missing]
        self.airflow = [part for part in airflow_components(settings) if part.name in missing]
        self.given_up = given_up

    def run(self) -> None:
        with contextlib.ExitStack() as stack:
            airflow.prepare(self.settings)
            # Airflow takes longest, so its imports begin while PostgreSQL is made.
            launcher = stack.enter_context(airflow.Launcher(self.settings, self.given_up)) if self.airflow else None
            pool = stack.enter_context(ThreadPoolExecutor(max_workers=8))
            stack.push(self.give_up_on_failure)
            if self.settings.embedded_postgres:
                with self.timed("postgres", "PostgreSQL runs"):
                    self.start_postgres()
            with self.timed("migrations", "The billing database is up to date"):
                make_databases(self.settings)
            deployed = pool.submit(self.deploy)
            airflow_ready = pool.submit(self.start_airflow, launcher, deployed.result) if launcher else None
            with self.timed("services", "The services answer") if self.services else contextlib.nullcontext():
                started = [(part, self.started(part, supervisor.start(self.settings, part))) for part in self.services]
                for part, record in started:
                    supervisor.wait_ready(part, record, READY_TIMEOUT, self.given_up)
            deployed.result()
            if airflow_ready:
                airflow_ready.result()

    def give_up_on_failure(self, kind: type[BaseException] | None, *_: object) -> None:
        """Whoever still waits when the start has failed, waits in vain."""
        if kind:
            self.given_up.set()

    def start_postgres(self) -> None:
        settings = self.settings
        if not postgres.running(settings.postgres_data):
            self.report.started.append("postgres")
        postgres.start(
            settings.postgres_data,
            settings.postgres_port,
            settings.require("BILLING_POSTGRES_PASSWORD", "Run `./billing up`: it generates it."),
            log=supervisor.log_file(settings, "postgres"),
        )

    def deploy(self) -> None:
        with self.timed("models", "The models are deployed"):
            # In a process of its own: dbt's imports would hold up everything that starts beside it.
            supervisor.run_to_end(self.settings, deployment(self.settings), self.given_up)

    def start_airflow(self, launcher: airflow.Launcher, billing_is_ready: Callable[[], None]) -> None:
        with self.timed("airflow", "Airflow runs"):
            began = datetime.now().astimezone()
            records: dict[str, tuple[Component, Record]] = {}

            def start(*names: str) -> None:
                for part in self.airflow:
                    if part.name.removeprefix("airflow-") in names:
                        records[part.name] = (part, self.started(part, launcher.start(part)))

            def wait() -> None:
                for part, record in records.values():
                    supervisor.wait_ready(_since(part, self.settings, began), record, READY_TIMEOUT, self.given_up)

            start("api-server")  # needs no database to begin, and longest of all until it answers
            migrated = launcher.begin("db", "migrate")
            launcher.preload_for_tasks()  # takes about as long as the migration
            migrated()
            start("dag-processor", "triggerer")
            # A task whose pool is not there waits for ever.
            launcher.run("pools", "import", str(airflow.POOLS))
            billing_is_ready()
            wait()
            start("scheduler")  # last: from here on DAGs run, and their tasks need everything else
            wait()

    def started(self, part: Component, record: Record) -> Record:
        self.report.started.append(part.name)
        return record

    @contextlib.contextmanager
    def timed(self, stage: str, done: str) -> Iterator[None]:
        if self.given_up.is_set():
            raise BillingError("The start was given up.", "Call again to start the system.")
        began = time.monotonic()
        yield
        self.report.seconds[stage] = time.monotonic() - began
        self.say(f"{done} ({self.report.seconds[stage]:.1f} s).")


def down(settings: Settings, say: Say = lambda _: None) -> list[str]:
    """Stop everything this installation runs, the database last; return the names of what was stopped."""
    if not settings.home.exists():
        return []
    with _one_at_a_time(settings, say):
        if supervisor.running(settings, "airflow-scheduler"):
            say("Stopping: the scheduler first, which lets running tasks end for up to 20 seconds.")
        names = [part.name for part in [*airflow_components(settings), *services(settings)]]
        # Also what an earlier configuration started and this one does not know.
        names += [path.stem for path in settings.run.glob("*.json") if path.stem not in names]
        stopped = _stop(settings, [*names, "postgres"], say)
        settings_module.forget(settings, *GIVEN)
    return stopped


def _stop(settings: Settings, names: list[str], say: Say = lambda _: None) -> list[str]:
    """Stop components: the scheduler first, so that no task begins, then all others side by side, the database last."""
    parts = {part.name: part for part in [*airflow_components(settings), *services(settings)]}

    def stop(name: str) -> bool:
        if name == "postgres":
            stopped = postgres.stop(settings.postgres_data)
        else:
            stopped = supervisor.stop(settings, name, parts[name].patience if name in parts else 10)
        if stopped:
            # Whoever listens may be gone (`| head`); all is stopped all the same.
            with contextlib.suppress(OSError, SystemExit):
                say(f"Stopped {name}.")
        return stopped

    first = [name for name in names if name == "airflow-scheduler"]
    others = [name for name in names if name not in ("airflow-scheduler", "postgres")]
    last = [name for name in names if name == "postgres"]
    with ThreadPoolExecutor(max_workers=8) as pool:
        done = [(name, stop(name)) for name in first]
        done += list(zip(others, pool.map(stop, others), strict=True))
        done += [(name, stop(name)) for name in last]
    return [name for name, stopped in done if stopped]


def _settle(settings: Settings) -> Settings:
    """Generate what is missing, and keep what later calls must know: the ports, and what this call was given."""
    settings = settings_module.generate_secrets(settings)
    kept = {name: settings.values[name] for name in GIVEN if settings.get(name)}
    if not settings.stripe_emulated:
        _ = settings.stripe_api_key  # refuses a wrong or a live key before anything is started
    return settings_module.remember(settings, **{name: str(port) for name, port in settings.ports.items()}, **kept)


def make_databases(settings: Settings) -> None:
    """Make both databases; the billing one first, which refuses before anything is made beside what is not ours."""
    _ensure_database(settings.database_url, "DATABASE_URL")
    migrate.migrate(settings.database_url)
    _ensure_database(settings.airflow_database_url, settings.airflow_database_setting)
    airflow.claim_database(settings.airflow_database_url)


def _ensure_database(url: str, setting: str) -> None:
    postgres.ensure_database(url, unquote(urlsplit(url).path.lstrip("/")), setting)


@contextlib.contextmanager
def _one_at_a_time(settings: Settings, say: Say, given_up: threading.Event | None = None) -> Iterator[None]:
    """Let one `up` or `down` work at a time."""
    settings.run.mkdir(parents=True, exist_ok=True)

    def wait(holder: str) -> None:
        say(f"Another `up` or `down` is at work ({holder}); waiting for it.")

    with lock.held(settings.run / "lock", wait, given_up):
        yield


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Let nobody's Ctrl-C end what must be brought to its end and takes seconds."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread is ever interrupted
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _answers(url: str, timeout: float = 2) -> bool:
    import httpx

    try:
        return httpx.get(url, timeout=timeout, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _health(settings: Settings) -> dict[str, dict[str, str | None]]:
    import httpx

    url = f"{airflow.airflow_url(settings)}/api/v2/monitor/health"
    try:
        return dict(httpx.get(url, timeout=5, trust_env=False).json())
    except (httpx.HTTPError, ValueError):
        return {}


def _beats(settings: Settings, name: str, since: datetime | None = None) -> bool:
    """Whether one of Airflow's programs is alive by its heartbeat, and that heartbeat is not its predecessor's."""
    health = _health(settings).get(name, {})
    beat = health.get(f"latest_{name}_heartbeat")
    fresh = since is None or (beat is not None and datetime.fromisoformat(beat) >= since)
    return health.get("status") == "healthy" and fresh


def _since(part: Component, settings: Settings, moment: datetime) -> Component:
    """The same component, ready only once its heartbeat is younger than a moment."""
    if part.port:
        return part
    name = part.name.removeprefix("airflow-").replace("-", "_")
    return replace(part, ready=lambda: _beats(settings, name, moment))


def left_running(settings: Settings) -> str:
    """Say what runs and what one can do about it: what a person wants to know who interrupted something."""
    names = ["postgres"] if settings.embedded_postgres and postgres.running(settings.postgres_data) else []
    parts = [*services(settings), *airflow_components(settings)]
    names += [part.name for part in parts if supervisor.running(settings, part.name)]
    if not names:
        return "Nothing is left running, and what was stored stays; the same call goes on with it."
    return f"Left running: {', '.join(names)}. The same call goes on with it; ./billing down stops it."


def addresses(settings: Settings) -> dict[str, str]:
    """Where each part of the system answers."""
    database = urlsplit(settings.database_url)
    return {
        "airflow": airflow.airflow_url(settings),
        "ingestion": settings.ingestion_url,
        "stripe": settings.stripe_base_url or "https://api.stripe.com",
        "postgres": f"{database.hostname}:{database.port or 5432}{database.path}",
    }


def directions(settings: Settings) -> dict[str, str]:
    """What a person needs to know to use the running system."""
    at = addresses(settings)
    return {
        "Airflow": f"{at['airflow']}  as {', '.join(airflow.ROLES)}; passwords in {airflow.passwords_file(settings)}",
        "Usage": f"{at['ingestion']}/api/usage/track",
        "Stripe": f"{at['stripe']}{'  (the emulator)' if settings.stripe_emulated else ''}",
        "PostgreSQL": f"{at['postgres']}  (./billing psql)",
        "Files": str(settings.home),
    }

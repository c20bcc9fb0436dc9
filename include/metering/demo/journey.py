"""The way of the demo, as a user goes it: start, send usage, let Airflow bill, submit and reconcile it, compare."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime

import httpx
import psycopg
from psycopg.rows import DictRow

from metering import catalog, database
from metering import settings as settings_module
from metering.demo import outcome as outcomes
from metering.demo.display import Display
from metering.demo.outcome import Delivery, Outcome
from metering.demo.sources import Source
from metering.demo.stripe_time import StripeTime, moments_due
from metering.errors import BillingError
from metering.processes import lock, obstacles, supervisor, system
from metering.processes.airflow_api import AirflowApi
from metering.settings import Settings

DAGS = ("aggregate_usage", "close_billing_periods", "submit_usage_to_stripe", "reconcile_with_stripe")


def travel(settings: Settings, source: Source, display: Display) -> tuple[Outcome, Settings]:
    """Go the whole way and return what came of it, with the settings then in force.

    One demo at a time goes through an installation: Stripe's emulator has one clock, and each would move it.
    """
    obstacles.prepare_home(settings)
    with lock.held(settings.run / "demo.lock", _refuse_another):
        return _travel(settings, source, display)


def _refuse_another(holder: str) -> None:
    raise BillingError(
        f"Another demo is at work here ({holder}).",
        "Let it end, or set BILLING_HOME and other ports for one beside it.",
    )


def _travel(settings: Settings, source: Source, display: Display) -> tuple[Outcome, Settings]:
    began = time.monotonic()
    result = Outcome()
    result.events, settings, delivered = _start_and_deliver(settings, source, display)
    with database.connect(settings.database_url, application="billing-demo") as connection:
        before = outcomes.submissions(connection)
        with AirflowApi(settings, user="operator") as airflow:
            with display.stage("Airflow has read the DAGs"):
                airflow.wait_parsed(*DAGS)
            _run(airflow, display, "aggregate_usage", "usage metered, rated and billed", delivered)
            _let_finish(airflow, display, "aggregate_usage", delivered)
            expected = source.expected(datetime.now(UTC))
            _run(airflow, display, "close_billing_periods", "ended periods closed")
            _submit(connection, airflow, settings, display)
            _run(airflow, display, "reconcile_with_stripe", "reconciled with Stripe")
        with display.stage("bills compared with what was expected"):
            result.bills = outcomes.compare_bills(connection, expected)
            result.reconciliation = outcomes.differences(connection)
            after = outcomes.submissions(connection)
    result.submissions = {
        **{name: after[name] - before[name] for name in after},
        **{f"{name}_in_all": count for name, count in after.items()},
    }
    result.addresses = system.addresses(settings)
    result.stages = [*display.stages, ("total", time.monotonic() - began)]
    return result, settings


def _start_and_deliver(settings: Settings, source: Source, display: Display) -> tuple[Delivery, Settings, datetime]:
    """Start the system; usage is sent as soon as it can be, while Airflow is still on its way.

    Whoever interrupts it interrupts the start too, which stops again what it started.
    """
    given_up = threading.Event()
    with ThreadPoolExecutor(max_workers=1) as pool, _giving_up(given_up, display):
        began = time.monotonic()
        starting = pool.submit(system.up, settings, display.say, given_up)
        with display.stage("usage made ready"):
            bar = display.bar("events sent", source.size())
        settings = _wait_for_ingestion(settings, starting)
        with database.connect(settings.database_url, application="billing-demo") as connection:
            with display.stage("catalog applied"):
                # The sample follows the calendar: in another month its prices change at another moment.
                changes = catalog.apply(
                    connection, source.catalog, correction="the sample of another day", made_by="demo"
                )
            display.say(f"The catalog changed {len(changes)} rows." if changes else "The catalog was applied before.")
            with display.stage("usage sent"):
                delivery = source.deliver(settings, connection, lambda count: display.advance(bar, count))
        delivered = datetime.now(UTC)
        report = starting.result()
        if not report.already:
            display.stages.insert(0, ("system started", time.monotonic() - began))
    return delivery, settings_module.load(), delivered


@contextlib.contextmanager
def _giving_up(given_up: threading.Event, display: Display) -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, SystemExit):  # Ctrl-C, or nobody reads our output any more
        given_up.set()
        display.say("Interrupted: giving up the start.")
        raise


def _wait_for_ingestion(settings: Settings, starting: Future[system.Report]) -> Settings:
    """Wait until this installation's own ingestion service can commit, and return the settings that its start made."""
    while True:
        if starting.done():
            starting.result()  # raises what kept it from starting
        current = settings_module.load()
        if starting.done() or (supervisor.running(current, "ingestion") and _is_ready(current.ingestion_url)):
            return current
        time.sleep(0.1)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _submit(connection: psycopg.Connection[DictRow], airflow: AirflowApi, settings: Settings, display: Display) -> None:
    """Submit step by step, as months would have gone by."""
    stripe = StripeTime(settings, connection)
    moments = moments_due(connection) if stripe.movable else []
    if not stripe.movable:
        display.say("Stripe takes usage of the last 35 days only: what is older stays unsent, as reconciliation shows.")
    with stripe.travelling():
        for moment in moments:
            display.say(
                f"Stripe takes usage of the last 35 days only, so the emulator's clock is put to {moment:%Y-%m-%d}."
            )
            stripe.move(moment)
            _run(airflow, display, "submit_usage_to_stripe", f"usage submitted to Stripe by {moment:%Y-%m-%d}")
        if moments:
            display.say("The emulator's clock is put back to real time.")
    if not moments:
        _run(airflow, display, "submit_usage_to_stripe", "usage submitted to Stripe")


def _let_finish(airflow: AirflowApi, display: Display, dag: str, since: datetime) -> None:
    """Wait for the runs that Airflow has begun by itself: while usage is metered, no bill becomes final."""
    while run := airflow.begun_since(dag, since):
        display.say(f"Airflow runs {dag} by its schedule, too: waiting for that.")
        airflow.wait(dag, run)


def _run(airflow: AirflowApi, display: Display, dag: str, done: str, delivered: datetime | None = None) -> None:
    """Trigger a DAG as a user would, show its tasks, and wait for its end."""
    told: dict[str, str] = {}

    def tell(states: dict[str, str]) -> None:
        display.tasks(dag, told, states)
        told.update(states)

    with display.stage(done):
        # At its first start a DAG may begin by itself; what began after all usage had landed does all there is to do.
        run = (delivered and airflow.begun_since(dag, delivered)) or airflow.trigger(dag)
        state = airflow.wait(dag, run, tell)
    if state != "success":
        failed = [task for task, state in told.items() if state == "failed"]
        why = next(filter(None, (airflow.reason(dag, run, task) for task in failed)), None)
        raise BillingError(
            f"The DAG {dag} failed in {', '.join(failed) or 'its start'} (run {run}){': ' + why if why else '.'}",
            "Its log in the Airflow UI says more; then run the demo again, nothing counts twice.",
        )

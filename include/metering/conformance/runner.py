"""Runs cases: all of them land, are metered and rated together, in one dbt run for each phase."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Context, localcontext
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from metering import catalog, closing, database, migrate, runs, statements, transform, withdrawals
from metering.conformance import aggregation, correction, pricing, server
from metering.conformance.cases import Case, NotApplicable
from metering.conformance.outcome import Outcome, Status
from metering.conformance.trial import Reading, Trial
from metering.errors import BillingError
from metering.ingestion.body import MAX_EVENTS, Body
from metering.ingestion.catalog import Catalog as KnownCatalog
from metering.ingestion.landing import Landing
from metering.ingestion.validation import Judge as EventJudge
from metering.settings import Settings

MOST_RUNS = 40
"""How often cases run again in smaller parts, where a run breaks off; those that are left then have failed."""
SQL = statements.beside(__file__, "conformance")
REASON = "a case says so"
MAKERS: dict[str, Callable[[Case, str, datetime], Trial]] = {
    "pricing": pricing.trial,
    "aggregation": aggregation.trial,
    "correction": correction.trial,
}
Say = Callable[[str], None]


@dataclass
class _Running:
    """A case that runs, and what was read of it after each phase."""

    outcome: Outcome
    trial: Trial
    readings: list[Reading] = field(default_factory=list)


def run(
    cases: Sequence[Case], settings: Settings, say: Say = lambda _: None, now: datetime | None = None
) -> list[Outcome]:
    """Run cases in the database of `settings`, which is migrated, has every model deployed and nothing else in it.

    Returns an outcome for each case, in their order. `now` is the moment by which the months of undated cases are
    chosen; it must not lie ahead.
    """
    now = now or datetime.now(UTC)
    outcomes: list[Outcome] = []
    running: list[_Running] = []
    for place, case in enumerate(cases):
        outcome = Outcome(case, Status.FAILED)
        outcomes.append(outcome)
        found = _prepare(case, f"case-{place}", now, outcome)
        if found is not None:
            running.append(_Running(outcome, found))
    phases = max((len(one.trial.phases) for one in running), default=0)
    say(f"{len(running)} of {len(cases)} cases apply; they take {phases} runs of dbt.")
    with database.connect(settings.database_url, application="billing-conformance") as connection:
        for phase in range(phases):
            _apply(connection, running, phase)
            _land(connection, settings, running, phase)
            say(f"Run {phase + 1} of {phases}: usage has landed; it is metered and rated.")
            opened = runs.open_run(connection, "conformance")
            transform.build("tag:usage tag:billing", settings)
            runs.close_run(connection, opened)
            _read(connection, [one for one in running if phase < len(one.trial.phases)])
            if phase + 1 < phases:
                closing.close_periods(connection, timedelta(0))
    with localcontext(Context(prec=100)):
        for one in running:
            _judge(one)
    return outcomes


def _prepare(case: Case, key: str, now: datetime, outcome: Outcome) -> Trial | None:
    """The trial of a case; None where there is none, with the reason in its outcome."""
    if str(case.said.get("portable", True)).lower() == "false":
        outcome.status, outcome.reason = Status.NOT_APPLICABLE, "the case says that it is not portable"
        if case.said.get("note"):
            outcome.reason += f": {case.said['note']}"
        return None
    try:
        with localcontext(Context(prec=100)):
            found = MAKERS[case.kind](case, key, now)
        for phase, said in enumerate(found.phases):
            if said.prices is not None:
                catalog.Catalog.read(_whole(found.catalog_of(phase)))
    except NotApplicable as reason:
        outcome.status, outcome.reason = Status.NOT_APPLICABLE, str(reason)
    except BillingError as error:
        outcome.reason = f"the catalog refuses it: {error.message}"
    except Exception as error:  # whatever a case holds, the others run
        outcome.reason = f"the case can't be read: {type(error).__name__}: {error}"
    else:
        return found
    return None


def _whole(*parts: dict[str, Any]) -> dict[str, list[Any]]:
    """One catalog of several."""
    return {name: [item for part in parts for item in part.get(name, [])] for name in ("meters", "plans", "teams")}


def _apply(connection: psycopg.Connection[DictRow], running: Sequence[_Running], phase: int) -> None:
    """Apply the catalogs of all cases whose prices are new in this phase, as one."""
    changed = [
        one.trial.catalog_of(phase)
        for one in running
        if phase < len(one.trial.phases) and one.trial.phases[phase].prices is not None
    ]
    if changed:
        found = catalog.Catalog.read(_whole(*changed))
        catalog.apply(connection, found, correction=REASON, made_by="conformance")


def _land(connection: psycopg.Connection[DictRow], settings: Settings, running: Sequence[_Running], phase: int) -> None:
    """Land the events of a phase as a request would, and withdraw what no longer counts."""
    events: list[dict[str, Any]] = []
    for one in running:
        if phase >= len(one.trial.phases):
            continue
        said = one.trial.phases[phase]
        if said.withdraw_all and any(earlier.events for earlier in one.trial.phases[:phase]):
            keys = [event["idempotency_key"] for earlier in one.trial.phases[:phase] for event in earlier.events]
            withdrawals.withdraw(connection, withdrawals.Choice(team=one.trial.key, keys=keys), REASON)
        events += [{"team": one.trial.key, **event} for event in said.events]
    landing = Landing.connect(settings.database_url, application="billing-conformance")
    try:
        for start in range(0, len(events), MAX_EVENTS):
            body = Body.parse(msgspec.json.encode(events[start : start + MAX_EVENTS]))
            sorted_events = EventJudge(KnownCatalog.load(connection)).sort_body(body)
            landing.land("conformance", sorted_events.facts, sorted_events.rejects)
    finally:
        landing.close()


def _read(connection: psycopg.Connection[DictRow], running: Sequence[_Running]) -> None:
    """Read what the marts say of each case now."""
    readings = {one.trial.key: Reading() for one in running}
    asked = Jsonb(
        [
            {
                "team": one.trial.key,
                "start": one.trial.about[0].isoformat(),
                "until": one.trial.about[1].isoformat(),
                "unit": one.trial.window,
            }
            for one in running
        ]
    )
    with connection.transaction():
        connection.execute(SQL["plan_for_sets"])
        for name in ("lines", "rated", "tiers", "measured", "windows"):
            for row in database.rows(connection, SQL[name], asked=asked):
                getattr(readings[row.pop("team")], name).append(row)
    for row in database.rows(connection, SQL["quarantined"]):
        if row["team"] in readings:
            readings[row["team"]].quarantined = row["events"]
    for one in running:
        one.readings.append(readings[one.trial.key])


def _judge(one: _Running) -> None:
    outcome = one.outcome
    outcome.not_compared = one.trial.not_compared
    outcome.lines = one.readings[-1].lines
    try:
        outcome.differences = one.trial.judge(one.readings)
    except NotApplicable as reason:
        outcome.status, outcome.reason = Status.NOT_APPLICABLE, str(reason)
        return
    except Exception as error:  # whatever a case expects, the others are judged
        outcome.status = Status.FAILED
        outcome.reason = f"what it expects can't be compared: {type(error).__name__}: {error}"
        return
    outcome.status = Status.FAILED if outcome.differences else Status.PASSED


def run_apart(cases: Sequence[Case], settings: Settings, say: Say = lambda _: None) -> list[Outcome]:
    """Run cases in a database that is made for them, on the server that runs or on one started for them.

    All of them share one. Where the run itself breaks off, each half runs in another, and so on, until the case that
    broke it stands alone: it failed, and the others come out as they are.
    """
    with (
        tempfile.TemporaryDirectory(prefix="billing-conformance-") as folder,
        server.found(settings, Path(folder), say) as url,
    ):
        return in_halves(cases, lambda some: _in_one(some, url, settings, say), say)


def in_halves(
    cases: Sequence[Case],
    run_some: Callable[[Sequence[Case]], list[Outcome]],
    say: Say,
    most_runs: int = MOST_RUNS,
) -> list[Outcome]:
    """Outcomes of all cases by `run_some`, which breaks off because of some of them: those have failed."""
    runs = 0

    def among(some: Sequence[Case]) -> list[Outcome]:
        nonlocal runs
        runs += 1
        try:
            return run_some(some)
        except (BillingError, psycopg.Error) as error:
            message = error.message if isinstance(error, BillingError) else str(error).strip()
            if len(some) == 1 or runs + 2 > most_runs:
                return [Outcome(case, Status.FAILED, f"the run broke off: {message}") for case in some]
            say(f"A run of {len(some)} cases broke off; they run again in halves, to find out because of which.")
            half = len(some) // 2
            return [*among(some[:half]), *among(some[half:])]

    return among(cases)


def _in_one(cases: Sequence[Case], server_url: str, settings: Settings, say: Say) -> list[Outcome]:
    with server.database(server_url, f"conformance_{secrets.token_hex(4)}") as address:
        own = Settings(home=settings.home, values={**settings.values, "DATABASE_URL": address})
        migrate.migrate(address)
        say("A database of its own is being made.")
        transform.deploy(own)
        return run(cases, own, say)

"""What every gate does: ask Great Expectations, record what it found, hold and release teams."""

from __future__ import annotations

import gc
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from time import perf_counter
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import DictRow

from metering import statements
from metering.database import rows
from metering.errors import BillingError

log = logging.getLogger(__name__)

SQL = statements.beside(__file__, "gate")


class GateError(BillingError):
    """A gate found what no team can be held for, or could not look at all; running it again mends nothing."""


class Severity(StrEnum):
    """What a failed check means; Great Expectations knows the same three."""

    CRITICAL = "critical"
    """The team is held: not finalized, not submitted. Without a team, the run stops."""
    WARNING = "warning"
    """Somebody should look; billing goes on."""
    INFO = "info"
    """Worth knowing."""


@dataclass(frozen=True)
class Check:
    """A named statement that returns the rows that should not be there: team_id (null: nobody's), about, found."""

    name: str
    severity: Severity


@dataclass(frozen=True)
class Gate:
    """A batch (the statement `batch`) and the checks made on it, all from one file of named statements."""

    name: str
    statements: dict[str, str]
    checks: tuple[Check, ...]

    def describe(self, check: str) -> str:
        """The sentence with which a check's statement begins: what is wrong where it returns rows."""
        return " ".join(line.removeprefix("--").strip() for line in _split(self.statements[check])[0])

    def query(self, name: str) -> str:
        """A statement without its description: Great Expectations wants it to begin with SELECT."""
        return "\n".join(_split(self.statements[name])[1])


@dataclass
class Finding:
    """What one check found. `offenders`: the sentence about each team concerned; None is nobody's."""

    check: Check
    description: str
    success: bool
    offenders: dict[int | None, str] = field(default_factory=dict)


def pass_through(
    gate: Gate, connection: psycopg.Connection[DictRow], run_id: int, values: dict[str, Any]
) -> dict[str, Any]:
    """Make the checks of a gate for a metering run, hold and release teams, record and tell what was found.

    `values` are bound to the gate's statements. Returns counts of checks, of teams held by them now and released, the
    seconds taken, and the sentences of all that failed. Only news is sent to people: new holds, and warnings that the
    gate before did not have. Raises `GateError`, after everything is recorded, where a critical finding is nobody's.
    """
    begun = perf_counter()
    cursor = psycopg.ClientCursor(connection)
    bound = {name: cursor.mogrify(gate.query(name), values) for name in ("batch", *(c.name for c in gate.checks))}
    successes = _validate(gate, connection, bound)
    findings = [
        Finding(
            check,
            gate.describe(check.name),
            successes[check.name],
            {} if successes[check.name] else _offenders(connection, bound["batch"], bound[check.name]),
        )
        for check in gate.checks
    ]
    seconds = round(perf_counter() - begun, 3)
    news: list[str] = []
    with connection.transaction():
        failing = {row["expectation"] for row in rows(connection, SQL["failing"], gate=gate.name)}
        held, released = 0, 0
        for finding in findings:
            if finding.check.severity is Severity.CRITICAL:
                holds = _hold(connection, gate, finding)
                held += len(holds)
                news += [hold["reason"] for hold in holds if hold["is_new"]]
                released += len(_release(connection, gate, finding, run_id))
            elif (
                not finding.success and finding.check.severity is Severity.WARNING and finding.check.name not in failing
            ):
                news += [f"{finding.description} {sentence}" for sentence in finding.offenders.values()]
            _record(connection, gate, finding, run_id, seconds)
    failed = [finding for finding in findings if not finding.success]
    for finding in failed:
        for sentence in finding.offenders.values():
            log.log(_LEVELS[finding.check.severity], "%s %s", finding.description, sentence)
    if news:
        # The HTTP client is needed only then.
        from metering.alerts import notices

        notices.tell(f"The gate on {gate.name} found something new.", news)
    nobodys = [f.offenders[None] for f in failed if f.check.severity is Severity.CRITICAL and None in f.offenders]
    if nobodys:
        raise GateError(
            f"The gate on {gate.name} found what no team can be held for: {' '.join(nobodys)}",
            "Nothing was billed from it; mend the cause and run again.",
        )
    return {
        "checks": len(findings),
        "failed": {finding.check.name: list(finding.offenders.values()) for finding in failed},
        "held": held,
        "released": released,
        "seconds": seconds,
    }


_LEVELS = {Severity.CRITICAL: logging.ERROR, Severity.WARNING: logging.WARNING, Severity.INFO: logging.INFO}


def _validate(gate: Gate, connection: psycopg.Connection[DictRow], bound: dict[str, str]) -> dict[str, bool]:
    """Ask Great Expectations: check name to success."""
    with _quickly():
        import great_expectations as gx
        from great_expectations.data_context.types.base import ProgressBarsConfig
        from great_expectations.expectations.core.unexpected_rows_expectation import UnexpectedRowsExpectation
        from great_expectations.expectations.metadata_types import FailureSeverity

    # It tells hundreds of times that it looked for a default value.
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    # The batch becomes a temporary table: the raw rows are read once, whatever the number of checks.
    source = context.data_sources.add_postgres(
        "billing", connection_string=_address(connection), create_temp_table=True
    )
    asset = source.add_query_asset(gate.name, query=bound["batch"])
    suite = gx.ExpectationSuite(
        name=gate.name,
        expectations=[
            UnexpectedRowsExpectation(
                unexpected_rows_query=bound[check.name],
                description=gate.describe(check.name),
                severity=FailureSeverity(check.severity.value),
                meta={"check": check.name},
            )
            for check in gate.checks
        ],
    )
    try:
        batch = asset.add_batch_definition_whole_table("all").get_batch()
        outcome = batch.validate(suite, result_format="BOOLEAN_ONLY")
    finally:
        source.get_execution_engine().close()
    successes: dict[str, bool] = {}
    for result in outcome.results:
        check = str(((result.expectation_config and result.expectation_config.meta) or {})["check"])
        # A check that could not be made is reported as one that failed; to us it is neither.
        message = _exception_message(result.exception_info)
        if message:
            raise GateError(
                f"The gate on {gate.name} could not make the check {check}: {message}",
                "Mend the statement, or build the models that it reads.",
            )
        successes[check] = bool(result.success)
    return successes


def _exception_message(info: dict[str, Any] | None) -> str | None:
    for part in (info or {}, *(v for v in (info or {}).values() if isinstance(v, dict))):
        if part.get("raised_exception"):
            return str(part.get("exception_message")).splitlines()[0]
    return None


@contextmanager
def _quickly() -> Iterator[None]:
    """Import without collecting garbage meanwhile: a quarter of the 6 to 8 seconds that Great Expectations takes."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _address(connection: psycopg.Connection[DictRow]) -> str:
    """The same database for SQLAlchemy, by the driver that Great Expectations knows."""
    from sqlalchemy.engine import URL

    info = connection.info
    url = URL.create(
        "postgresql+psycopg2",
        username=info.user,
        password=info.password or None,
        # Great Expectations wants to see a host, even where there is only a socket; the one below counts.
        host="localhost",
        database=info.dbname,
        query={
            "host": info.host,
            "port": str(info.port),
            "application_name": "billing-gate",
            # The views of rating join what no planner can estimate: see the macro plan_for_sets of the dbt project.
            "options": "-c timezone=UTC -c enable_nestloop=off",
        },
    )
    return str(url.render_as_string(hide_password=False))


def _offenders(connection: psycopg.Connection[DictRow], batch: str, check: str) -> dict[int | None, str]:
    """Who a failed check is about: the same statement over the same batch, and a sentence for each team."""
    batch_sql = sql.SQL("({})").format(sql.SQL(batch))
    statement = sql.SQL(SQL["offenders"]).format(check=sql.SQL(check).format(batch=batch_sql))
    with connection.transaction():
        connection.execute(SQL["plan_for_sets"])
        return {row["team_id"]: row["sentence"] for row in connection.execute(statement).fetchall()}


def _hold(connection: psycopg.Connection[DictRow], gate: Gate, finding: Finding) -> list[dict[str, Any]]:
    teams = {team: sentence for team, sentence in finding.offenders.items() if team is not None}
    return rows(
        connection,
        SQL["hold_teams"],
        teams=list(teams),
        reasons=[f"{finding.description} {sentence}" for sentence in teams.values()],
        hold_key=_hold_key(gate, finding.check),
        gate=gate.name,
    )


def _release(
    connection: psycopg.Connection[DictRow], gate: Gate, finding: Finding, run_id: int
) -> list[dict[str, Any]]:
    return rows(
        connection,
        SQL["release_teams"],
        still_held=[team for team in finding.offenders if team is not None],
        hold_key=_hold_key(gate, finding.check),
        released_by=f"gate {gate.name}, run {run_id}",
    )


def _hold_key(gate: Gate, check: Check) -> str:
    return f"{gate.name}:{check.name}"


def _record(connection: psycopg.Connection[DictRow], gate: Gate, finding: Finding, run_id: int, seconds: float) -> None:
    teams = [team for team in finding.offenders if team is not None]
    connection.execute(
        SQL["record_result"],
        {
            "gate": gate.name,
            "run_id": run_id,
            "expectation": finding.check.name,
            "severity": finding.check.severity.value,
            "success": finding.success,
            "observed": json.dumps(
                {"teams": len(teams), "attributed": None not in finding.offenders, "gate_seconds": seconds}
            ),
        },
    )


def _split(statement: str) -> tuple[list[str], list[str]]:
    lines = statement.splitlines()
    first = next((number for number, line in enumerate(lines) if not line.startswith("--")), len(lines))
    return lines[:first], lines[first:]

"""dbt, run in this process: one call builds and tests one part of the models."""

from __future__ import annotations

import logging
import os
import re
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from metering import settings as settings_module
from metering.errors import BillingError
from metering.settings import Settings

log = logging.getLogger(__name__)

_LEFT_LOCKS = "ignore:resource_tracker:UserWarning"


@dataclass
class Summary:
    """What one call of dbt did: a line for each model and test, in the order in which they ended."""

    results: list[dict[str, Any]] = field(default_factory=list)

    @property
    def failed(self) -> list[dict[str, Any]]:
        """The models and tests that did not succeed, but for those skipped because of another."""
        return [result for result in self.results if result["status"] in ("error", "fail", "runtime error")]


def environment(settings: Settings) -> dict[str, str]:
    """The variables that dbt_project/profiles.yml reads, for this process or for the real `dbt` command."""
    url = urlsplit(settings.database_url)
    return {
        "BILLING_DBT_HOST": url.hostname or "127.0.0.1",
        "BILLING_DBT_PORT": str(url.port or 5432),
        "BILLING_DBT_USER": unquote(url.username or "postgres"),
        "BILLING_DBT_PASSWORD": unquote(url.password or ""),
        "BILLING_DBT_DATABASE": url.path.lstrip("/"),
        # As safe as the address asks for; without a word in it, what libpq does by itself.
        "BILLING_DBT_SSLMODE": dict(parse_qsl(url.query)).get("sslmode", "prefer"),
        "BILLING_REPORTING_CURRENCY": settings.reporting_currency,
        "BILLING_MINUTE_DAYS": str(settings.minute_days),
        "DBT_PROFILES_DIR": str(settings.dbt_project),
        "DBT_PROJECT_DIR": str(settings.dbt_project),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }


def build(select: str, settings: Settings | None = None, command: str = "build", **options: str) -> Summary:
    """Build (and test, in the order of dependency) the models of a dbt selection such as `tag:usage`.

    Raises `BillingError` naming each model or test that failed, with its message and the file of its compiled SQL.
    Each selection keeps a target folder of its own, so that runs side by side don't write over one another's artifacts.
    """
    settings = settings or settings_module.load()
    target = settings.home / "dbt" / (re.sub(r"[^a-z0-9_]+", "_", select.lower()).strip("_") or "all")
    target.mkdir(parents=True, exist_ok=True)
    _share_what_was_parsed(target)
    os.environ.update(environment(settings))

    # A task ends without the clean-up that would free dbt's locks, and what watches over them would say so in red.
    if _LEFT_LOCKS not in sys.warnoptions:
        sys.warnoptions.append(_LEFT_LOCKS)

    # Importing dbt takes seconds: only who builds pays for it.
    from dbt.cli.main import dbtRunner

    arguments = [
        command, "--select", *select.split(),
        # Unit tests test the models, not the data: they belong to whoever changes a model.
        *(["--exclude-resource-type", "unit_test"] if command == "build" else []),
        "--target-path", str(target), "--log-path", str(target / "logs"),
        "--log-level", "warn", "--log-level-file", "info", "--no-use-colors", "--no-version-check", "--no-write-json",
    ]  # fmt: skip
    for name, value in options.items():
        arguments += [f"--{name.replace('_', '-')}", value]
    outcome: Any = dbtRunner().invoke(arguments)
    if outcome.exception is not None:
        raise BillingError(f"dbt could not run {select}: {outcome.exception}", "Mend what it names and run again.")
    summary = Summary()
    for result in outcome.result or []:
        entry = {
            "name": result.node.name,
            "kind": str(result.node.resource_type),
            "status": str(result.status),
            "seconds": round(result.execution_time, 3),
            "rows": (result.adapter_response or {}).get("rows_affected"),
            "message": result.message,
            "compiled": str(target / "compiled" / "billing" / result.node.original_file_path),
        }
        summary.results.append(entry)
        log.info("%(kind)s %(name)s: %(status)s in %(seconds)s s", entry)
    if summary.failed:
        first = summary.failed[0]
        names = ", ".join(f"{result['kind']} {result['name']}" for result in summary.failed)
        raise BillingError(
            f"dbt failed at {names}: {str(first['message']).strip()}",
            f"The SQL that was run: {first['compiled']}. Mend the cause and run again; nothing was half-written.",
        )
    if not outcome.success:
        raise BillingError(f"dbt did not succeed with {select}.", f"See {target / 'logs' / 'dbt.log'}.")
    return summary


def _share_what_was_parsed(target: Path) -> None:
    """Give a new target folder what the newest of its siblings has parsed: parsing takes longer than building."""
    parsed = target / "partial_parse.msgpack"
    siblings = list(target.parent.glob(f"*/{parsed.name}"))
    if not parsed.exists() and siblings:
        newest = max(siblings, key=lambda path: path.stat().st_mtime)
        # Under another name first: dbt may be reading or writing beside us.
        temporary = parsed.with_suffix(f".{os.getpid()}")
        shutil.copyfile(newest, temporary)
        temporary.replace(parsed)


def deploy(settings: Settings | None = None) -> Summary:
    """Make every view afresh and every table that is not there yet.

    Belongs to `up`, not to the runs: views that are rebuilt side by side collide.
    """
    return build("*", settings, command="run")

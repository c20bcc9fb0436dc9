"""Puts the commands together, and turns what goes wrong into a sentence.

A command is a module `metering.cli.<name>` with a function `<name>` for Typer to call, `EXAMPLES` for its help, and,
where it needs one, a `CONTEXT` of Typer settings; or with an `app` of its own where it has commands in turn. It imports
nothing heavy before it is called, because `./billing --help` reads all of them.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import traceback
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import typer
from typer.core import TyperGroup

import metering.cli
from metering.cli import __version__
from metering.cli.console import complain
from metering.errors import BillingError

ORDER = (
    *("demo", "up", "down", "status", "init", "prices", "rates", "ingest", "quarantine", "archive", "keys", "stripe"),
    *("bill", "preview", "diff", "explain", "trace", "audit", "credits", "withdraw"),
    *("test", "faults", "bench"),
    *("airflow", "dbt", "psql"),
)
"""The order in which help lists commands; what is not named here comes after."""
HELPERS = ("__main__", "app", "console")
NOT_SET_UP = ("InvalidSchemaName", "UndefinedTable", "UndefinedColumn", "UndefinedFunction")
"""What PostgreSQL's refusals are called where migrations have not been applied."""


class Commands(TyperGroup):
    """Commands that are imported when they are asked for, so that none waits for what another needs."""

    def list_commands(self, ctx: Any) -> list[str]:
        found = {module.name for module in iter_modules(metering.cli.__path__)} - {*HELPERS}
        return [name for name in ORDER if name in found] + sorted(found - {*ORDER})

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"metering.cli.{cmd_name}")
        if hasattr(module, "app"):
            return typer.main.get_command(module.app)
        single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        examples = "\n".join(f"  {example}" for example in module.EXAMPLES)
        single.command(
            cmd_name,
            epilog=f"\b\nExamples:\n{examples}",  # \b: the lines stay as they are
            context_settings=getattr(module, "CONTEXT", None),
        )(getattr(module, cmd_name))
        return typer.main.get_command(single)


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="\b\nExamples:\n  ./billing demo\n  ./billing demo --help",
    context_settings={"max_content_width": 110},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"billing {__version__}")
        raise typer.Exit


@app.callback()
def billing(
    version: bool = typer.Option(False, "--version", help="Print the version.", is_eager=True, callback=_print_version),
) -> None:
    """Usage in, priced bills out, submitted to Stripe and reconciled with it to zero."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exit with 1 after a sentence on what went wrong."""
    try:
        app(args=arguments, prog_name="./billing")
    except BillingError as error:
        complain(error.message, error.remedy)
    except Exception as error:
        if type(error).__name__ in NOT_SET_UP:
            complain(
                f"The database has not been set up for this version: {str(error).splitlines()[0]}.",
                f"Run `./billing up`, then this again. The details are in {_keep()}.",
            )
            sys.exit(1)
        complain(f"Something unexpected went wrong: {type(error).__name__}: {error}", f"The details are in {_keep()}.")
    else:
        return
    sys.exit(1)


def _keep() -> Path:
    """Write the traceback of the current exception to a file of its own kind and return its path."""
    try:
        from metering.settings import load

        folder = load().logs
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "errors.log"
        path.touch(mode=0o600)
        with path.open("a", encoding="utf-8") as file:
            _write_traceback(file)
    except (OSError, BillingError):  # no usable home: then where anybody may write
        descriptor, name = tempfile.mkstemp(prefix="billing-error-", suffix=".log")
        path = Path(name)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            _write_traceback(file)
    return path


def _write_traceback(file: Any) -> None:
    from datetime import UTC, datetime

    file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} billing {' '.join(sys.argv[1:])}\n")
    traceback.print_exc(file=file)
    file.write("\n")

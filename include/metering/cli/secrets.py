"""`./billing secrets`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = ["./billing secrets", "./billing secrets --to /etc/billing/production.env"]


def secrets(
    to: Annotated[
        Path | None, typer.Option("--to", help="The file to write (default: .env beside docker-compose.yaml).")
    ] = None,
) -> None:
    """Write the settings that docker-compose.yaml asks for, its secrets made now.

    The file is .env.example with each secret filled in, readable by you alone. One that is there already is left alone:
    it may hold the only copy of the passwords of what is stored.
    """
    import os

    from metering.cli.console import say
    from metering.errors import BillingError
    from metering.settings import PROJECT_ROOT, SECRETS, SERVER_SECRETS, new_secret

    path = to or PROJECT_ROOT / ".env"
    lines = (PROJECT_ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    wanted = {f"{name}=": name for name in {**SECRETS, **SERVER_SECRETS}}
    filled = [f"{line}{new_secret(wanted[line])}" if line in wanted else line for line in lines]
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write("\n".join(filled) + "\n")
    except FileExistsError as error:
        raise BillingError(
            f"{path} is there already; nothing was changed.", "Edit it, or name another file with --to."
        ) from error
    except OSError as error:
        raise BillingError(
            f"{path} can't be written: {error.strerror}.", "Name a file in a directory of yours with --to."
        ) from error
    say(f"{path} is written. Read it through, then start the servers: docker compose up --build --detach")

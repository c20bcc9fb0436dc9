"""What can be set, where it comes from, and what it is when nobody set it.

A setting comes from the environment, else from `<home>/settings.json` (written by `./billing up`, mode 0600, holding
the ports in use and the generated secrets), else from the default given here. No secret has a default.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import secrets
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from metering.errors import BillingError

PROJECT_ROOT = Path(__file__).resolve().parents[2]
# What one `up` was given and all later calls need: kept until `down`, so that none uses another database.
GIVEN = ("DATABASE_URL", "AIRFLOW_DATABASE_URL", "STRIPE_API_KEY", "BILLING_ALLOW_LIVE_STRIPE")
# Kept beyond `down`, so that everything is found again where it was.
PORTS = ("BILLING_POSTGRES_PORT", "BILLING_AIRFLOW_PORT", "BILLING_INGESTION_PORT", "BILLING_STRIPE_EMULATOR_PORT")


@dataclass(frozen=True)
class Settings:
    """The settings of one installation. All addresses are loopback unless somebody set them otherwise."""

    home: Path
    """Everything this installation writes: databases, logs, secrets, state. Removing it removes the installation."""
    values: dict[str, str]

    def get(self, name: str, default: str | None = None) -> str | None:
        """Return a setting, or `default` where it is absent or empty."""
        return self.values.get(name) or default

    def require(self, name: str, remedy: str) -> str:
        """Return a setting; raise `BillingError` with `remedy` where it is absent."""
        value = self.values.get(name)
        if not value:
            raise BillingError(f"The setting {name} is missing.", remedy)
        return value

    def port(self, name: str, default: int) -> int:
        """Return a TCP port setting; raise `BillingError` where it is no port number."""
        text = self.get(name, str(default)) or ""
        if not text.isdigit() or not 0 < int(text) < 65536:
            raise BillingError(f"{name}={text!r} is not a port number.", "Give a number from 1 to 65535.")
        return int(text)

    @property
    def ports(self) -> dict[str, int]:
        """The ports of everything that `up` may start, by the names of their settings."""
        ports = (self.postgres_port, self.airflow_port, self.ingestion_port, self.stripe_emulator_port)
        return dict(zip(PORTS, ports, strict=True))

    # PostgreSQL -----------------------------------------------------------------------------------------------------

    @property
    def embedded_postgres(self) -> bool:
        """Whether the server is ours to start (no DATABASE_URL was given)."""
        return not self.get("DATABASE_URL")

    @property
    def postgres_port(self) -> int:
        """The embedded server's port."""
        return self.port("BILLING_POSTGRES_PORT", 5499)

    @property
    def database_url(self) -> str:
        """The billing database, as a libpq URL."""
        return self._given_url("DATABASE_URL") or self._embedded_url("billing")

    @property
    def airflow_database_url(self) -> str:
        """Airflow's own metadata, always another database than the billing data's."""
        given = self._given_url("AIRFLOW_DATABASE_URL")
        if given:
            return given
        if self.embedded_postgres:
            return self._embedded_url("airflow")
        parts = urlsplit(self.database_url)
        return urlunsplit(parts._replace(path=parts.path + "_airflow"))

    @property
    def airflow_database_setting(self) -> str:
        """The setting that Airflow's database was named by."""
        return "AIRFLOW_DATABASE_URL" if self.get("AIRFLOW_DATABASE_URL") else "DATABASE_URL"

    def _given_url(self, name: str) -> str | None:
        given = self.get(name)
        if given and not _is_database_url(given):  # not shown: there may be a password in it
            raise BillingError(
                f"{name} is not the address of a PostgreSQL database.",
                "Give one such as postgresql://user:password@host:5432/billing, or unset it to use the one built in.",
            )
        return given

    def _embedded_url(self, database: str) -> str:
        password = self.get("BILLING_POSTGRES_PASSWORD")
        if not password:
            raise BillingError(
                f"There is no database in {self.home} yet: its BILLING_POSTGRES_PASSWORD is missing.",
                "Run `./billing up` once: it makes both.",
            )
        return f"postgresql://postgres:{quote(password)}@127.0.0.1:{self.postgres_port}/{database}"

    # Services -------------------------------------------------------------------------------------------------------

    @property
    def airflow_port(self) -> int:
        """The Airflow UI and API."""
        return self.port("BILLING_AIRFLOW_PORT", 8080)

    @property
    def ingestion_port(self) -> int:
        """The ingestion service."""
        return self.port("BILLING_INGESTION_PORT", 8090)

    @property
    def ingestion_processes(self) -> int:
        """Processes that serve the ingestion service on its one port."""
        text = self.get("BILLING_INGESTION_PROCESSES", "1") or ""
        if not text.isdigit() or not 0 < int(text) <= 64:
            raise BillingError(
                f"BILLING_INGESTION_PROCESSES={text!r} is no number of processes.", "Give a number from 1 to 64."
            )
        return int(text)

    @property
    def ingestion_url(self) -> str:
        """Where product engineers send usage."""
        return self.get("BILLING_INGESTION_URL") or f"http://127.0.0.1:{self.ingestion_port}"

    @property
    def stripe_emulator_port(self) -> int:
        """The local Stripe."""
        return self.port("BILLING_STRIPE_EMULATOR_PORT", 12111)

    @property
    def stripe_emulated(self) -> bool:
        """Whether Stripe is the project's emulator (no STRIPE_API_KEY was given)."""
        return not self.get("STRIPE_API_KEY")

    @property
    def stripe_api_key(self) -> str:
        """The key to use; a live key is refused unless BILLING_ALLOW_LIVE_STRIPE=1 says otherwise."""
        key = self.get("STRIPE_API_KEY") or "sk_test_emulator"
        if not key.startswith(("sk_test_", "rk_test_", "sk_live_", "rk_live_")):
            raise BillingError(
                "STRIPE_API_KEY is not a Stripe secret key.",
                "Set a key that begins with sk_test_ or rk_test_, or unset it to use the local emulator.",
            )
        if "_live_" in key[:8] and self.get("BILLING_ALLOW_LIVE_STRIPE") != "1":
            raise BillingError(
                "STRIPE_API_KEY is a live key, and live keys are refused so that nobody is billed by accident.",
                "Use a test key, or set BILLING_ALLOW_LIVE_STRIPE=1 if real customers are to be billed.",
            )
        return key

    @property
    def stripe_base_url(self) -> str | None:
        """The emulator's address, or None for Stripe's own."""
        if self.stripe_emulated:
            host = self.get("BILLING_STRIPE_EMULATOR_HOST", "127.0.0.1")
            return self.get("BILLING_STRIPE_URL") or f"http://{host}:{self.stripe_emulator_port}"
        return self.get("BILLING_STRIPE_URL")

    # Files ----------------------------------------------------------------------------------------------------------

    @cached_property
    def logs(self) -> Path:
        """One log file a process."""
        return self.home / "logs"

    @cached_property
    def run(self) -> Path:
        """Process records: who runs, since when."""
        return self.home / "run"

    @property
    def archive(self) -> Path:
        """Where archived months are written."""
        given = self.get("BILLING_ARCHIVE")
        return Path(given) if given else self.home / "archive"

    @property
    def archive_after_months(self) -> int:
        """How many whole months ago a month ended that `maintain_partitions` archives; 0: it archives none."""
        text = self.get("BILLING_ARCHIVE_AFTER_MONTHS", "24") or ""
        if not text.isdigit():
            raise BillingError(f"BILLING_ARCHIVE_AFTER_MONTHS={text!r} is not a number of months.", "Give one, or 0.")
        return int(text)

    @property
    def archive_drops(self) -> bool:
        """Whether `maintain_partitions` also drops from the database what it has archived."""
        return self.get("BILLING_ARCHIVE_DROP") == "1"

    @cached_property
    def postgres_data(self) -> Path:
        """The embedded server's data."""
        return self.home / "postgres"

    @cached_property
    def airflow_home(self) -> Path:
        """Airflow's configuration, passwords file and task logs."""
        return self.home / "airflow"

    @property
    def catalog(self) -> Path:
        """The folder (or file) of meters, plans, prices and teams that `./billing prices` reads."""
        given = self.get("BILLING_CATALOG")
        return Path(given) if given else PROJECT_ROOT / "include" / "catalog"

    # Models ---------------------------------------------------------------------------------------------------------

    @property
    def reporting_currency(self) -> str:
        """The currency that reports convert to, as an ISO 4217 code. Bills stay in their own."""
        from metering.catalog.currencies import EXPONENTS

        code = self.get("BILLING_REPORTING_CURRENCY", "EUR") or ""
        if code not in EXPONENTS:
            raise BillingError(
                f"BILLING_REPORTING_CURRENCY={code!r} is no currency that is known here.",
                "Give three capitals, such as USD.",
            )
        return code

    @property
    def minute_days(self) -> int:
        """For how many days back usage can be asked by the minute."""
        text = self.get("BILLING_MINUTE_DAYS", "3") or ""
        if not text.isdigit() or not 0 < int(text) <= 31:
            raise BillingError(f"BILLING_MINUTE_DAYS={text!r} is not a number of days.", "Give one from 1 to 31.")
        return int(text)

    @cached_property
    def dbt_project(self) -> Path:
        """The dbt project in this checkout."""
        return PROJECT_ROOT / "dbt_project"


def load(environment: dict[str, str] | None = None) -> Settings:
    """Read the settings in force: the environment over `<home>/settings.json` over the defaults."""
    environment = dict(os.environ if environment is None else environment)
    home = Path(environment.get("BILLING_HOME") or PROJECT_ROOT / ".billing").resolve()
    return Settings(home=home, values={**_read(home / "settings.json"), **environment})


def stored(settings: Settings) -> dict[str, str]:
    """What `<home>/settings.json` holds."""
    return _read(settings.home / "settings.json")


def remember(settings: Settings, **values: str) -> Settings:
    """Store settings in `<home>/settings.json` (mode 0600) and return the settings then in force."""
    kept = {**stored(settings), **values}
    _write(settings.home / "settings.json", kept)
    return Settings(home=settings.home, values={**kept, **settings.values, **values})


def restore(settings: Settings, before: dict[str, str], *names: str) -> None:
    """Put settings in `<home>/settings.json` back to what they were; those that were not there are removed."""
    others = {name: value for name, value in stored(settings).items() if name not in names}
    _write(settings.home / "settings.json", others | {name: before[name] for name in names if name in before})


def forget(settings: Settings, *names: str) -> None:
    """Remove settings from `<home>/settings.json`; those that are not there are passed over."""
    kept = stored(settings)
    if not kept.keys().isdisjoint(names):
        _write(settings.home / "settings.json", {k: v for k, v in kept.items() if k not in names})


# The secrets that are generated, and how many random bytes each has.
SECRETS = {
    "BILLING_POSTGRES_PASSWORD": 24,
    "BILLING_AIRFLOW_JWT_SECRET": 64,
    "BILLING_AIRFLOW_SECRET_KEY": 24,
    "BILLING_AIRFLOW_FERNET_KEY": 32,  # exactly: it is a key of that size in URL-safe base64
    "BILLING_AIRFLOW_ADMIN_PASSWORD": 12,  # these three are typed by people
    "BILLING_AIRFLOW_OPERATOR_PASSWORD": 12,
    "BILLING_AIRFLOW_VIEWER_PASSWORD": 12,
}
# Those that only docker-compose.yaml needs.
SERVER_SECRETS = {"BILLING_REDIS_PASSWORD": 24}


def new_secret(name: str) -> str:
    """Make a secret of the size that its name asks for: URL-safe base64, so that it needs no quoting anywhere."""
    return base64.urlsafe_b64encode(secrets.token_bytes({**SECRETS, **SERVER_SECRETS}[name])).decode()


def generate_secrets(settings: Settings) -> Settings:
    """Make the secrets that this installation needs and does not have yet; they are never shown in logs."""
    missing = {name: new_secret(name) for name in SECRETS if not settings.get(name)}
    return remember(settings, **missing) if missing else settings


def _is_database_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises where it is none
    except ValueError:
        return False
    return parts.scheme in ("postgresql", "postgres") and len(parts.path) > 1


def _write(path: Path, values: dict[str, str]) -> None:
    temporary = path.with_suffix(".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(values, file, indent=1, sort_keys=True)
        temporary.replace(path)
    except OSError as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: OSError) -> BillingError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return BillingError(f"The disk that holds {path.parent} is full.", "Free some space; what is stored is intact.")
    return BillingError(
        f"{path} can't be used: {error.strerror or error}.",
        "Set BILLING_HOME to a directory that this user may write to.",
    )


def _read(path: Path) -> dict[str, str]:
    try:
        return {str(k): str(v) for k, v in json.loads(path.read_text(encoding="utf-8")).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError) as error:
        raise BillingError(
            f"{path} is not readable as JSON.", "Mend it: it holds the passwords of what is stored beside it."
        ) from error
    except OSError as error:
        raise _unusable(path, error) from error

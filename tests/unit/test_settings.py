"""Settings: the environment over what is stored over the defaults; secrets are made once and kept private."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest

from metering import settings
from metering.errors import BillingError


def load(home: Path, **environment: str) -> settings.Settings:
    return settings.load({"BILLING_HOME": str(home), **environment})


def test_the_environment_wins_over_what_is_stored_and_that_over_defaults(tmp_path: Path) -> None:
    assert load(tmp_path).airflow_port == 8080
    settings.remember(load(tmp_path), BILLING_AIRFLOW_PORT="9001")
    assert load(tmp_path).airflow_port == 9001
    assert load(tmp_path, BILLING_AIRFLOW_PORT="9002").airflow_port == 9002
    settings.forget(load(tmp_path), "BILLING_AIRFLOW_PORT", "NEVER_STORED")
    assert load(tmp_path).airflow_port == 8080


def test_secrets_are_generated_once_and_readable_by_the_owner_alone(tmp_path: Path) -> None:
    first = settings.generate_secrets(load(tmp_path))
    again = settings.generate_secrets(load(tmp_path))
    made = {name: first.require(name, "") for name in settings.SECRETS}
    assert made == {name: again.require(name, "") for name in settings.SECRETS}
    assert len(set(made.values())) == len(made)
    assert len(base64.urlsafe_b64decode(made["BILLING_AIRFLOW_FERNET_KEY"])) == 32
    assert stat.S_IMODE((tmp_path / "settings.json").stat().st_mode) == 0o600


def test_a_secret_that_was_given_is_not_replaced(tmp_path: Path) -> None:
    made = settings.generate_secrets(load(tmp_path, BILLING_AIRFLOW_ADMIN_PASSWORD="mine"))
    assert made.require("BILLING_AIRFLOW_ADMIN_PASSWORD", "") == "mine"
    assert "BILLING_AIRFLOW_ADMIN_PASSWORD" not in settings.stored(made)


def test_no_secret_has_a_default(tmp_path: Path) -> None:
    with pytest.raises(BillingError, match=r"BILLING_POSTGRES_PASSWORD is missing.*billing up"):
        _ = load(tmp_path).database_url


def test_the_two_databases_are_separate(tmp_path: Path) -> None:
    embedded = load(tmp_path, BILLING_POSTGRES_PASSWORD="a/b")
    assert embedded.embedded_postgres
    assert embedded.database_url.endswith("@127.0.0.1:5499/billing")
    assert embedded.airflow_database_url.endswith("@127.0.0.1:5499/airflow")
    given = load(tmp_path, DATABASE_URL="postgresql://me:secret@db:5432/usage?sslmode=require")
    assert not given.embedded_postgres
    assert given.airflow_database_url == "postgresql://me:secret@db:5432/usage_airflow?sslmode=require"
    own = load(tmp_path, DATABASE_URL="postgresql://db/usage", AIRFLOW_DATABASE_URL="postgresql://other/meta")
    assert own.airflow_database_url == "postgresql://other/meta"


@pytest.mark.parametrize("text", ["", "0", "65536", "http", "-1", "80.5"])
def test_a_wrong_port_is_named(tmp_path: Path, text: str) -> None:
    if text == "":
        assert load(tmp_path, BILLING_AIRFLOW_PORT=text).airflow_port == 8080
        return
    with pytest.raises(BillingError, match="BILLING_AIRFLOW_PORT"):
        _ = load(tmp_path, BILLING_AIRFLOW_PORT=text).airflow_port


def test_stripe_keys(tmp_path: Path) -> None:
    emulated = load(tmp_path)
    assert emulated.stripe_emulated
    assert emulated.stripe_base_url == "http://127.0.0.1:12111"
    real = load(tmp_path, STRIPE_API_KEY="sk_test_123")
    assert (real.stripe_emulated, real.stripe_api_key, real.stripe_base_url) == (False, "sk_test_123", None)
    with pytest.raises(BillingError, match="not a Stripe secret key"):
        _ = load(tmp_path, STRIPE_API_KEY="pk_test_123").stripe_api_key
    with pytest.raises(BillingError, match="live key"):
        _ = load(tmp_path, STRIPE_API_KEY="sk_live_123").stripe_api_key
    assert load(tmp_path, STRIPE_API_KEY="sk_live_1", BILLING_ALLOW_LIVE_STRIPE="1").stripe_api_key == "sk_live_1"


def test_unreadable_and_unusable_homes_are_sentences(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text("{half", encoding="utf-8")
    with pytest.raises(BillingError, match=r"not readable as JSON"):
        load(tmp_path)
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(BillingError, match="BILLING_HOME"):
        settings.remember(settings.Settings(tmp_path / "file" / "home", {}), A="b")


def test_what_is_no_database_address_is_named_and_not_shown(tmp_path: Path) -> None:
    for text in ("foo", "mysql://me:secret@db/usage", "postgresql://me:secret@db:port/usage", "postgresql://db"):
        with pytest.raises(BillingError, match="DATABASE_URL is not the address of a PostgreSQL database") as refused:
            _ = load(tmp_path, DATABASE_URL=text).database_url
        assert "secret" not in str(refused.value)
    with pytest.raises(BillingError, match="AIRFLOW_DATABASE_URL is not"):
        _ = load(tmp_path, DATABASE_URL="postgresql://db/usage", AIRFLOW_DATABASE_URL="foo").airflow_database_url


def test_settings_are_put_back_to_what_they_were(tmp_path: Path) -> None:
    settings.remember(load(tmp_path), DATABASE_URL="old", OTHER="1")
    before = settings.stored(load(tmp_path))
    settings.remember(load(tmp_path), DATABASE_URL="new", STRIPE_API_KEY="new", OTHER="2")
    settings.restore(load(tmp_path), before, *settings.GIVEN)
    assert settings.stored(load(tmp_path)) == {"DATABASE_URL": "old", "OTHER": "2"}

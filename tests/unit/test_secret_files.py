"""Secrets from files and from key providers: one value, one source, and no secret in an error."""

from __future__ import annotations

import base64
import os
from importlib.metadata import EntryPoint

import pytest

from superimap.core import key_providers
from superimap.core.crypto import Vault
from superimap.core.environment import SettingsError, load_settings, secret_fields, variable_name
from superimap.core.key_providers import KeyProviderError
from tests.unit.test_settings import KEY, environment  # noqa: F401 - a fixture

SECRETS = {
    "DATABASE_URL": "postgresql://ann:hush@db/superimap",
    "DATABASE_SESSION_URL": "postgresql://ann:hush@primary/superimap",
    "DATABASE_READ_URL": "postgresql://ann:hush@standby/superimap",
    "DASHBOARD_DATABASE_URL": "postgresql://ann:hush@primary/superimap",
    "REDIS_URL": "rediss://:hush@redis:6380/0",
    "ENCRYPTION_KEY": KEY,
    "OPERATOR_KEY": "hush" * 8,
    "OIDC_CLIENT_SECRET": "hush" * 4,
    "TRACES_HEADERS": "authorization=hush",
}


@pytest.fixture
def clean(environment, monkeypatch):  # noqa: F811
    for name in SECRETS:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"{name}_FILE", raising=False)
    return monkeypatch


def refusal() -> str:
    with pytest.raises(SettingsError) as raised:
        load_settings()
    text = str(raised.value)
    assert "hush" not in text
    assert KEY not in text
    return text


def test_every_secret_setting_can_come_from_a_file(clean, tmp_path):
    assert {variable_name(field) for field in secret_fields()} == SECRETS.keys()
    for name, value in SECRETS.items():
        (tmp_path / name).write_text(value + "\n")
        clean.setenv(f"{name}_FILE", str(tmp_path / name))

    settings = load_settings()

    assert settings.database_url == SECRETS["DATABASE_URL"]
    assert settings.session_url == SECRETS["DATABASE_SESSION_URL"]
    assert settings.dashboard_database_url == SECRETS["DASHBOARD_DATABASE_URL"]
    assert settings.redis_url == SECRETS["REDIS_URL"]
    assert settings.encryption_key.get_secret_value() == KEY
    assert settings.oidc_client_secret
    assert settings.oidc_client_secret.get_secret_value() == SECRETS["OIDC_CLIENT_SECRET"]
    assert settings.operator_key
    assert settings.operator_key.get_secret_value() == SECRETS["OPERATOR_KEY"]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "names an empty file"),
        (b"\n\n", "names an empty file"),
        (b"\xff\xfehush", "is not UTF-8"),
        (f"{KEY}\nhush".encode(), "more than one line"),
        (b"hush\0", "control characters"),
        (b"x" * 65_537, "more than 65536 bytes"),
    ],
)
def test_a_file_with_wrong_content_is_named_by_its_variable(environment, tmp_path, content, what):  # noqa: F811
    (tmp_path / "key").write_bytes(content)
    environment.delenv("ENCRYPTION_KEY")
    environment.setenv("ENCRYPTION_KEY_FILE", str(tmp_path / "key"))

    assert refusal().startswith("ENCRYPTION_KEY_FILE names a")
    assert what in refusal()


@pytest.mark.parametrize("content", [f"{KEY}", f"{KEY}\n", f"{KEY}\r\n", f"\ufeff{KEY}\n"])
def test_line_ends_and_a_byte_order_mark_are_not_part_of_the_secret(environment, tmp_path, content):  # noqa: F811
    (tmp_path / "key").write_bytes(content.encode())
    environment.delenv("ENCRYPTION_KEY")
    environment.setenv("ENCRYPTION_KEY_FILE", str(tmp_path / "key"))

    assert load_settings().encryption_key.get_secret_value() == KEY


@pytest.mark.parametrize("path", ["/missing/key", "/tmp", "x" * 5000])
def test_a_file_that_cannot_be_read_is_an_error_without_its_path(environment, path):  # noqa: F811
    environment.delenv("ENCRYPTION_KEY")
    environment.setenv("ENCRYPTION_KEY_FILE", path)

    text = refusal()

    assert text.startswith("ENCRYPTION_KEY_FILE names a file that cannot be read (")
    assert path not in text


def test_a_secret_written_into_the_variable_of_the_file_is_not_shown(environment):  # noqa: F811
    environment.delenv("ENCRYPTION_KEY")
    environment.setenv("ENCRYPTION_KEY_FILE", KEY)

    assert "cannot be read" in refusal()


def test_a_secret_with_two_sources_is_refused_and_an_empty_variable_is_none(environment, tmp_path):  # noqa: F811
    (tmp_path / "key").write_text(KEY)
    environment.setenv("ENCRYPTION_KEY_FILE", str(tmp_path / "key"))

    assert refusal() == "ENCRYPTION_KEY and ENCRYPTION_KEY_FILE are both set; remove one of them."

    environment.setenv("ENCRYPTION_KEY", "")
    assert load_settings().encryption_key.get_secret_value() == KEY


def test_an_invalid_value_from_a_file_is_reported_without_it(environment, tmp_path):  # noqa: F811
    (tmp_path / "url").write_text("mysql://ann:hush@db/x")
    environment.delenv("DATABASE_URL")
    environment.setenv("DATABASE_URL_FILE", str(tmp_path / "url"))

    assert "must be a PostgreSQL URL" in refusal()


class Kms:
    """A provider that unwraps a key, as one for a KMS does."""

    def read_keys(self, environment):  # noqa: F811
        wrapped = environment.get("KMS_WRAPPED_KEY")
        if not wrapped:
            raise KeyProviderError("KMS_WRAPPED_KEY is not set.")
        if wrapped == "broken":
            raise RuntimeError(f"the key is {KEY}")
        return [bytes(byte ^ 1 for byte in base64.b64decode(wrapped))]


class Unusable:
    def __init__(self):
        raise OSError("hush")


@pytest.fixture
def kms(environment, monkeypatch):  # noqa: F811
    points = [
        EntryPoint("kms", f"{__name__}:Kms", key_providers.ENTRY_POINT_GROUP),
        EntryPoint("unusable", f"{__name__}:Unusable", key_providers.ENTRY_POINT_GROUP),
    ]
    monkeypatch.setattr(key_providers, "entry_points", lambda *, group: points)
    environment.delenv("ENCRYPTION_KEY")
    environment.setenv("KEY_PROVIDER", "kms")
    return environment


def test_an_installed_provider_gives_the_keys(kms):
    key = os.urandom(32)
    kms.setenv("KMS_WRAPPED_KEY", base64.b64encode(bytes(byte ^ 1 for byte in key)).decode())

    settings = load_settings()

    assert Vault.from_setting(settings.encryption_key.get_secret_value()).primary == Vault([key]).primary


@pytest.mark.parametrize(
    ("name", "wrapped", "what"),
    [
        ("kms", "", "KEY_PROVIDER kms has no keys: KMS_WRAPPED_KEY is not set."),
        ("kms", "broken", "KEY_PROVIDER kms failed with RuntimeError."),
        ("kms", "c2hvcnQ=", "ENCRYPTION_KEY must be base64 of exactly 32 bytes"),
        ("unusable", "", "KEY_PROVIDER unusable cannot be loaded (OSError)"),
        ("other", "", "it must be one of environment, file, kms, unusable."),
        ("file", "", "ENCRYPTION_KEY_FILE is not set, and KEY_PROVIDER is file."),
    ],
)
def test_a_provider_without_keys_is_one_clear_line(kms, name, wrapped, what):
    kms.setenv("KEY_PROVIDER", name)
    kms.setenv("KMS_WRAPPED_KEY", wrapped)

    text = refusal()

    assert what in text
    assert len(text.splitlines()) == 1


def test_a_key_beside_a_provider_is_refused(kms):
    kms.setenv("ENCRYPTION_KEY", KEY)

    assert refusal() == "ENCRYPTION_KEY and KEY_PROVIDER are both set; remove one of them."

"""Settings: each invalid setting is one line with the variable, the problem and the remedy, without secrets."""

from __future__ import annotations

import base64
import ipaddress

import pytest

from superimap.core.config import Settings
from superimap.core.environment import SettingsError, effective_values, load_settings, variable_names
from superimap.core.setting_types import mask_password

KEY = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
def environment(monkeypatch):
    """An environment with the required settings and no others."""
    for field in Settings.model_fields:
        for name in variable_names(field):
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABASE_URL", "postgresql://ann:hush@db/superimap")
    monkeypatch.setenv("ENCRYPTION_KEY", KEY)
    return monkeypatch


def test_two_variables_are_sufficient(environment):
    settings = load_settings()

    assert (settings.environment, settings.port, settings.max_sessions) == ("production", 8000, 10_000)


def test_a_blank_variable_counts_as_not_set(environment):
    environment.setenv("PORT", "")
    environment.setenv("ENCRYPTION_KEY", "")

    with pytest.raises(SettingsError, match="ENCRYPTION_KEY is not set") as raised:
        load_settings()

    assert "PORT" not in str(raised.value)


WRONG = [
    ("ENVIRONMENT", "staging", "must be 'production' or 'development'"),
    ("DATABASE_URL", "mysql://ann:hush@db/x", "such as postgresql://"),
    ("REDIS_URL", "http://:hush@redis", "such as redis://"),
    ("REDIS_URL", "redis://:pass:hush@redis:hush", "host or port"),
    ("REDIS_URL", "redis://[::1:hush/0", "host or port"),
    ("IMAP_PORTS", "1993,imap", "contains 'imap', which is not a port"),
    ("ENCRYPTION_KEY", "hush", "superimap generate-key"),
    ("ENCRYPTION_KEY", f"{KEY},hush!", "is not base64"),
    ("PORT", "eighty", "must be a whole number"),
    ("PORT", "65536", "less than or equal to 65535"),
    ("BASE_URL", "superimap.example.com", "must start with https://"),
    ("BASE_URL", "https://", "must name a host"),
    ("BASE_URL", "https://ann:hush@superimap.example.com", "must name a host"),
    ("BASE_URL", "https://superimap.example.com/mail?x=1", "has a path with other characters"),
    ("BASE_URL", "https://superimap.example.com/mail//imap", "has a path with other characters"),
    ("BASE_URL", "https://superimap.example.com/../mail", "has a path with other characters"),
    ("TRUSTED_PROXIES", "10.0.0.0/8,next-door", "'next-door', which is not a network"),
    ("EGRESS_ALLOW", "10.0.0.0/40", "such as 10.0.0.0/8"),
    ("LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
    ("DATABASE_POOL_SIZE", "1", "greater than or equal to 2"),
    ("MAX_SESSIONS", "0", "greater than or equal to 1"),
    ("MAX_USER_THREADS", "0", "greater than or equal to 1"),
    ("IDLE_RENEW", "541", "less than or equal to 540"),
    ("STALLED_AFTER", "300", "greater than or equal to 660"),
    ("HEARTBEAT_EXPIRY", "15", "at least twice HEARTBEAT_INTERVAL"),
    ("WEBHOOK_TIMEOUT", "soon", "must be a number"),
]


@pytest.mark.parametrize(("name", "value", "remedy"), WRONG)
def test_an_invalid_value_is_one_line_that_starts_with_its_variable(environment, name, value, remedy):
    environment.setenv(name, value)

    with pytest.raises(SettingsError) as raised:
        load_settings()

    (line,) = str(raised.value).splitlines()
    assert line.startswith(f"{name} ")
    assert remedy in line
    assert "hush" not in line
    assert KEY not in line


def test_all_invalid_settings_are_reported_at_once(environment):
    environment.setenv("PORT", "eighty")
    environment.delenv("DATABASE_URL")

    with pytest.raises(SettingsError) as raised:
        load_settings()

    assert [line.split()[0] for line in str(raised.value).splitlines()] == ["DATABASE_URL", "PORT"]


def test_the_original_name_of_max_sessions_still_works(environment):
    environment.setenv("MAX_USER_THREADS", "500")
    assert load_settings().max_sessions == 500

    environment.setenv("MAX_SESSIONS", "600")
    assert load_settings().max_sessions == 600


def test_overrides_take_precedence(environment):
    environment.setenv("PORT", "8001")

    assert load_settings({"port": 9000, "max_sessions": 3}).port == 9000


def test_urls_and_networks_are_normalised(environment):
    environment.setenv("DATABASE_URL", "postgres://db/superimap")
    environment.setenv("BASE_URL", "https://superimap.example.com/")
    environment.setenv("EGRESS_ALLOW", "10.0.0.1/8, fd00::/8,")

    settings = load_settings()

    assert settings.database_url == "postgresql://db/superimap"
    assert settings.base_url == "https://superimap.example.com"
    assert settings.egress_allow == (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))


def test_loopback_is_allowed_only_in_development(environment):
    loopback = ipaddress.ip_network("127.0.0.0/8")
    assert loopback not in load_settings().allowed_networks

    environment.setenv("ENVIRONMENT", "development")
    assert loopback in load_settings().allowed_networks


def test_settings_cannot_be_changed(environment):
    with pytest.raises(ValueError, match="frozen"):
        load_settings().port = 1


def test_every_setting_has_a_description(environment):
    assert all(field.description for field in Settings.model_fields.values())


def test_values_in_effect_are_shown_without_secrets(environment):
    environment.setenv("REDIS_URL", "unix:///run/redis.sock?password=hush&db=1")
    settings = load_settings()

    shown = effective_values(settings)

    assert len(shown) == len(Settings.model_fields)
    assert shown["DATABASE_URL"] == "postgresql://ann:***@db/superimap"
    assert shown["REDIS_URL"] == "unix:///run/redis.sock?password=***&db=1"
    assert shown["BASE_URL"] == ""
    assert shown["TRUSTED_PROXIES"] == ""
    assert "hush" not in repr(shown) + repr(settings)
    assert KEY not in repr(shown) + repr(settings)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("", ""),
        ("postgresql:///superimap?host=/tmp/pg", "postgresql:///superimap?host=/tmp/pg"),
        ("postgresql://ann@db/x", "postgresql://ann@db/x"),
        ("postgresql://ann:hush@one,two:5433/x", "postgresql://ann:***@one,two:5433/x"),
        ("postgresql://ann:hu/s@h?#@db/x", "postgresql://ann:***@db/x"),
        ("redis://:hush@redis:6379/0", "redis://:***@redis:6379/0"),
        ("postgresql://db/x?user=a&password=hush", "postgresql://db/x?user=a&password=***"),
        ("postgresql://db/x?sslpassword=hush", "postgresql://db/x?sslpassword=***"),
    ],
)
def test_passwords_are_masked_in_every_position(url, shown):
    assert mask_password(url) == shown

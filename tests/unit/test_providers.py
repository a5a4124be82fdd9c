"""Provider presets: secure, unique, and complete for OAuth 2.0."""

from __future__ import annotations

import dataclasses

import pytest

from superimap.db.accounts.validation.providers import validate_provider
from superimap.db.models import Provider
from superimap.domain.presets import PLAIN, PLAIN_IN_DEVELOPMENT, presets
from superimap.domain.providers import APP_ONLY_GRANTS, Preset
from superimap.oauth.token_endpoint import token_url
from superimap.webhooks.urls import check_url

ALL = presets()


@pytest.mark.parametrize("preset", ALL, ids=lambda preset: preset.code)
def test_a_preset_is_secure_and_complete(preset):
    assert (preset.imap_port, preset.imap_tls) == (993, "tls")
    assert preset.code == preset.code.upper()
    assert preset.kind == ("OAUTH2" if preset.code.endswith(("_OAUTH2", "_APP_ONLY")) else "PLAIN")
    if preset.kind == "OAUTH2":
        assert preset.oauth2_scope
        is_app_only = preset.oauth2_grant_type in APP_ONLY_GRANTS
        assert is_app_only == (preset.oauth2_authorize_url is None)
        check_url(token_url(preset.oauth2_token_url, "a-tenant"), field="url", https_only=True)
        if preset.oauth2_authorize_url:
            check_url(preset.oauth2_authorize_url, field="url", https_only=True)


def test_codes_are_unique_and_include_those_of_the_original():
    codes = [preset.code for preset in ALL]

    assert len(set(codes)) == len(codes)
    assert {"GMAIL_OAUTH2", "PLAIN"} <= set(codes)


def test_plain_has_no_server_in_production_and_this_machine_in_development():
    assert PLAIN in ALL
    assert PLAIN.imap_host.endswith(".invalid")
    assert PLAIN_IN_DEVELOPMENT in presets(development=True)
    assert PLAIN not in presets(development=True)


def test_every_field_of_a_preset_is_a_column():
    fields = {field.name for field in dataclasses.fields(Preset)} - {"app_password_hint"}

    assert fields <= set(Provider.__table__.c.keys())
    assert set(ALL[0].as_row()) == fields | {"kind"}


@pytest.mark.parametrize("preset", ALL, ids=lambda preset: preset.code)
def test_the_watch_settings_of_a_preset_are_valid_for_the_api(preset):
    values = {
        name: getattr(preset, name)
        for name in ("idle_renew", "poll_by", "poll_seconds", "logins_per_second", "connections_per_account")
    }

    assert validate_provider(values) == values
    assert preset.folders is None or preset.folders.startswith("\\")


def test_known_differences_between_providers_are_set():
    known = {preset.code: preset for preset in ALL}

    assert len(known) >= 10
    assert known["GMAIL"].folders == known["GMAIL_OAUTH2"].folders == "\\All"
    assert known["NETEASE_163"].poll_by == "status"
    for code, seconds in (("YAHOO", 180), ("YAHOO_OAUTH2", 180), ("AOL", 180), ("RAMBLER", 55)):
        assert known[code].idle_renew < seconds
    assert known["PLAIN"].idle_renew is None

"""The commands for partners, providers, connections and users; errors are one line."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from rich.cells import cell_len


@pytest.fixture
def installed(superimap):
    """An installation with providers and the partner acme."""
    superimap("migrate")
    superimap("partners", "create", "acme")


def test_a_partner_is_created_with_its_secrets_shown_once(superimap, ask):
    created = ask("partners", "create", "acme", "--new-mail-webhook", "http://localhost:9/mail")

    assert created["api_key"].startswith("sip_")
    assert created["signing_secret"].startswith("whsec_")
    for words in (("show", "acme"), ("keys", "acme"), ("list",)):
        for form in ((), ("--json",)):
            said = superimap("partners", *words, *form).output
            assert created["api_key"] not in said
            assert created["signing_secret"] not in said


def test_create_prints_that_the_secrets_are_not_shown_again(superimap):
    said = superimap("partners", "create", "acme").stdout

    assert "not shown again" in said
    assert any(line.split(": ")[1].startswith("sip_") for line in said.splitlines() if "API key" in line)


def test_a_partner_is_found_by_name_in_any_case_and_by_id(ask):
    created = ask("partners", "create", "Acme")

    assert ask("partners", "show", "acme")["id"] == created["id"]
    assert ask("partners", "show", str(created["id"]))["name"] == "Acme"


def test_a_partner_is_updated_and_an_empty_value_clears(ask):
    ask("partners", "create", "acme", "--success-url", "https://a.example/ok")

    changed = ask(
        "partners", "update", "acme", "--name", "acme-2", "--success-url", "",
        "--return-origin", "https://APP.example.com:443/", "--user-connected-webhook", "https://a.example/c",
        "--events-webhook", "https://a.example/e",
    )  # fmt: skip

    assert changed["name"] == "acme-2"
    assert changed["success_url"] is None
    assert changed["return_origins"] == ["https://app.example.com"]
    assert changed["user_connected_webhook"] == "https://a.example/c"
    assert changed["events_webhook"] == "https://a.example/e"
    assert ask("partners", "update", "acme-2", "--no-return-origins")["return_origins"] == []


def test_a_wrong_url_is_refused_with_the_name_of_its_field(superimap):
    result = superimap("partners", "create", "acme", "--new-mail-webhook", "ftp://a.example/", code=1)

    assert result.stderr.startswith("error: new_mail_webhook must begin with https://")


def test_plain_http_is_refused_in_production(superimap, environment):
    environment.setenv("ENVIRONMENT", "production")

    result = superimap("partners", "create", "acme", "--new-mail-webhook", "http://a.example/", code=1)

    assert "plain http:// is for ENVIRONMENT=development" in result.stderr


def test_an_unknown_partner_is_one_line_that_names_the_list_command(superimap):
    result = superimap("partners", "show", "nobody", code=1)

    assert result.stderr == "error: There is no partner 'nobody'; `superimap partners list` shows them.\n"


def test_deleting_needs_a_confirmation(superimap, installed):
    refused = superimap("partners", "delete", "acme", code=1)
    superimap("partners", "delete", "acme", "--yes")

    assert "--yes" in refused.stderr
    assert "no partner yet" in superimap("partners", "list").stdout


def test_keys_are_rotated_and_retired(superimap, ask, installed):
    old = ask("partners", "keys", "acme")[0]["id"]

    rotated = ask("partners", "rotate-key", "acme", "--overlap", "7d")
    rows = [row for row in ask("partners", "keys", "acme") if row["kind"] == "api_key"]

    assert [row["state"] for row in rows] == ["valid", "valid"]
    assert rows[0]["expires_at"] is not None
    assert rows[1]["begins"] == rotated["api_key"][:8]
    superimap("partners", "retire-key", "acme", str(old))
    assert [row["state"] for row in ask("partners", "keys", "acme")][:2] == ["expired", "valid"]
    refused = superimap("partners", "retire-key", "acme", str(rows[1]["id"]), code=1)
    assert "rotate it first" in refused.stderr


def test_an_invalid_span_of_time_is_a_usage_error(superimap, installed):
    superimap("partners", "rotate-secret", "acme", "--overlap", "soon", code=2)


def test_presets_are_installed_once_and_changes_by_operators_are_kept(ask):
    first = ask("migrate")["installed_providers"]
    ask("providers", "update", "gmail", "--title", "Ours")

    second = ask("migrate")["installed_providers"]

    assert {"GMAIL_OAUTH2", "OUTLOOK_OAUTH2", "PLAIN"} <= set(first)
    assert second == []
    assert ask("providers", "show", "GMAIL")["title"] == "Ours"


def test_a_provider_is_created_and_refused_while_incomplete(superimap, ask):
    created = ask("providers", "create", "acme_mail", "--imap-host", "imap.acme.example")
    refused = superimap(
        "providers", "create", "acme_oauth2", "--imap-host", "imap.acme.example", "--kind", "OAUTH2", code=1
    )

    assert (created["code"], created["kind"], created["imap_port"]) == ("ACME_MAIL", "PLAIN", 993)
    assert "oauth2_authorize_url is missing" in refused.stderr


def test_a_provider_in_use_is_not_deleted(superimap, installed):
    superimap("connections", "create", "acme", "plain")

    refused = superimap("providers", "delete", "PLAIN", "--yes", code=1)
    superimap("providers", "delete", "YAHOO", "--yes")

    assert "used by 1 connection(s); delete those first" in refused.stderr


def test_a_client_secret_comes_from_standard_input_and_is_never_shown(superimap, ask, installed):
    words = ("connections", "create", "acme", "GMAIL_OAUTH2", "--oauth2-client-id", "c")
    created = ask(*words, "--secret-stdin", stdin="hush-hush\n")

    assert created["has_oauth2_client_secret"] is True
    assert "hush-hush" not in superimap("connections", "show", "acme", "gmail_oauth2").output
    gmail = {
        "imap_provider_code": "GMAIL_OAUTH2",
        "users_count": 0,
        "history_days": None,
        "folders": None,
        "change_events": None,
    }
    assert ask("connections", "list", "acme") == [gmail]


def test_days_of_history_are_set_for_a_connection_and_for_a_user(superimap, ask, installed):
    made = ask("connections", "create", "acme", "PLAIN", "--history-days", "30")
    own = ask("users", "create", "acme", "PLAIN", "ann", "--history-days", "7")
    changed = ask("users", "update", "acme", "PLAIN", "ann", "--history-days", "")
    none = ask("connections", "update", "acme", "PLAIN", "--history-days", "0")
    refused = superimap("users", "update", "acme", "PLAIN", "ann", "--history-days", "x", code=1)

    days = [each["history_days"] for each in (made, own, changed, none)]
    assert days == [30, 7, None, 0]
    assert "whole number of days" in refused.stderr


def test_change_events_are_turned_on_and_off(superimap, ask, installed):
    made = ask("connections", "create", "acme", "PLAIN", "--change-events", "on")
    own = ask("users", "create", "acme", "PLAIN", "ann", "--change-events", "off")
    changed = ask("users", "update", "acme", "PLAIN", "ann", "--change-events", "on")
    cleared = ask("users", "update", "acme", "PLAIN", "ann", "--change-events", "")
    none = ask("connections", "update", "acme", "PLAIN", "--change-events", "")
    refused = superimap("users", "update", "acme", "PLAIN", "ann", "--change-events", "x", code=1)

    assert [each["change_events"] for each in (made, own, changed, cleared, none)] == [
        True, False, True, None, None,
    ]  # fmt: skip
    assert "on, off" in refused.stderr


def test_folders_to_watch_are_given_one_by_one_and_cleared(superimap, ask, installed):
    superimap("connections", "create", "acme", "PLAIN", "--folder", "INBOX", "--folder", "Projects/*")
    user = ask("users", "create", "acme", "PLAIN", "ada", "--folder", "\\sent")
    refused = superimap("users", "update", "acme", "PLAIN", "ada", "--folder", "\\Spam", code=1)
    cleared = ask("users", "update", "acme", "PLAIN", "ada", "--folder", "")

    assert ask("connections", "show", "acme", "PLAIN")["folders"] == ["INBOX", "Projects/*"]
    assert user["folders"] == ["\\Sent"]
    assert "folders [0] must be one of the special uses" in refused.stderr
    assert cleared["folders"] is None
    assert ask("connections", "update", "acme", "PLAIN", "--folder", "")["folders"] is None


def test_a_user_with_credentials_is_watched_archived_and_restored(superimap, ask, installed):
    superimap("connections", "create", "acme", "PLAIN")
    words = ("--email", "ann@example.com", "--login-username", "ann", "--password-stdin")
    created = ask("users", "create", "acme", "plain", "ann", *words, stdin="hush-hush\n")

    assert created["status"] == "connecting"
    assert created["connect_url"].startswith("https://superimap.example.com/users/connect/new?user_id=")
    assert "hush-hush" not in superimap("users", "show", "acme", "plain", "ann").output
    assert ask("users", "archive", "acme", "plain", "ann")["status"] == "archived"
    assert ask("users", "list", "acme", "plain", "--live") == []
    assert ask("users", "restore", "acme", "plain", "ann")["status"] == "connecting"
    changed = ask("users", "update", "acme", "plain", "ann", "--tag", "anna", "--email", "")
    assert (changed["tag"], changed["email"]) == ("anna", None)


def test_credentials_of_the_other_kind_are_refused(superimap, installed):
    superimap("connections", "create", "acme", "PLAIN")

    result = superimap("users", "create", "acme", "PLAIN", "ann", "--oauth2-refresh-token", "x", code=1)

    assert "users have no oauth2_refresh_token" in result.stderr


def test_tables_fit_eighty_columns_with_ids_whole(superimap, installed):
    superimap("connections", "create", "acme", "PLAIN")
    tag, email = "customer-00000017", "a.very.long.address.of.somebody@a.subdomain.example.com"
    superimap("users", "create", "acme", "PLAIN", tag, "--email", email)

    for words in (("users", "list", "acme", "PLAIN"), ("providers", "list"), ("partners", "keys", "acme")):
        said = superimap(*words).stdout
        assert max(cell_len(line) for line in said.splitlines()) <= 80
    assert tag in superimap("users", "list", "acme", "PLAIN").stdout
    assert "OUTLOOK_OAUTH2" in superimap("providers", "list").stdout


def test_text_from_others_cannot_control_the_terminal(superimap, installed):
    superimap("connections", "create", "acme", "PLAIN")
    superimap("users", "create", "acme", "PLAIN", "[red]ann[bold]")

    assert "[red]ann[bold]" in superimap("users", "list", "acme", "PLAIN").stdout
    assert "\x1b" not in superimap("partners", "show", "\x1b[31mred", code=1).stderr


def test_provider_specific_settings_are_shown_changed_and_cleared(installed, superimap, ask):
    gmail = ask("providers", "show", "GMAIL")
    assert (gmail["folders"], gmail["connections_per_account"]) == (r"\All", 15)
    assert ask("providers", "show", "YAHOO")["idle_renew"] < 180
    assert ask("providers", "show", "NETEASE_163")["poll_by"] == "status"

    changed = ask(
        "providers", "update", "YAHOO", "--idle-renew", "0", "--poll-by", "noop", "--logins-per-second", "0.5"
    )

    assert (changed["idle_renew"], changed["poll_by"], changed["logins_per_second"]) == (None, "noop", 0.5)
    for words, would_do in (
        (("--idle-renew", "541"), "seconds from 5 to 540"),
        (("--poll-by", "fax"), "noop, status"),
        (("--poll-seconds", "301"), "seconds from 5 to 300"),
    ):
        assert would_do in superimap("providers", "update", "YAHOO", *words, code=1).stderr


def test_show_lists_the_events_of_a_user(installed, superimap, ask, database_url):
    superimap("connections", "create", "acme", "PLAIN")
    superimap("users", "create", "acme", "PLAIN", "ada")

    async def stalled() -> None:
        db = await asyncpg.connect(database_url)
        await db.execute(
            "INSERT INTO user_events (partner_id, user_id, kind, reason)"
            " SELECT partner_id, id, 'stalled', 'no route' FROM users"
        )
        await db.close()

    asyncio.run(stalled())

    (event,) = ask("users", "show", "acme", "PLAIN", "ada")["events"]
    assert (event["kind"], event["reason"]) == ("stalled", "no route")
    assert "no route" in superimap("users", "show", "acme", "PLAIN", "ada").stdout


def test_an_app_only_connection_needs_a_tenant_and_only_addresses_of_users(superimap, ask, installed):
    client = ("--oauth2-client-id", "id", "--oauth2-client-secret", "cl13nt-s3cret")
    lacking = superimap("connections", "create", "acme", "OUTLOOK_APP_ONLY", *client, code=1)
    assert "oauth2_tenant is required for this provider" in lacking.stderr

    superimap(
        "connections", "create", "acme", "OUTLOOK_APP_ONLY", *client, "--oauth2-tenant", "contoso.example"
    )

    assert ask("connections", "show", "acme", "OUTLOOK_APP_ONLY")["oauth2_tenant"] == "contoso.example"
    user = ask("users", "create", "acme", "OUTLOOK_APP_ONLY", "ada", "--email", "ada@contoso.example")
    assert user["status"] == "connecting"
    update = ("connections", "update", "acme", "OUTLOOK_APP_ONLY", "--oauth2-tenant", "other.example")
    assert "oauth2_client_secret must be sent with another oauth2_tenant" in superimap(*update, code=1).stderr
    changed = ask(*update, "--oauth2-client-secret", "0ther-s3cret")
    assert changed["oauth2_tenant"] == "other.example"


def test_an_app_only_provider_may_have_the_tenant_only_in_the_path_of_its_token_url(
    superimap, ask, installed
):
    words = (
        "providers", "create", "GOV", "--imap-host", "outlook.example.com", "--oauth2-scope", "mail",
        "--oauth2-grant-type", "client_credentials", "--oauth2-token-url",
    )  # fmt: skip

    evil = superimap(*words, "https://{tenant}.example.com/token", code=1)
    made = ask(*words, "https://login.example.com/{tenant}/token")

    assert "may contain {tenant} only in its path" in evil.stderr
    assert (made["kind"], made["oauth2_grant_type"]) == ("OAUTH2", "client_credentials")
    asking = superimap("providers", "update", "GOV", "--oauth2-grant-type", "authorization_code", code=1)
    assert "oauth2_authorize_url" in asking.stderr


def test_a_changed_server_of_a_provider_needs_a_decision_about_stored_passwords(installed, superimap, ask):
    superimap("connections", "create", "acme", "PLAIN")
    ask("users", "create", "acme", "PLAIN", "ada", "--login-username", "ada", "--login-password", "s3cret")
    update = ("providers", "update", "PLAIN", "--imap-host", "new.example.com")

    undecided = superimap(*update, code=1).stderr
    wrong = superimap(*update, "--stored-secrets", "drop", code=1).stderr
    kept = ask(*update, "--stored-secrets", "keep")
    asked = [ask("users", "show", "acme", "PLAIN", "ada")["has_login_password"]]
    ask("providers", "update", "PLAIN", "--title", "No destination", "--imap-host", "NEW.example.com")
    ask("providers", "update", "PLAIN", "--imap-port", "1143", "--stored-secrets", "forget")
    shown = ask("users", "show", "acme", "PLAIN", "ada")

    assert "secrets of 1 user(s) and 0 OAuth 2.0 client(s) are stored for the present imap_host" in undecided
    assert "must be keep or forget" in wrong
    assert (kept["imap_host"], asked) == ("new.example.com", [True])
    assert (shown["has_login_password"], shown["status"]) == (False, "not_connected")
    assert shown["status_reason"] == "an operator changed the provider's imap_port: connect again"
    ask("providers", "update", "PLAIN", "--imap-port", "2143")  # nothing is stored any more


def test_a_user_may_have_an_own_mail_server_only_under_a_provider_that_allows_it(installed, superimap, ask):
    superimap("connections", "create", "acme", "OTHER")
    superimap("connections", "create", "acme", "PLAIN")

    created = ask(
        "users", "create", "acme", "OTHER", "ada", "--imap-host", "imap.example.com", "--imap-port", "143"
    )
    cleared = ask("users", "update", "acme", "OTHER", "ada", "--imap-host", "")
    refused = superimap("users", "create", "acme", "PLAIN", "ada", "--imap-host", "imap.example.com", code=1)

    assert (created["imap_host"], created["imap_port"], created["imap_tls"]) == (
        "imap.example.com", 143, "starttls",
    )  # fmt: skip
    assert (cleared["imap_host"], cleared["imap_port"]) == (None, None)
    assert "use the provider OTHER for that" in refused.output
    assert "named by the person" in superimap("providers", "list").output
    ask("providers", "create", "OWN", "--imap-host", "imap.invalid", "--host-by-user")
    assert ask("providers", "update", "OWN", "--one-host")["host_by_user"] is False


def test_no_id_is_cut_in_a_narrow_terminal(superimap, environment):
    """An operator who must retire a key needs its id; a table that does not fit is shown as records."""
    superimap("partners", "create", "acme")
    superimap(
        "partners", "add-key", "acme", "reporting reader", "--scope", "read", "--network", "2001:db8::/32"
    )
    narrow = superimap("partners", "keys", "acme").stdout
    entries = superimap("audit", "--limit", "2").stdout
    environment.setenv("COLUMNS", "200")
    wide = superimap("partners", "keys", "acme").stdout

    for whole in ("ID         2\n", "NAME       reporting reader\n", "NETWORKS   2001:db8::/32\n"):
        assert whole in narrow
    assert "ACTION   api_key.create\n" in entries
    assert max(map(len, narrow.splitlines())) <= 80
    assert wide.startswith("ID   KIND")

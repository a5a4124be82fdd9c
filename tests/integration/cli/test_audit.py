"""Audit log of the command line: every command that changes something leaves a row of its operator."""

from __future__ import annotations

import json
import os
import pwd

import pytest
import typer
from typer.testing import CliRunner

from superimap.cli.app import app
from tests.integration.cli.test_deliveries import factory  # noqa: F401 - a fixture

SECRET = "Sesame-open-7712"
ME = pwd.getpwuid(os.getuid()).pw_name

READING = {
    "admins list", "admins tokens list", "api", "audit", "cluster", "config", "connections list",
    "connections show", "deliveries list", "deliveries show", "demo", "dispatcher", "fake-imap",
    "fake-oauth", "generate-key", "health", "idler", "keys", "openapi", "partners keys", "partners list",
    "partners show", "plan", "providers list", "providers show", "stress", "sweeps list", "sweeps show",
    "tracers", "up", "users list", "users show", "webhooks show",
}  # fmt: skip
"""Commands that change nothing, or run a service."""

CHANGES = {
    "migrate": ([], "installation.migrate"),
    "partners create": (["globex", "--new-mail-webhook", f"https://a.example/{SECRET}"], "partner.create"),
    "partners update": (["globex", "--name", "globex-2"], "partner.update"),
    "partners add-key": (
        ["globex-2", "reader", "--scope", "read", "--network", "10.0.0.0/8"],
        "api_key.create",
    ),
    "partners update-key": (["globex-2", "{key}", "--name", "other", "--every-network"], "api_key.update"),
    "partners sign-with": (["globex-2", "{key}"], "api_key.sign"),
    "partners retire-key": (["globex-2", "{key}"], "api_key.retire"),
    "partners rotate-key": (["globex-2"], "api_key.create"),
    "partners rotate-secret": (["globex-2"], "signing_secret.rotate"),
    "providers create": (["MINE", "--imap-host", "imap.example.com"], "provider.create"),
    "providers update": (["MINE", "--title", "Mine"], "provider.update"),
    "connections create": (
        ["globex-2", "GMAIL_OAUTH2", "--oauth2-client-id", "i", "--oauth2-client-secret", SECRET],
        "connection.create",
    ),
    "connections update": (
        ["globex-2", "GMAIL_OAUTH2", "--oauth2-client-secret", SECRET],
        "connection.update",
    ),
    "users create": (
        ["globex-2", "GMAIL_OAUTH2", "eve", "--email", "e@secret.example", "--oauth2-refresh-token", SECRET],
        "user.create",
    ),
    "users update": (
        ["globex-2", "GMAIL_OAUTH2", "eve", "--oauth2-refresh-token", SECRET + "2"],
        "user.update",
    ),
    "users archive": (["globex-2", "GMAIL_OAUTH2", "eve"], "user.update"),
    "users restore": (["globex-2", "GMAIL_OAUTH2", "eve"], "user.update"),
    "sweeps create": (["globex-2", "GMAIL_OAUTH2", "eve", "--since", "30d"], "sweep.create"),
    "sweeps pause": (["globex-2", "GMAIL_OAUTH2", "eve", "{sweep}"], "sweep.update"),
    "sweeps resume": (["globex-2", "GMAIL_OAUTH2", "eve", "{sweep}"], "sweep.update"),
    "sweeps cancel": (["globex-2", "GMAIL_OAUTH2", "eve", "{sweep}"], "sweep.update"),
    "messages": (["acme", "PLAIN", "ann", "--retry", "{message}"], "message.retry"),
    "deliveries replay": (["acme", "{failed}"], "delivery.replay"),
    "deliveries cancel": (["acme", "--all", "--yes"], "delivery.cancel"),
    "webhooks enable": (["acme"], "endpoint.enable"),
    "webhooks test": (["acme"], "endpoint.test"),
    "connections archive": (["acme", "PLAIN", "--yes"], "job.start"),
    "connections delete": (["globex-2", "GMAIL_OAUTH2", "--yes"], "connection.delete"),
    "providers delete": (["MINE", "--yes"], "provider.delete"),
    "partners quota": (["globex-2", "--set", "users=5"], "partner.quota"),
    "partners delete": (["globex-2", "--yes"], "partner.delete"),
    "admins create": (["ada@example.com", "--role", "viewer"], "operator.create"),
    "admins reset": (["ada@example.com"], "operator.link"),
    "admins tokens create": (["ada@example.com", "script", "--expires-in", "7d"], "operator_token.create"),
    "admins tokens revoke": (["{token}"], "operator_token.revoke"),
    "admins unlock": (["ada@example.com"], "operator.update"),
    "admins change": (["ada@example.com", "--disable"], "operator.update"),
    "admins delete": (["ada@example.com", "--yes"], "operator.delete"),
    "rotate-keys": ([], "installation.reencrypt"),
    "purge-audit": (["--yes"], "audit_log.purge"),
}
"""Commands in order, with their arguments and the action that each must leave."""

MESSAGE = """
    WITH box AS (INSERT INTO mailboxes (partner_id, user_id, account, name, uid_validity, last_uid)
        SELECT partner_id, id, 'a', 'INBOX', 1, 1 FROM users RETURNING *)
    INSERT INTO messages (partner_id, user_id, mailbox_id, uid_validity, uid, size, outcome)
    SELECT partner_id, user_id, id, 1, 1, 1, 'unreadable' FROM box RETURNING id
"""
ADDED = "SELECT coalesce(json_agg(a ORDER BY id), '[]')::text FROM audit_log a WHERE id > {}"


def every_command() -> set[str]:
    def below(command: object, *words: str) -> set[str]:
        inner = getattr(command, "commands", None)
        if inner is None:
            return {" ".join(words)}
        return set().union(*(below(each, *words, name) for name, each in inner.items()))

    return below(typer.main.get_command(app))


def test_every_command_is_known_to_read_or_to_change():
    assert every_command() == READING | CHANGES.keys()
    assert not READING & CHANGES.keys()


def test_every_command_that_changes_something_leaves_a_row_of_its_operator(superimap, ask, factory):  # noqa: F811
    known = {"failed": factory.do("deliveries", 1)[0], "message": str(factory.do("value", MESSAGE))}
    factory.do("deliveries", state="pending")
    last = factory.do("value", "SELECT max(id) FROM audit_log")
    for command, (arguments, action) in CHANGES.items():
        if command == "admins tokens revoke":
            (made,) = ask("admins", "tokens", "list")
            assert (made["operator"], made["role"], made["is_confirmed"]) == (
                "ada@example.com",
                "viewer",
                False,
            )
            known["token"] = str(made["id"])
        words = [word.format(**known) for word in arguments]

        if command == "webhooks test":  # its URL answers nothing here
            CliRunner().invoke(app, [*command.split(), *words])
        else:
            superimap(*command.split(), *words)

        added = json.loads(factory.do("value", ADDED.format(last)))
        last = added[-1]["id"]
        assert {(row["actor_kind"], row["actor"]) for row in added} == {("operator", ME)}, command
        assert action in {row["action"] for row in added}, command
        if command == "sweeps create":
            known["sweep"] = added[-1]["object_id"]
        if command == "partners add-key":
            known["key"] = added[-1]["object_id"]
        if command == "partners sign-with":
            keys = ask("partners", "keys", "globex-2")
            signing = [row["id"] for row in keys if row["kind"] == "api_key" and row["is_signing"]]
            assert signing == [int(known["key"])]
            superimap("partners", "sign-with", "globex-2", str(keys[0]["id"]))
    said = superimap("audit", "--limit", "1000", "--json").stdout
    assert SECRET not in said
    assert "secret.example" not in said


def test_the_log_is_filtered_and_old_entries_are_purged(superimap, ask, factory):  # noqa: F811
    superimap("partners", "create", "globex")
    factory.do(
        "value",
        "INSERT INTO audit_log (at, actor_kind, actor, action) "
        "SELECT now() - interval '400 days', 'system', 'x', 'partner.create' RETURNING 1",
    )

    assert {row["actor"] for row in ask("audit", "--actor-kind", "operator")} == {ME}
    assert [row["action"] for row in ask("audit", "--partner", "globex", "--action", "partner.create")] == [
        "partner.create"
    ]
    latest = ask("audit", "--limit", "1")
    assert len(latest) == 1
    assert ask("audit", "--before", str(latest[0]["id"]))[0]["id"] < latest[0]["id"]
    assert "There are more" in superimap("audit", "--limit", "1").stdout
    assert "must be one of" in superimap("audit", "--action", "user.fly", code=1).stderr
    assert ask("purge-audit", "--yes") == {"deleted": 1}
    assert ask("purge-audit", "--yes") == {"deleted": 0}


@pytest.mark.parametrize("days", ["0", "89"])
def test_recent_entries_cannot_be_purged(superimap, days):
    superimap("purge-audit", "--days", days, "--yes", code=2)

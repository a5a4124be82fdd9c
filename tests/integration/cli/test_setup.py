"""The commands that set up an installation; a missing setting or database is one line."""

from __future__ import annotations

import asyncio
import base64
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading

import httpx
import pytest

from fixtures.engines import as_role, execute
from superimap.core import crypto
from superimap.db.privileges import Role

PROGRAM = [sys.executable, "-c", "from superimap.cli import main; main()"]


def test_each_wrong_setting_is_one_line(superimap, environment):
    environment.setenv("PORT", "eighty")
    environment.delenv("ENCRYPTION_KEY")

    lines = superimap("config", code=1).stderr.splitlines()

    assert len(lines) == 2
    assert lines[0].startswith("error: ENCRYPTION_KEY is not set.")
    assert lines[1].startswith("error: PORT must be a whole number")


def test_the_settings_are_shown_without_secrets(superimap, ask, environment):
    key = crypto.generate_key()
    environment.setenv("ENCRYPTION_KEY", key)
    environment.setenv("DATABASE_URL", "postgresql://ann:hush@db.example/superimap")

    shown = ask("config")

    assert shown["DATABASE_URL"] == "postgresql://ann:***@db.example/superimap"
    assert shown["ENCRYPTION_KEY"] == f"key {crypto.key_id(base64.b64decode(key)).hex()}"
    assert key not in superimap("config").stdout


def test_an_unreachable_database_is_one_line_with_its_host_and_no_password(superimap, environment):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        environment.setenv("DATABASE_URL", f"postgresql://ann:hush@127.0.0.1:{port}/superimap")

        for words in (("partners", "list"), ("migrate", "--wait", "0")):
            (line,) = superimap(*words, code=1).stderr.splitlines()
            assert f"PostgreSQL at 127.0.0.1:{port} cannot be reached" in line
            assert "hush" not in line


def test_a_database_that_does_not_exist_is_named(superimap, environment, database_url):
    environment.setenv("DATABASE_URL", database_url.replace("/test_", "/none_", 1))

    for words in (("partners", "list"), ("migrate",)):
        assert "has no database 'none_" in superimap(*words, code=1).stderr


@pytest.mark.parametrize(
    ("role", "words"),
    [
        (Role.OPERATOR, ["migrate"]),
        (Role.OPERATOR, ["purge-audit", "--yes"]),
        (Role.API, ["partners", "create", "acme"]),
    ],
)
def test_a_role_without_the_privilege_is_told_which_one_has_it(
    superimap, environment, database_url, role, words
):
    environment.setenv("DATABASE_URL", as_role(database_url, role))

    (line,) = superimap(*words, code=1).stderr.splitlines()

    assert "does not let the user of DATABASE_URL do this" in line
    assert "the owner of the tables" in line


def test_a_database_with_another_key_is_refused(superimap, environment):
    superimap("partners", "create", "acme")
    environment.setenv("ENCRYPTION_KEY", crypto.generate_key())

    (line,) = superimap("partners", "list", code=1).stderr.splitlines()

    assert "set ENCRYPTION_KEY to the value used before" in line


def test_keys_are_rotated_and_the_old_one_reported_unused(superimap, ask, environment):
    created = ask("partners", "create", "acme")
    old, new = os.environ["ENCRYPTION_KEY"], crypto.generate_key()
    environment.setenv("ENCRYPTION_KEY", f"{new},{old}")

    rotation = ask("rotate-keys")

    assert rotation["resealed"]["api_keys.secret"] == 1
    assert rotation["unused"] == [crypto.key_id(base64.b64decode(old)).hex()]
    environment.setenv("ENCRYPTION_KEY", new)
    assert ask("partners", "show", "acme")["id"] == created["id"]
    assert sum(ask("rotate-keys")["resealed"].values()) == 0


def test_a_generated_key_is_accepted_by_the_settings(superimap):
    key = superimap("generate-key").stdout.strip()

    assert len(base64.b64decode(key)) == 32


def test_the_openapi_description_is_printed_or_written(superimap, tmp_path):
    target = tmp_path / "openapi.json"
    superimap("openapi", "--output", str(target))

    printed = json.loads(superimap("openapi").stdout)

    assert printed["openapi"].startswith("3.")
    assert json.loads(target.read_text()) == printed
    superimap("openapi", "--output", str(tmp_path / "none" / "x.json"), code=1)


class Ready(http.server.BaseHTTPRequestHandler):
    """A health port that answers with `status`."""

    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/readyz" else 404)
        self.end_headers()
        self.wfile.write(b"well")

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_health_is_an_exit_code_and_one_line(monkeypatch, status, code):
    monkeypatch.setattr(Ready, "status", status)
    with http.server.HTTPServer(("127.0.0.1", 0), Ready) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        environment = os.environ | {"HEALTH_PORT": str(server.server_port)}
        result = subprocess.run(
            [*PROGRAM, "health"], env=environment, capture_output=True, text=True, check=False
        )

    assert result.returncode == code
    assert result.stdout.splitlines() == [
        f"127.0.0.1:{server.server_port} is {'ready' if status == 200 else 'not ready'}: well"
    ]


def test_health_without_a_process_is_not_ready():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        command = [*PROGRAM, "health", "--port", str(taken.getsockname()[1])]
        result = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (result.returncode, result.stderr) == (1, "")
    assert "not ready: no answer" in result.stdout


def test_the_fake_imap_server_accepts_the_given_accounts_and_ends_on_a_signal():
    command = [*PROGRAM, "fake-imap", "--port", "0", "--user", "ann:secret"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        port = int(process.stdout.readline().split(":")[1].split(",")[0])
        with socket.create_connection(("127.0.0.1", port)) as client, client.makefile("rb") as answers:
            assert answers.readline().startswith(b"* OK")
            client.sendall(b"a LOGIN ann wrong\r\nb LOGIN ann secret\r\n")
            said = [answers.readline()]
            while not said[-1].startswith(b"b "):
                said.append(answers.readline())
        process.send_signal(signal.SIGINT)

        assert process.wait(10) == 0
    assert any(line.startswith(b"a NO") for line in said)
    assert said[-1].startswith(b"b OK")


def test_the_fake_imap_server_accepts_any_access_token_even_with_given_accounts():
    command = [*PROGRAM, "fake-imap", "--port", "0", "--user", "ann:secret"]
    token = base64.b64encode(b"user=ada@example.com\x01auth=Bearer at-1\x01\x01").decode()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        port = int(process.stdout.readline().split(":")[1].split(",")[0])
        with socket.create_connection(("127.0.0.1", port)) as client, client.makefile("rb") as answers:
            client.sendall(f"a AUTHENTICATE XOAUTH2 {token}\r\n".encode())
            said = [answers.readline() for _ in range(2)]
        process.send_signal(signal.SIGINT)

        assert process.wait(10) == 0
    assert said[-1].startswith(b"a OK")


def test_the_fake_provider_consents_injects_failures_and_ends_on_a_signal():
    command = [
        *PROGRAM, "fake-oauth", "--port", "0", "--client", "app:hush", "--redirect-uri", "http://127.0.0.1/back",
        "--consents", "ann@example.com", "--fail", "denied=1",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().split(" on ")[1].split(",")[0]
        lines = [process.stdout.readline() for _ in range(8)]
        asked = {
            "response_type": "code",
            "client_id": "app",
            "redirect_uri": "http://127.0.0.1/back",
            "state": "s",
        }
        answers = [httpx.get(f"{url}/authorize", params=asked).headers["location"] for _ in range(2)]
        given = httpx.post(
            f"{url}/token",
            auth=("app", "hush"),
            data={
                "grant_type": "authorization_code",
                "code": httpx.URL(answers[1]).params["code"],
                "redirect_uri": "http://127.0.0.1/back",
            },
        )
        process.send_signal(signal.SIGINT)

        assert process.wait(10) == 0
    assert "error=access_denied" in answers[0]
    assert given.json()["access_token"]
    assert "ann@example.com" in "".join(lines)
    assert f"--oauth2-token-url {url}/token" in "".join(lines)


def test_the_default_port_of_the_fake_provider_is_not_blocked_by_browsers(superimap):
    """The Fetch standard ("port blocking") lists blocked ports; 10080 is one of them."""
    refused = {
        *range(1, 1024),
        1719,
        1720,
        1723,
        2049,
        3659,
        4045,
        4190,
        5060,
        5061,
        6000,
        6566,
        6679,
        6697,
        10080,
    }
    refused |= {*range(6665, 6670)}
    shown = superimap("fake-oauth", "--help").output
    default = re.search(r"--port.*?\[default: (\d+);", shown, re.DOTALL)

    assert default is not None
    assert int(default[1]) not in refused


def test_the_fake_provider_lists_its_failures_and_refuses_others(superimap):
    listed = superimap("fake-oauth", "--list").output
    refused = superimap("fake-oauth", "--fail", "nonsense", code=2).output

    assert "invalid_grant" in listed
    assert "nonsense" in refused


def test_help_imports_neither_the_database_nor_the_web():
    heavy = ["sqlalchemy", "asyncpg", "fastapi", "aiohttp", "pydantic", "alembic", "rich.console"]
    code = f"import sys, superimap.cli; print([name for name in {heavy!r} if name in sys.modules])"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert loaded.strip() == "[]"


def test_tracebacks_show_no_local_variables():
    from superimap.cli import app

    assert app.pretty_exceptions_show_locals is False


def test_migrating_reports_the_roles_whose_privileges_it_has_updated(superimap, ask):
    assert "superimap_idler" in superimap("migrate", "--roles").stdout
    assert ask("migrate")["roles"] == [
        "superimap_api",
        "superimap_idler",
        "superimap_dispatcher",
        "superimap_operator",
    ]


def test_a_worn_out_key_is_reported_until_it_is_replaced(superimap, ask, environment, database_url):
    superimap("partners", "create", "acme")
    (key,) = ask("keys")
    assert key["state"] == "encrypts"
    assert key["encrypted"] >= 2  # an API key and a signing secret
    assert "replace it soon" not in superimap("keys").stdout

    asyncio.run(execute(database_url, f"UPDATE vault_canaries SET seals = {2**31}"))

    assert "replace it soon" in superimap("keys").stdout
    assert ask("keys")[0]["share_of_limit"] == 0.5

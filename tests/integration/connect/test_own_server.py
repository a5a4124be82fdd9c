"""Mail servers that people name, and what the form must not reveal."""

from __future__ import annotations

import asyncio
import contextlib
import html
import re
import time
from collections.abc import AsyncIterator

import httpx
import pytest
import trustme

from superimap.api.routes import password
from superimap.db import engine
from superimap.db.accounts import api_keys, connections, providers
from superimap.domain.presets import OTHER
from superimap.imap import transport
from superimap.testing import ImapServer
from superimap.testing.imap.hooks import hanging
from tests.integration.connect.conftest import ANN, Scene, hidden_fields, result_of
from tests.support import tls
from tests.support.api import KEY

FORM = "/users/connect/password"
TIMEOUT_SECONDS = 0.4


@pytest.fixture
async def own(scene: Scene, monkeypatch) -> Scene:
    """The scene, with a connection to OTHER and a short timeout."""
    from superimap.core.crypto import Vault

    monkeypatch.setattr(password, "SERVER_TIMEOUT_SECONDS", TIMEOUT_SECONDS)
    async with engine.sessions(scene.database_url) as sessions, sessions.begin() as db:
        await providers.install_presets(db, [OTHER])
        row = await providers.by_code(db, "OTHER")
        partner = (await api_keys.find_caller(db, scene.api_key)).partner
        assert row is not None
        assert partner is not None
        await connections.create(db, Vault.from_setting(KEY), partner.id, row, {})
    return scene


@pytest.fixture
async def trusted(monkeypatch) -> AsyncIterator[ImapServer]:
    """A mail server over TLS with a valid certificate for localhost."""
    authority = trustme.CA()
    monkeypatch.setattr(transport, "shared_tls_context", lambda: tls.client_context(authority))
    async with ImapServer(tls=tls.server_context(authority)) as server:
        server.add_account(ANN, "right horse")
        yield server


async def open_form(scene: Scene, http: httpx.AsyncClient, **fields: object) -> dict[str, str]:
    shown = await scene.user("OTHER", **fields)
    answer = await http.get(shown["connect_url"])
    assert answer.status_code == 200, answer.text
    return hidden_fields(answer.text)


def form_fields(host: str, port: object, secret: str = "right horse") -> dict[str, str]:
    return {"username": ANN, "password": secret, "host": host, "port": str(port)}


def alert(answer: httpx.Response) -> str:
    found = re.search(r'role="alert"[^>]*><p>(.*?)</p>', answer.text)
    return html.unescape(found[1]) if found else ""


def marked(answer: httpx.Response) -> set[str]:
    """Return the fields that are marked as wrong."""
    inputs = re.findall(r"<input id=[^>]*>", answer.text)
    return {re.findall(r'name="(\w+)"', each)[0] for each in inputs if 'aria-invalid="true"' in each}


async def test_a_server_that_the_person_names_is_stored_with_the_password(own, trusted):
    async with own.browser() as http:
        form = await open_form(own, http)
        answer = await http.post(FORM, data={**form, **form_fields(" LOCALHOST ", trusted.port)})

    assert result_of(answer)["superimap_result"] == "success"
    shown = await own.read_user("OTHER")
    assert (shown["imap_host"], shown["imap_port"], shown["imap_tls"]) == ("localhost", trusted.port, "tls")
    assert (shown["status"], shown["email"]) == ("connecting", ANN)
    assert await own.secret("login_password") == "right horse"
    assert trusted.logins == 1


async def test_the_form_is_prefilled_with_known_values_and_the_usual_port(own):
    async with own.browser() as http:
        new = await http.get((await own.user("OTHER"))["connect_url"])
        known = await http.get(
            (await own.user("OTHER", tag="bob", imap_host="imap.example.com", imap_port=143))["connect_url"]
        )

    assert re.search(r'<input id="port"[^>]* value="993"', new.text)
    assert re.search(r'<input id="host"[^>]* value=""', new.text)
    assert re.search(r'<input id="host"[^>]* value="imap.example.com"', known.text)
    assert re.search(r'<input id="port"[^>]* value="143"', known.text)


async def test_a_server_that_the_partner_has_set_keeps_its_kind_of_tls(own):
    set_by_partner = {"imap_host": own.imap.host, "imap_port": own.imap.port, "imap_tls": "none"}
    async with own.browser() as http:
        form = await open_form(own, http, **set_by_partner)
        other = await http.post(FORM, data={**form, **form_fields("localhost", own.imap.port)})
        same = await http.post(FORM, data={**form, **form_fields(own.imap.host, own.imap.port)})

    assert marked(other) == {"host", "port"}, "another server gets the usual TLS of its port"
    assert result_of(same)["superimap_result"] == "success"
    assert (await own.read_user("OTHER"))["imap_tls"] == "none"


async def test_disconnecting_deletes_the_server_too(own, trusted):
    shown = await own.user(
        "OTHER", login_username=ANN, login_password="x", imap_host="localhost", imap_port=trusted.port
    )
    async with own.browser() as http:
        page = await http.get(shown["disconnect_url"])
        await http.post("/users/disconnect", data=hidden_fields(page.text))

    after = await own.read_user("OTHER")
    assert (after["connected_at"], after["imap_host"], after["imap_port"]) == (None, None, None)


@pytest.mark.parametrize(
    ("host", "port", "text", "field"),
    [
        ("", "993", "The mail server is missing.", "host"),
        ("imaps://imap.example.com", "993", "The mail server must be a host name", "host"),
        ("imap.example.com:993", "993", "The mail server must be a host name", "host"),
        ("imap.example.com\r\nA1 LOGOUT", "993", "The mail server must be a host name", "host"),
        ("imap.example.com", "imap", "The port must be a number", "port"),
        ("imap.example.com", "99999", "The port must be a port from 1 to 65535", "port"),
        ("imap.example.com", "9 93", "The port must be a number", "port"),
    ],
)
async def test_an_invalid_server_is_marked_at_its_field(own, host, port, text, field):
    async with own.browser() as http:
        form = await open_form(own, http)
        answer = await http.post(FORM, data={**form, **form_fields(host, port)})

    assert answer.status_code == 422
    assert text in alert(answer)
    assert marked(answer) == {field}
    assert re.search(
        rf'<input id="{field}"[^>]*aria-describedby="error server-hint"[^>]*autofocus', answer.text
    )


async def test_a_wrong_password_marks_both_fields_and_keeps_the_other_values(own, trusted):
    async with own.browser() as http:
        form = await open_form(own, http)
        answer = await http.post(
            FORM, data={**form, **form_fields("localhost", trusted.port, "battery-staple")}
        )

    assert alert(answer) == "The mail server does not accept this user name and password."
    assert marked(answer) == {"username", "password"}
    assert re.search(r'<input id="host"[^>]* value="localhost"', answer.text)
    assert "battery-staple" not in answer.text
    assert await own.rows("SELECT 1 FROM users WHERE imap_host IS NOT NULL") == []


@contextlib.asynccontextmanager
async def listening(greeting: bytes) -> AsyncIterator[tuple[int, list[object]]]:
    """Run a server of another kind on this machine; yield its port and its visitors."""
    came: list[object] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(writer.get_extra_info("peername"))
        writer.write(greeting)
        with contextlib.suppress(OSError):
            await reader.read()  # until the other side goes
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], came
    finally:
        server.close()


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "0x7f.1",
        "2130706433",
        "①②⑦.0.0.1",
        "::ffff:127.0.0.1",
        "[::1]",
        "169.254.169.254",
    ],
)
async def test_abuse_16_an_internal_mail_server_is_not_dialled_in_any_spelling(own, host):
    own.forbid_loopback()
    async with listening(b"* OK IMAP4rev1\r\n") as (port, came), own.browser() as http:
        form = await open_form(own, http)
        answer = await http.post(FORM, data={**form, **form_fields(host, port)})

    assert answer.status_code == 422
    assert "no mail server there" in alert(answer)
    assert came == []


async def test_abuse_17_the_form_cannot_be_used_as_a_port_scanner(own, monkeypatch):
    """Every server that is not usable, or forbidden, gives the same answer after the same time."""
    monkeypatch.setattr(password, "MAX_TRIES_PER_LINK", 20)
    found: dict[str, tuple[int, str, frozenset[str]]] = {}
    seconds: dict[str, float] = {}
    async with (
        listening(b"") as (silent, _),
        listening(b"-ERR unknown command\r\n") as (redis, _),
        listening(b"SSH-2.0-OpenSSH_9.2\r\n") as (ssh, _),
        ImapServer() as in_clear,
        ImapServer(tls=tls.server_context(trustme.CA())) as untrusted,
        own.browser() as http,
    ):
        with contextlib.closing(await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)) as gone:
            closed = gone.sockets[0].getsockname()[1]
        form = await open_form(own, http)
        cases = {
            "closed": ("127.0.0.1", closed),
            "silent": ("127.0.0.1", silent),
            "redis": ("127.0.0.1", redis),
            "ssh": ("127.0.0.1", ssh),
            "in clear": ("127.0.0.1", in_clear.port),
            "bad certificate": ("localhost", untrusted.port),
            "no such name": ("imap.invalid", 993),
            "forbidden": ("127.0.0.1", silent),
        }
        for case, (host, port) in cases.items():
            if case == "forbidden":
                own.forbid_loopback()
            begun = time.monotonic()
            answer = await http.post(FORM, data={**form, **form_fields(host, port)})
            seconds[case] = time.monotonic() - begun
            found[case] = (answer.status_code, alert(answer), frozenset(marked(answer)))

    assert len(set(found.values())) == 1, found
    assert found["closed"][0] == 422
    assert found["closed"][2] == {"host", "port"}
    assert all(TIMEOUT_SECONDS <= each < TIMEOUT_SECONDS + 1.5 for each in seconds.values()), seconds
    assert untrusted.logins + untrusted.failed_logins + in_clear.logins == 0


async def test_abuse_17_tries_are_limited_across_all_servers(own, monkeypatch):
    monkeypatch.setattr(password, "SERVER_TIMEOUT_SECONDS", 0.0)
    statuses = []
    async with own.browser() as http:
        for number in range(3):
            form = await open_form(own, http, tag=f"user{number}")
            for port in range(1, 5):
                answer = await http.post(FORM, data={**form, **form_fields("127.0.0.1", port)})
                statuses.append(answer.status_code)

    assert statuses == [422] * 10 + [429] * 2


async def test_a_hanging_login_at_an_entered_server_has_the_usual_timeout(own, trusted, monkeypatch):
    monkeypatch.setattr(password, "SERVER_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(password, "LOGIN_TIMEOUT_SECONDS", 0.4)
    trusted.on("LOGIN", hanging())
    async with own.browser() as http:
        form = await open_form(own, http)
        begun = time.monotonic()
        answer = await http.post(FORM, data={**form, **form_fields("localhost", trusted.port)})

    assert "no mail server there" in alert(answer)
    assert time.monotonic() - begun >= 0.4

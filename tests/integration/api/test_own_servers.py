"""Mail servers that a partner sets for users of the provider OTHER."""

from __future__ import annotations

import pytest

from superimap.db.accounts import providers
from superimap.domain.presets import OTHER
from tests.integration.api.test_users import stored
from tests.support.api import world as make_world

USERS = "/api/v1/connections/OTHER/users"
ADA = {"tag": "ADA", "login_username": "ada", "login_password": "pass-1"}


async def connected(world, client):
    """Create a connection to OTHER."""
    async with world.sessionmaker.begin() as db:
        await providers.install_presets(db, [OTHER])
    assert (await client.post("/api/v1/connections", json={"imap_provider_code": "OTHER"})).status_code == 201


def server(answer) -> tuple[str | None, int | None, str | None]:
    shown = answer.json()
    return shown["imap_host"], shown["imap_port"], shown["imap_tls"]


async def test_a_user_needs_a_mail_server_before_it_is_watched(world, acme):
    await connected(world, acme)

    without = await acme.post(USERS, json={"tag": "ADA", "login_username": "ada"})
    given = await acme.patch(f"{USERS}/ADA", json={**ADA, "imap_host": "IMAP.Example.com."})

    assert (without.json()["status"], server(without)) == ("not_connected", (None, None, None))
    assert (given.json()["status"], server(given)) == ("connecting", ("imap.example.com", 993, "tls"))


async def test_the_port_decides_the_kind_of_tls_unless_the_partner_does(world, acme):
    await connected(world, acme)
    await acme.post(USERS, data={**ADA, "imap_host": "imap.example.com", "imap_port": "143"})
    path = f"{USERS}/ADA"

    assert server(await acme.get(path)) == ("imap.example.com", 143, "starttls")
    assert server(await acme.patch(path, json={"imap_tls": "tls"}))[1:] == (143, "tls")
    assert server(await acme.patch(path, json={"imap_host": "b.example.com"})) == (
        "b.example.com",
        143,
        "tls",
    )
    assert server(await acme.patch(path, data={"imap_port": ""})) == ("b.example.com", 993, "tls")
    cleared = await acme.patch(path, json={"imap_host": None})
    assert (cleared.json()["status"], server(cleared)) == ("not_connected", (None, None, None))


async def test_only_a_different_server_starts_a_new_session(world, acme):
    await connected(world, acme)
    await acme.post(USERS, json={**ADA, "imap_host": "imap.example.com"})
    since = (await stored(world)).connected_at

    await acme.patch(f"{USERS}/ADA", json={"imap_host": "imap.example.com", "imap_port": 993})
    same = (await stored(world)).credentials_version
    await acme.patch(f"{USERS}/ADA", json={"imap_port": 143, "login_password": "pass-1"})
    other = await stored(world)

    assert (same, other.credentials_version) == (1, 2)
    assert other.connected_at == since, "another server is usually a new home of the same mailbox"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("imap_host", "imaps://imap.example.com"),
        ("imap_host", "imap.example.com:993"),
        ("imap_host", "a b"),
        ("imap_host", "a\r\nb"),
        ("imap_host", "x" * 300),
        ("imap_host", "user@imap.example.com"),
        ("imap_port", 0),
        ("imap_port", 65536),
        ("imap_port", "imap"),
        ("imap_tls", "ssl"),
    ],
)
async def test_an_invalid_server_is_refused_by_field(world, acme, field, value):
    await connected(world, acme)

    answer = await acme.post(USERS, json={**ADA, "imap_host": "imap.example.com", field: value})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field
    assert await stored(world) is None


async def test_a_user_of_a_provider_with_a_server_has_no_server_of_its_own(world, acme):
    answer = await acme.post(
        "/api/v1/connections/PLAIN/users", json={**ADA, "imap_host": "10.0.0.1", "imap_port": 6379}
    )

    assert (answer.status_code, server(answer)) == (201, (None, None, None))


@pytest.mark.parametrize(
    ("sent", "field"),
    [({"imap_port": 6379}, "imap_port"), ({"imap_port": 143, "imap_tls": "none"}, "imap_tls"), ({}, None)],
)
async def test_abuse_16_production_accepts_only_imap_ports_and_tls(database_url, sent, field):
    async with (
        make_world(database_url, environment="production", imap_ports="1993") as world,
        world.client(world.acme) as client,
    ):
        client.base_url = "https://testserver"
        await connected(world, client)

        created = await client.post(USERS, json={**ADA, "imap_host": "imap.example.com", **sent})
        opened = await client.post(
            USERS, json={**ADA, "tag": "BOB", "imap_host": "imap.example.com", "imap_port": 1993}
        )

    assert created.status_code == (422 if field else 201)
    assert not field or created.json()["errors"][0]["field"] == field
    assert server(opened) == ("imap.example.com", 1993, "tls")

"""Changed servers, accounts and clients: no route of the API sends a stored secret where it was not given for."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest
from sqlalchemy import select

from fixtures.engines import as_role, execute
from superimap.core.crypto import Place
from superimap.db.accounts import providers
from superimap.db.accounts.stored_secrets import StoredSecrets
from superimap.db.errors import Conflict
from superimap.db.models import Connection
from superimap.db.privileges import Role
from superimap.domain.presets import OTHER
from tests.integration.api.test_users import stored

ADA = {
    "tag": "ADA",
    "login_username": "ada",
    "login_password": "pass-1",
    "imap_host": "imap.example.com",
    "imap_port": 1993,
    "imap_tls": "tls",
}
USERS = "/api/v1/connections/OTHER/users"
GMAIL = "/api/v1/connections/GMAIL_OAUTH2"
CLIENT = {
    "imap_provider_code": "GMAIL_OAUTH2",
    "oauth2_client_id": "id-1",
    "oauth2_client_secret": "secret-1",
}


@pytest.fixture
async def ada(world, acme):
    """A connected user with a mail server of its own."""
    async with world.sessionmaker.begin() as db:
        await providers.install_presets(db, [OTHER])
    await acme.post("/api/v1/connections", json={"imap_provider_code": "OTHER"})
    assert (await acme.post(USERS, json=ADA)).json()["status"] == "connecting"


@pytest.mark.parametrize(
    "change",
    [
        "imap_host = 'evil.example.com'",
        "imap_host = NULL, imap_port = NULL, imap_tls = NULL",
        "imap_port = 143",
        "imap_tls = 'none'",
        "imap_host = 'evil.example.com', email = 'ada@example.com'",
    ],
)
async def test_the_database_itself_keeps_a_password_with_its_server(database_url, ada, change):
    """A stolen login of the API, or a process of an older version, runs this."""
    of_api = as_role(database_url, Role.API)

    with pytest.raises(asyncpg.RestrictViolationError):
        await execute(of_api, f"UPDATE users SET {change}")
    await execute(of_api, "UPDATE users SET imap_host = upper(imap_host), imap_tls = 'starttls'")
    await execute(of_api, f"UPDATE users SET login_password = NULL, {change}")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("imap_host", "evil.example.com"),
        ("imap_host", None),
        ("imap_port", 143),
        ("imap_tls", "none"),
        ("login_username", "bob"),
    ],
)
async def test_another_server_port_or_login_name_without_a_password_clears_the_password(
    world, acme, ada, field, value
):
    changed = (await acme.patch(f"{USERS}/ADA", json={field: value})).json()

    user = await stored(world)
    assert user.login_password is None
    assert user.credentials_version == 2, "a running session ends"
    assert (changed["status"], changed["connected_at"]) == ("not_connected", None)
    assert changed["status_reason"] == (f"a changed {field} cleared login_password: send both in one request")


@pytest.mark.parametrize(
    "change",
    [
        {"imap_host": "IMAP.example.com."},
        {"imap_tls": "starttls"},
        {"email": "ada@example.com"},
        {"tag": "ADA"},
        {"imap_port": 143, "login_password": "pass-2"},
        {"imap_host": "b.example.com", "login_username": "bob", "login_password": "pass-1"},
    ],
)
async def test_the_same_server_or_a_password_for_the_new_one_keeps_the_user_connected(
    world, acme, ada, change
):
    assert (await acme.patch(f"{USERS}/ADA", json=change)).json()["status"] == "connecting"

    assert (await stored(world)).login_password is not None


async def test_a_password_is_not_stored_without_its_server(world, acme, ada):
    bob = {"tag": "BOB", "login_username": "bob", "login_password": "pass-1"}

    answer = await acme.post(USERS, json=bob)
    await acme.post(USERS, json={"tag": "BOB", "login_username": "bob"})
    later = await acme.patch(f"{USERS}/BOB", json={"login_password": "pass-1"})

    for each in (answer, later):
        assert each.status_code == 422
        assert each.json()["errors"][0]["field"] == "imap_host"


@pytest.mark.parametrize(("email", "is_kept"), [("eve@example.com", False), ("ADA@Example.com", True)])
async def test_another_address_without_a_token_clears_the_refresh_token(world, acme, email, is_kept):
    await acme.post("/api/v1/connections", json=CLIENT)
    person = {"tag": "ADA", "email": "ada@example.com", "oauth2_refresh_token": "rt-1"}
    await acme.post(f"{GMAIL}/users", json=person)

    changed = await acme.patch(f"{GMAIL}/users/ADA", json={"email": email})

    assert ((await stored(world)).oauth2_refresh_token is not None) == is_kept
    assert changed.json()["status"] == ("connecting" if is_kept else "not_connected")


async def test_another_client_id_needs_its_secret(world, acme):
    await acme.post("/api/v1/connections", json=CLIENT)

    refused = await acme.patch(GMAIL, json={"oauth2_client_id": "id-2"})
    same = await acme.patch(GMAIL, json={"oauth2_client_id": "id-1"})
    whole = await acme.patch(GMAIL, json={"oauth2_client_id": "id-2", "oauth2_client_secret": "secret-2"})

    assert (refused.status_code, same.status_code, whole.status_code) == (422, 200, 200)
    assert refused.json()["errors"] == [
        {
            "field": "oauth2_client_secret",
            "message": "must be sent with another oauth2_client_id; the stored one belongs to the present one",
        }
    ]
    async with world.sessionmaker() as db:
        row = (await db.scalars(select(Connection).where(Connection.oauth2_client_id == "id-2"))).one()
    place = Place("connections", "oauth2_client_secret", row.partner_id, str(row.id))
    assert world.vault.open_text(row.oauth2_client_secret, place) == "secret-2"


@pytest.mark.parametrize("field", ["imap_host", "imap_port", "oauth2_token_url", "oauth2_revoke_url"])
async def test_an_operator_decides_about_the_secrets_of_a_changed_provider(world, acme, field):
    await acme.post("/api/v1/connections", json=CLIENT)
    person = {"tag": "ADA", "email": "ada@example.com", "oauth2_refresh_token": "rt-1"}
    await acme.post(f"{GMAIL}/users", json=person)
    new: Any = {field: 1993 if field == "imap_port" else "https://other.example.com/x"}
    if field == "imap_host":
        new = {field: "other.example.com"}

    async with world.sessionmaker.begin() as db:
        with pytest.raises(Conflict, match=r"1 user\(s\) and 1 OAuth 2.0 client\(s\).* " + field):
            await providers.update(db, "GMAIL_OAUTH2", **new)
        await providers.update(db, "GMAIL_OAUTH2", title="Other", oauth2_scope="mail")
    async with world.sessionmaker.begin() as db:
        await providers.update(db, "GMAIL_OAUTH2", stored_secrets=StoredSecrets.FORGET, **new)

    user = await stored(world)
    async with world.sessionmaker() as db:
        client = (await db.scalars(select(Connection).where(Connection.oauth2_client_id == "id-1"))).one()
    assert (user.oauth2_refresh_token, client.oauth2_client_secret) == (None, None)
    assert (user.status, user.credentials_version) == ("not_connected", 2)

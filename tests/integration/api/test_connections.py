"""Connections: create, list, show, change and delete."""

import pytest
from joserfc.jwk import RSAKey
from sqlalchemy import select

from superimap.core.crypto import Place
from superimap.db.accounts import providers
from superimap.db.errors import Conflict
from superimap.db.models import Connection, User
from tests.integration.api.doorbells import rung_shards

CONNECTIONS = "/api/v1/connections"
GMAIL = {"imap_provider_code": "GMAIL_OAUTH2", "oauth2_client_id": "id-1", "oauth2_client_secret": "secret-1"}


async def test_a_connection_is_created_listed_shown_and_deleted(acme):
    created = await acme.post(CONNECTIONS, json=GMAIL)
    listed = await acme.get(CONNECTIONS)
    shown = await acme.get(f"{CONNECTIONS}/GMAIL_OAUTH2")
    deleted = await acme.delete(f"{CONNECTIONS}/GMAIL_OAUTH2")
    gone = await acme.get(f"{CONNECTIONS}/GMAIL_OAUTH2")

    gmail = {
        "imap_provider_code": "GMAIL_OAUTH2",
        "users_count": 0,
        "history_days": None,
        "folders": None,
        "change_events": None,
    }
    assert (created.status_code, created.json()) == (201, gmail)
    assert listed.json() == [gmail, gmail | {"imap_provider_code": "PLAIN"}]
    assert (shown.status_code, shown.json()) == (200, gmail)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert (gone.status_code, gone.json()["detail"]) == (404, "Connection not found.")


async def test_the_folders_of_a_connection_let_only_users_without_a_list_start_again(acme, world):
    person = {"login_username": "x", "login_password": "p"}
    for tag, folders in (("ADA", None), ("GRACE", ["Support"]), ("IDLE", None)):
        fields = {"tag": tag, "folders": folders} | (person if tag != "IDLE" else {})
        assert (await acme.post(f"{CONNECTIONS}/PLAIN/users", json=fields)).status_code == 201

    changed = await acme.put(f"{CONNECTIONS}/PLAIN", json={"folders": ["INBOX", "Projects/*"]})
    again = await acme.put(f"{CONNECTIONS}/PLAIN", json={"folders": ["INBOX", "Projects/*"]})
    refused = await acme.put(f"{CONNECTIONS}/PLAIN", json={"folders": ["\\Spam"]})

    assert changed.json()["folders"] == again.json()["folders"] == ["INBOX", "Projects/*"]
    assert refused.json()["errors"][0]["field"] == "folders"
    async with world.sessionmaker() as db:
        rows = await db.execute(select(User.tag, User.credentials_version))
    assert dict(map(tuple, rows)) == {"ADA": 2, "GRACE": 1, "IDLE": 1}


async def test_change_events_of_a_connection_are_those_of_users_without_a_value(acme, world):
    person = {"login_username": "x", "login_password": "p"}
    for tag, value in (("ADA", None), ("GRACE", False), ("EVE", "")):
        fields = {"tag": tag, "change_events": value, **person}
        assert (await acme.post(f"{CONNECTIONS}/PLAIN/users", json=fields)).status_code == 201

    changed = await acme.put(f"{CONNECTIONS}/PLAIN", data={"change_events": "true"})
    again = await acme.put(f"{CONNECTIONS}/PLAIN", json={"change_events": True})
    refused = await acme.put(f"{CONNECTIONS}/PLAIN", json={"change_events": "perhaps"})

    assert changed.json()["change_events"] is again.json()["change_events"] is True
    assert refused.status_code == 422
    async with world.sessionmaker() as db:
        rows = await db.execute(select(User.tag, User.credentials_version))
        since = await db.scalar(select(Connection.change_events_since).where(Connection.change_events))
    assert dict(map(tuple, rows)) == {"ADA": 2, "GRACE": 1, "EVE": 2}
    assert since is not None


async def test_a_connection_stores_its_oauth_client(acme, world):
    await acme.post(CONNECTIONS, data=GMAIL)

    async with world.sessionmaker() as db:
        row = (await db.scalars(select(Connection).where(Connection.oauth2_client_id == "id-1"))).one()
    place = Place("connections", "oauth2_client_secret", row.partner_id, str(row.id))
    assert world.vault.open_text(row.oauth2_client_secret, place) == "secret-1"


async def test_a_new_client_secret_replaces_only_the_old_secret(acme, world):
    await acme.post(CONNECTIONS, json=GMAIL)

    answer = await acme.patch(f"{CONNECTIONS}/GMAIL_OAUTH2", json={"oauth2_client_secret": "secret-2"})

    assert answer.status_code == 200
    async with world.sessionmaker() as db:
        row = (await db.scalars(select(Connection).where(Connection.oauth2_client_id == "id-1"))).one()
    place = Place("connections", "oauth2_client_secret", row.partner_id, str(row.id))
    assert world.vault.open_text(row.oauth2_client_secret, place) == "secret-2"


async def test_a_new_client_retries_users_whose_login_failed(acme, world):
    await acme.post(CONNECTIONS, json=GMAIL)
    person = {"tag": "T", "email": "ada@example.com", "oauth2_refresh_token": "r"}
    await acme.post(f"{CONNECTIONS}/GMAIL_OAUTH2/users", json=person)
    async with world.sessionmaker.begin() as db:
        (await db.scalars(select(User))).one().status = "authentication_failed"

    client = {"oauth2_client_id": "id-2", "oauth2_client_secret": "secret-2"}
    await acme.put(f"{CONNECTIONS}/GMAIL_OAUTH2", json=client)

    async with world.sessionmaker() as db:
        user = (await db.scalars(select(User))).one()
    assert (user.status, user.credentials_version) == ("connecting", 2)


async def test_oauth2_needs_client_id_and_secret_and_names_the_missing_one(acme):
    answer = await acme.post(
        CONNECTIONS, json={"imap_provider_code": "GMAIL_OAUTH2", "oauth2_client_id": "id"}
    )
    blank = await acme.post(CONNECTIONS, json=GMAIL | {"oauth2_client_id": " "})

    assert answer.status_code == 422
    assert [fault["field"] for fault in answer.json()["errors"]] == ["oauth2_client_secret"]
    assert answer.json()["detail"].startswith("oauth2_client_secret is required"), (
        "the field keeps its spelling"
    )
    assert [fault["field"] for fault in blank.json()["errors"]] == ["oauth2_client_id"]


async def test_a_second_connection_to_a_provider_is_a_conflict(acme):
    answer = await acme.post(CONNECTIONS, json={"imap_provider_code": "PLAIN"})

    assert answer.status_code == 409
    assert answer.json()["errors"] == [{"field": "imap_provider_code", "message": "is taken"}]


async def test_an_unknown_provider_is_404_and_named(acme):
    created = await acme.post(CONNECTIONS, json={"imap_provider_code": "NOPE"})
    shown = await acme.get(f"{CONNECTIONS}/NOPE")
    unspeakable = await acme.get(f"{CONNECTIONS}/A%00B")

    assert (created.status_code, created.json()["detail"]) == (404, "Imap Provider not found for 'NOPE'.")
    assert (shown.status_code, shown.json()["detail"]) == (404, "Imap Provider not found for 'NOPE'.")
    assert unspeakable.status_code == 404


async def test_a_missing_provider_code_is_named(acme):
    answer = await acme.post(CONNECTIONS, json={})

    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"field": "imap_provider_code", "message": "is missing"}]


async def test_deleting_a_connection_deletes_its_users_and_rings_their_shards(acme, world):
    for tag in "AB":
        await acme.post(f"{CONNECTIONS}/PLAIN/users", json={"tag": tag})
    async with world.sessionmaker() as db:
        shards = {str(shard) for shard in await db.scalars(select(User.shard))}

    async with rung_shards(world.settings.database_url) as rings:
        await acme.delete(f"{CONNECTIONS}/PLAIN")
        rung = {await rings.get() for _ in shards}

    assert rung == shards
    async with world.sessionmaker() as db:
        assert (await db.scalars(select(User))).all() == []


async def test_a_provider_that_takes_private_key_jwt_gets_a_private_key_and_never_a_secret(acme, world):
    async with world.sessionmaker.begin() as db:
        await providers.update(db, "GMAIL_OAUTH2", oauth2_client_auth="private_key_jwt")
    pem = RSAKey.generate_key(2048).as_pem(private=True).decode()

    refused = await acme.post(CONNECTIONS, json=GMAIL)
    created = await acme.post(CONNECTIONS, json={**GMAIL, "oauth2_client_secret": pem})
    in_a_form = await acme.patch(f"{CONNECTIONS}/GMAIL_OAUTH2", data={"oauth2_client_secret": pem})

    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "oauth2_client_secret"
    assert "must be a private key" in refused.json()["errors"][0]["message"]
    assert (created.status_code, in_a_form.status_code) == (201, 200)
    async with world.sessionmaker() as db:
        row = (await db.scalars(select(Connection).where(Connection.oauth2_client_id == "id-1"))).one()
        with pytest.raises(Conflict, match="used by 1 connection"):  # the key would be sent as a secret
            await providers.update(db, "GMAIL_OAUTH2", oauth2_client_auth="client_secret_post")
    place = Place("connections", "oauth2_client_secret", row.partner_id, str(row.id))
    assert world.vault.open_text(row.oauth2_client_secret, place) == pem

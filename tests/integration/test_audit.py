"""Audit log: every change leaves a row in its transaction, no row holds a secret, and rows stay."""

from __future__ import annotations

import json

import asyncpg
import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from superimap.db import audit
from superimap.db.accounts import connections, partners, providers, users
from superimap.db.accounts.stored_secrets import StoredSecrets
from superimap.db.audit import AuditFilter
from superimap.db.engine import sessions
from superimap.db.models import AuditEntry
from superimap.domain.audit import Actor, ActorKind, AuditAction, recorded_details


@pytest.fixture
async def sessionmaker(database_url):
    async with sessions(database_url) as opened:
        yield opened


async def add_entry(sessionmaker, *, days_ago: int = 0) -> None:
    async with sessionmaker.begin() as db:
        await db.execute(
            text(
                "INSERT INTO audit_log (at, actor_kind, actor, action) "
                "VALUES (now() - make_interval(days => :days), 'system', 'x', 'partner.create')"
            ),
            {"days": days_ago},
        )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET actor = 'nobody'",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
        "INSERT INTO audit_log (id, actor_kind, actor, action) SELECT id, 'link', 'y', 'z' FROM audit_log "
        "ON CONFLICT (id) DO UPDATE SET actor = excluded.actor",
    ],
)
async def test_no_entry_is_changed_or_deleted_even_by_a_superuser(sessionmaker, statement):
    await add_entry(sessionmaker, days_ago=89)

    with pytest.raises(DBAPIError, match="insert-only"):
        async with sessionmaker.begin() as db:
            await db.execute(text(statement))


async def test_the_owner_of_the_table_has_no_privilege_to_change_it(database_url):
    connection = await asyncpg.connect(database_url)
    try:
        granted = await connection.fetchval("SELECT relacl::text FROM pg_class WHERE relname = 'audit_log'")
    finally:
        await connection.close()
    letters = granted.split("=")[1].split("/")[0]  # a: insert, r: select, w: update, d: delete, D: truncate

    assert {"a", "r"} <= set(letters)
    assert not {"w", "d", "D"} & set(letters)


async def test_only_entries_beyond_the_retention_are_purged(sessionmaker):
    for days in (10, 89, 91, 400):
        await add_entry(sessionmaker, days_ago=days)

    async with sessionmaker.begin() as db:
        assert await audit.delete_old(db, days=365) == 1
    async with sessionmaker.begin() as db:
        assert await audit.delete_old(db, days=0) == 1  # at least 90 days
        assert len(await audit.list_entries(db, AuditFilter(), limit=10)) == 2


async def test_a_change_that_is_rolled_back_leaves_no_entry(sessionmaker, world):
    with pytest.raises(RuntimeError):
        async with sessionmaker.begin() as db:
            await partners.create(db, world.vault, name="acme")
            raise RuntimeError
    async with sessionmaker.begin() as db:
        assert (await db.scalars(select(AuditEntry))).all() == []


async def test_an_entry_outlives_its_partner_and_names_its_actor(sessionmaker, world):
    async with sessionmaker.begin() as db:
        audit.set_actor(db, Actor(ActorKind.OPERATOR, "alice"))
        created = await partners.create(db, world.vault, name="acme")
        await partners.delete(db, created.partner.id)
    async with sessionmaker.begin() as db:
        entries = await audit.list_entries(db, AuditFilter(partner_id=created.partner.id), limit=10)

    assert entries[0].action == AuditAction.PARTNER_DELETE
    assert {(entry.actor_kind, entry.actor) for entry in entries} == {("operator", "alice")}


async def test_an_update_names_the_fields_that_changed_and_only_those(sessionmaker, world):
    partner = await world.partner()
    await world.provider("localhost", 10143)
    await world.connection(partner)
    async with sessionmaker.begin() as db:
        linked = await connections.by_code(db, partner.partner.id, "TEST")
        user = await users.create(db, world.vault, linked, {"tag": "ann", "email": "ann@example.com"})
        await users.update(db, world.vault, linked, user, {"tag": "ann", "login_password": "hunter-two-two"})
        await users.update(db, world.vault, linked, user, {"tag": "ann"})
        entries = await audit.list_entries(db, AuditFilter(action=AuditAction.USER_UPDATE), limit=10)

    assert [entry.fields for entry in entries] == [["login_password"]]
    assert entries[0].details == {"tag": "ann", "imap_provider_code": "TEST"}


async def test_an_entry_says_how_much_went_with_it(sessionmaker, world):
    """Users that were deleted with their connection, and what became of secrets at a changed provider."""
    partner = await world.partner()
    await world.provider("localhost", 10143)
    await world.connection(partner)
    await world.user(partner, "ann", login="ann", password="a password of hers")
    async with sessionmaker.begin() as db:
        forget = StoredSecrets.FORGET
        await providers.update(db, "TEST", stored_secrets=forget, imap_host="new.example.com")
        await connections.delete(db, partner.partner.id, "TEST")
        deleted, updated = await audit.list_entries(db, AuditFilter(), limit=2)

    assert deleted.details == {"imap_provider_code": "TEST", "count": 1}
    assert updated.details == {"imap_host": "new.example.com", "stored_secrets": "forget"}


def test_only_values_that_are_known_to_be_no_secret_are_recorded():
    given = {
        "name": "acme",
        "new_mail_webhook": "https://user:pass@hooks.example.com/T0/secret?token=x",
        "login_password": "a", "oauth2_refresh_token": "b", "oauth2_client_secret": "c", "email": "d@e",
        "api_key": "e", "scopes": ["read"], "expires_at": None, "anything_new": "f",
    }  # fmt: skip

    assert recorded_details(given) == {
        "name": "acme",
        "new_mail_webhook": "https://hooks.example.com",
        "scopes": ["read"],
        "expires_at": None,
    }
    assert json.dumps(recorded_details({"name": "x" * 10_000})).count("x") == 500

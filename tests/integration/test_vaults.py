"""Vault canaries and key rotation: only the right keys open a database, and rotation loses no write."""

from __future__ import annotations

import asyncio
import itertools
import os
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import LargeBinary, insert, literal, select, text, update

from superimap.core.crypto import Place, Vault, VaultError, sealing_key_id
from superimap.db import canaries, postgres
from superimap.db import rotation as rotating
from superimap.db.engine import sessions
from superimap.db.models import (
    ApiKey,
    Attempt,
    Base,
    Connection,
    Delivery,
    Endpoint,
    OAuthState,
    Operator,
    Partner,
    SigningSecret,
    User,
    VaultCanary,
)
from superimap.db.rotation import rotate_keys, sealed_columns

KEYS = [os.urandom(32) for _ in range(3)]
OLD, NEW, OTHER = (Vault([key]) for key in KEYS)
BOTH = Vault([KEYS[1], KEYS[0]])


@pytest.fixture
async def sessionmaker(database_url):
    async with sessions(database_url) as opened:
        yield opened


@pytest.fixture
def start_with(database_url):
    """Check a vault against the database, as a process does when it starts."""

    async def start(vault):
        async with postgres.transaction(database_url) as db:
            await canaries.verify_vault(db, vault)

    return start


async def stored_canaries(sessionmaker):
    async with sessionmaker.begin() as db:
        return set(await db.scalars(select(VaultCanary.key_id)))


async def test_the_first_vault_stores_a_canary_and_is_accepted_again(sessionmaker, start_with):
    await start_with(OLD)
    await start_with(OLD)

    assert await stored_canaries(sessionmaker) == {OLD.primary.hex()}


async def test_a_wrong_key_is_refused_with_the_ids_of_both_keys(sessionmaker, start_with):
    await start_with(OLD)

    with pytest.raises(VaultError) as refusal:
        await start_with(OTHER)

    assert OLD.primary.hex() in str(refusal.value)
    assert OTHER.primary.hex() in str(refusal.value)
    assert "ENCRYPTION_KEY" in str(refusal.value)
    assert await stored_canaries(sessionmaker) == {OLD.primary.hex()}


async def test_a_new_primary_key_stores_its_canary_beside_the_old_one(sessionmaker, start_with):
    await start_with(OLD)
    await start_with(BOTH)

    assert await stored_canaries(sessionmaker) == {OLD.primary.hex(), NEW.primary.hex()}


async def test_a_key_removed_before_rotation_causes_a_warning(sessionmaker, caplog, start_with):
    await start_with(OLD)
    await start_with(BOTH)

    await start_with(NEW)

    assert "superimap rotate-keys" in caplog.text


async def test_a_forged_canary_is_refused(sessionmaker, start_with):
    async with sessionmaker.begin() as db:
        place = Place("vault_canaries", "word", 0, OTHER.primary.hex())
        word = OTHER.seal(b"something else", place)
        await db.execute(insert(VaultCanary).values(key_id=OTHER.primary.hex(), word=word))

    with pytest.raises(VaultError):
        await start_with(OTHER)


async def test_of_two_vaults_that_start_first_at_once_one_is_refused(sessionmaker, start_with):
    outcomes = await asyncio.gather(start_with(OLD), start_with(OTHER), return_exceptions=True)

    assert sorted(type(outcome) for outcome in outcomes if outcome) == [VaultError]
    assert len(await stored_canaries(sessionmaker)) == 1


def test_every_binary_column_is_encrypted_or_known_to_hold_no_secret():
    digests = {
        "api_keys.digest", "messages.sha1", "messages.fingerprint", "oauth_states.state_digest",
        "oauth_states.browser_digest", "oauth_states.link_digest", "used_links.link_digest", "login_tries.key",
        "tracers.token_digest", "mailboxes.last_mail_message_id",
        "oauth_states.destinations_digest", "dashboard_sessions.digest", "dashboard_links.digest",
        "used_forms.digest", "recovery_codes.digest", "passkeys.credential_id", "passkeys.public_key",
        "operator_tokens.digest",
    }  # fmt: skip
    of_bytes = {
        str(column)
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, LargeBinary)
    }

    sealed = {str(column) for column in sealed_columns()}

    assert of_bytes == sealed | digests | {"vault_canaries.word"}
    assert {column.table.name for column in sealed_columns() if "partner_id" not in column.table.c} == {
        "operators"
    }
    assert all("id" in column.table.c for column in sealed_columns())


def seal_value(vault, table, column, partner, row):
    return vault.seal_text(f"{table}.{column}", Place(table, column, partner, str(row)))


async def add_sealed_rows(db, vault):
    """Insert one row with every sealed column into every table that has one; return the id of the user."""
    await db.execute(text("INSERT INTO providers (id, code, title, kind, imap_host, imap_port)"
                          " VALUES (5, 'X', 'X', 'PLAIN', 'x', 993)"))  # fmt: skip
    db.add(Partner(id=1, name="acme"))
    seed = seal_value(vault, "operators", "totp_seed", 0, 11)
    db.add(Operator(id=11, email="ada@example.com", role="owner", totp_seed=seed))
    await db.flush()
    db.add(
        ApiKey(
            id=2, partner_id=1, digest=b"d", hint="h", secret=seal_value(vault, "api_keys", "secret", 1, 2)
        )
    )
    db.add(SigningSecret(id=3, partner_id=1, secret=seal_value(vault, "signing_secrets", "secret", 1, 3)))
    db.add(Endpoint(id=4, partner_id=1, kind="new_mail"))
    columns = ("oauth2_client_secret", "oauth2_access_token")
    secrets = {name: seal_value(vault, "connections", name, 1, 6) for name in columns}
    db.add(Connection(id=6, partner_id=1, provider_id=5, **secrets))
    await db.flush()
    columns = ("login_password", "oauth2_refresh_token", "oauth2_access_token")
    values = {name: seal_value(vault, "users", name, 1, 7) for name in columns}
    db.add(User(id=7, partner_id=1, connection_id=6, tag="ann", **values))
    await db.flush()
    later = datetime.now(UTC) + timedelta(minutes=10)
    verifier = seal_value(vault, "oauth_states", "verifier", 1, 8)
    state = {"state_digest": b"s", "browser_digest": b"b", "link_digest": b"l", "expires_at": later}
    db.add(OAuthState(id=8, partner_id=1, user_id=7, verifier=verifier, **state))
    row = uuid.UUID(int=9)
    content = seal_value(vault, "deliveries", "content", 1, row)
    db.add(Delivery(id=row, partner_id=1, user_id=7, endpoint_id=4, kind="new_mail", content=content))
    await db.flush()
    attempt = uuid.UUID(int=10)
    body = seal_value(vault, "attempts", "body", 1, attempt)
    db.add(Attempt(id=attempt, partner_id=1, delivery_id=row, number=1, milliseconds=1, body=body))
    return 7


async def decrypt_all(db, vault):
    """Decrypt every sealed value, each bound to its table, column and row; return them by column name."""
    found = {}
    for column in sealed_columns():
        key = [column.table.c.get("partner_id", literal(0)), column.table.c.id]
        for partner, row, value in await db.execute(select(*key, column).where(column.is_not(None))):
            place = Place(column.table.name, column.name, partner, str(row))
            found[str(column)] = vault.open_text(value, place)
    return found


async def test_rotation_encrypts_every_sealed_column_with_the_primary_key(sessionmaker, start_with):
    await start_with(OLD)
    async with sessionmaker.begin() as db:
        await add_sealed_rows(db, OLD)
    await start_with(BOTH)

    rotation = await rotate_keys(sessionmaker, BOTH)

    columns = {str(column) for column in sealed_columns()}
    assert rotation.resealed == dict.fromkeys(columns, 1)
    assert (rotation.unopened, rotation.unused) == ([], [OLD.primary.hex()])
    assert await stored_canaries(sessionmaker) == {NEW.primary.hex()}
    async with sessionmaker.begin() as db:
        assert await decrypt_all(db, NEW) == {name: name for name in columns}
    await start_with(NEW)
    assert sum((await rotate_keys(sessionmaker, NEW)).resealed.values()) == 0


async def test_rotation_loses_no_concurrent_write(sessionmaker, monkeypatch):
    monkeypatch.setattr(rotating, "BATCH_VALUES", 3)
    monkeypatch.setattr(rotating, "PASS_PAUSE_SECONDS", 0.0)
    async with sessionmaker.begin() as db:
        await add_sealed_rows(db, OLD)
        for row in range(100, 140):
            value = OLD.seal_text("before", Place("users", "login_password", 1, str(row)))
            db.add(User(id=row, partner_id=1, connection_id=6, tag=str(row), login_password=value))
    written, done = {}, asyncio.Event()

    async def write():
        """Write as a process that still has the old configuration: it encrypts with the old key."""
        for number in itertools.count():
            row = 100 + number * 7 % 40
            async with sessionmaker.begin() as db:
                value = OLD.seal_text(f"write {number}", Place("users", "login_password", 1, str(row)))
                await db.execute(update(User).where(User.id == row).values(login_password=value))
            written[row] = f"write {number}"
            if done.is_set() and number > 200:
                return

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        for _ in range(5):
            await rotate_keys(sessionmaker, BOTH)
        done.set()
    last = await rotate_keys(sessionmaker, BOTH)

    assert last.unopened == []
    async with sessionmaker.begin() as db:
        for row, value in await db.execute(select(User.id, User.login_password).where(User.id >= 100)):
            assert sealing_key_id(value) == NEW.primary
            clear = NEW.open_text(value, Place("users", "login_password", 1, str(row)))
            assert clear == written.get(row, "before")


async def test_rotation_keeps_a_value_that_changes_between_its_read_and_its_write(sessionmaker, monkeypatch):
    async with sessionmaker.begin() as db:
        await add_sealed_rows(db, OLD)
    newer = OLD.seal_text("newer", Place("users", "login_password", 1, "7"))
    read, raced = rotating._read, []

    async def read_before_another_write(db, vault, column, after):
        rows = await read(db, vault, column, after)
        if column.name == "login_password" and not raced:
            async with sessionmaker.begin() as other:
                await other.execute(update(User).values(login_password=newer))
            raced.append(column)
        return rows

    monkeypatch.setattr(rotating, "_read", read_before_another_write)
    rotation = await rotate_keys(sessionmaker, BOTH)

    assert rotation.resealed["users.login_password"] == 1
    async with sessionmaker.begin() as db:
        assert (await decrypt_all(db, NEW))["users.login_password"] == "newer"


async def test_rotation_skips_locked_rows_and_returns_to_them_later(sessionmaker, monkeypatch):
    async with sessionmaker.begin() as db:
        await add_sealed_rows(db, OLD)
    paused = asyncio.Event()

    async def pause(_):
        paused.set()
        await released.wait()

    released = asyncio.Event()
    monkeypatch.setattr(rotating, "sleep", pause)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        async with sessionmaker.begin() as db:
            await db.execute(select(Delivery).with_for_update())
            rotation = group.create_task(rotate_keys(sessionmaker, BOTH))
            await paused.wait()
        released.set()

    assert rotation.result().resealed["deliveries.content"] == 1


async def test_values_that_cannot_be_decrypted_are_reported_and_left_unchanged(sessionmaker):
    async with sessionmaker.begin() as db:
        await add_sealed_rows(db, OTHER)

    rotation = await rotate_keys(sessionmaker, BOTH)

    assert sum(rotation.resealed.values()) == 0
    assert len(rotation.unopened) == len(sealed_columns())
    assert all(OTHER.primary.hex() in fault for fault in rotation.unopened)
    async with sessionmaker.begin() as db:
        assert await decrypt_all(db, OTHER)


async def test_ciphertexts_moved_to_another_column_do_not_decrypt(sessionmaker):
    async with sessionmaker.begin() as db:
        await add_sealed_rows(db, OLD)
        await db.execute(update(User).values(login_password=User.oauth2_refresh_token))

        with pytest.raises(VaultError, match=r"users\.login_password of row 7 cannot be decrypted"):
            await decrypt_all(db, OLD)

"""Keys of partners: they give access to the API and sign webhooks exactly as long as they are valid."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from superimap.core import crypto
from superimap.core.crypto import Place, Vault, VaultError
from superimap.db.accounts import api_keys, partner_keys, partners, webhook_endpoints
from superimap.db.engine import sessions
from superimap.db.errors import Conflict, Invalid, NotFound
from superimap.db.models import ApiKey, Endpoint, SigningSecret
from superimap.domain.events import EventKind

HOUR = timedelta(hours=1)
VAULT = Vault.from_setting(crypto.generate_key())


@pytest.fixture
async def sessionmaker(database_url):
    async with sessions(database_url) as opened:
        yield opened


@pytest.fixture
async def acme(sessionmaker):
    async with sessionmaker.begin() as db:
        return await partners.create(db, VAULT, name="acme")


async def test_an_api_key_alone_identifies_its_partner(sessionmaker, acme):
    async with sessionmaker.begin() as db:
        await partners.create(db, VAULT, name="other")

        assert (await api_keys.find_caller(db, acme.api_key)).partner.id == acme.partner.id
        for wrong in ("", acme.api_key[:-1], acme.api_key.upper(), "\ud800", "a\0b"):
            assert await api_keys.find_caller(db, wrong) is None


async def test_no_secret_is_stored_in_clear_text(sessionmaker, acme):
    async with sessionmaker.begin() as db:
        key = (await db.scalars(select(ApiKey))).one()
        secret = (await db.scalars(select(SigningSecret))).one()

    assert acme.api_key.encode() not in key.secret
    assert key.hint == acme.api_key[:8]
    assert VAULT.open_text(
        secret.secret, Place("signing_secrets", "secret", acme.partner.id, str(secret.id))
    ) == (acme.signing_secret)


async def test_each_kind_of_webhook_has_an_endpoint_and_a_blank_url_clears_it(sessionmaker):
    async with sessionmaker.begin() as db:
        url = "https://a.example/hook"
        partner = (await partners.create(db, VAULT, name="acme", new_mail_webhook=url)).partner
        before = await webhook_endpoints.urls_by_kind(db, partner.id)
        await partners.update(db, partner.id, new_mail_webhook=" ", user_connected_webhook=url)
        after = await webhook_endpoints.urls_by_kind(db, partner.id)
        rows = (await db.scalars(select(Endpoint))).all()

    assert before == {
        EventKind.NEW_MAIL: url,
        EventKind.USER_CONNECTED: None,
        EventKind.USER_DISCONNECTED: None,
        EventKind.EVENTS: None,
    }
    assert after == {
        EventKind.NEW_MAIL: None,
        EventKind.USER_CONNECTED: url,
        EventKind.USER_DISCONNECTED: None,
        EventKind.EVENTS: None,
    }
    assert len(rows) == len(EventKind)


async def test_a_new_url_resets_the_health_of_its_endpoint_and_the_same_url_does_not(sessionmaker, acme):
    disabled = update(Endpoint).values(failures=12, breaker="open", disabled_at=datetime.now(UTC))
    async with sessionmaker.begin() as db:
        await partners.update(db, acme.partner.id, new_mail_webhook="https://a.example/1")
        await db.execute(disabled)
    left = []
    for url in ("https://a.example/1", "https://a.example/2"):
        async with sessionmaker.begin() as db:
            await partners.update(db, acme.partner.id, new_mail_webhook=url)
            endpoint = (await db.scalars(select(Endpoint).where(Endpoint.url == url))).one()
            left.append((endpoint.failures, endpoint.breaker, endpoint.disabled_at is not None))

    assert left == [(12, "open", True), (0, "closed", False)]


async def test_during_an_overlap_both_keys_are_accepted_and_the_old_one_signs_first(sessionmaker, acme):
    async with sessionmaker.begin() as db:
        new = (await api_keys.rotate(db, VAULT, acme.partner.id, overlap=HOUR)).secret
        material = await partner_keys.signing_keys(db, VAULT, acme.partner.id)

        assert material.api_keys == (acme.api_key, new)
        for key in material.api_keys:
            assert (await api_keys.find_caller(db, key)).partner.id == acme.partner.id


async def test_signing_secrets_are_listed_newest_first(sessionmaker, acme):
    async with sessionmaker.begin() as db:
        new = await partner_keys.rotate_signing_secret(db, VAULT, acme.partner.id, overlap=HOUR)
        material = await partner_keys.signing_keys(db, VAULT, acme.partner.id)

    assert material.secrets == (new, acme.signing_secret)


async def test_an_expired_key_is_not_accepted_and_signs_nothing(sessionmaker, acme):
    async with sessionmaker.begin() as db:
        new = (await api_keys.rotate(db, VAULT, acme.partner.id, overlap=timedelta())).secret

        assert await api_keys.find_caller(db, acme.api_key) is None
        assert (await partner_keys.signing_keys(db, VAULT, acme.partner.id)).api_keys == (new,)


async def test_rotating_again_never_prolongs_an_old_key(sessionmaker, acme):
    async with sessionmaker.begin() as db:
        await api_keys.rotate(db, VAULT, acme.partner.id, overlap=HOUR)
        first = (await api_keys.list_keys(db, acme.partner.id))[0].expires_at
        db.expire_all()
        await api_keys.rotate(db, VAULT, acme.partner.id, overlap=24 * HOUR)
        keys = await api_keys.list_keys(db, acme.partner.id)

    assert keys[0].expires_at == first
    assert keys[1].expires_at - first == 23 * HOUR
    assert keys[2].expires_at is None


async def test_concurrent_rotations_leave_one_key_that_does_not_expire(sessionmaker, acme):
    async def rotate():
        async with sessionmaker.begin() as db:
            return await api_keys.rotate(db, VAULT, acme.partner.id, overlap=HOUR)

    await asyncio.gather(rotate(), rotate(), rotate())

    async with sessionmaker.begin() as db:
        keys = await api_keys.list_keys(db, acme.partner.id)
    assert sum(key.expires_at is None for key in keys) == 1


async def test_a_retired_key_expires_at_once_and_the_last_key_cannot_be_retired(sessionmaker, acme):
    async with sessionmaker.begin() as db:
        await api_keys.rotate(db, VAULT, acme.partner.id, overlap=HOUR)
        old, new = await api_keys.list_keys(db, acme.partner.id)
        retired = await api_keys.retire(db, acme.partner.id, old.id)

        assert retired.expires_at <= datetime.now(UTC)
        assert await api_keys.find_caller(db, acme.api_key) is None
        with pytest.raises(Conflict, match="rotate it first"):
            await api_keys.retire(db, acme.partner.id, new.id)


async def test_another_partners_key_cannot_be_retired(sessionmaker, acme):
    async with sessionmaker.begin() as db:
        other = (await partners.create(db, VAULT, name="other")).partner
        key = (await api_keys.list_keys(db, other.id))[0]

        with pytest.raises(NotFound):
            await api_keys.retire(db, acme.partner.id, key.id)


async def test_a_key_moved_to_another_partner_signs_nothing(sessionmaker, acme):
    async with sessionmaker.begin() as db:
        other = (await partners.create(db, VAULT, name="other")).partner
        await db.execute(
            update(ApiKey).where(ApiKey.partner_id == acme.partner.id).values(partner_id=other.id)
        )

        with pytest.raises(VaultError, match="cannot be decrypted"):
            await partner_keys.signing_keys(db, VAULT, other.id)


async def test_partner_names_are_unique_regardless_of_letter_case(sessionmaker, acme):
    for change in ("create", "update"):
        with pytest.raises(Conflict, match="already"):
            async with sessionmaker.begin() as db:
                if change == "create":
                    await partners.create(db, VAULT, name="ACME")
                else:
                    other = (await partners.create(db, VAULT, name="other")).partner
                    await partners.update(db, other.id, name="ACME")


@pytest.mark.parametrize("name", ["", "  ", "17", "a\nb", "x" * 201])
async def test_ambiguous_partner_names_are_refused(sessionmaker, name):
    with pytest.raises(Invalid, match="name"):
        async with sessionmaker.begin() as db:
            await partners.create(db, VAULT, name=name)


async def test_an_unknown_partner_cannot_be_changed(sessionmaker):
    async with sessionmaker.begin() as db:
        with pytest.raises(NotFound):
            await partners.update(db, 404, name="x")
        with pytest.raises(NotFound):
            await api_keys.rotate(db, VAULT, 404, overlap=HOUR)
        assert not await partners.delete(db, 404)


async def test_deleting_a_partner_deletes_its_keys_and_endpoints(sessionmaker, acme):
    async with sessionmaker.begin() as db:
        assert await partners.delete(db, acme.partner.id)

        assert (await db.scalars(select(ApiKey))).all() == []
        assert (await db.scalars(select(Endpoint))).all() == []

"""Usage of encryption keys: what all processes encrypt is counted per key, without a statement per value."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import pytest

from fixtures.engines import as_role, execute
from superimap.core.crypto import MAX_SEALS_PER_KEY, Place, Vault
from superimap.db import canaries, key_usage, postgres
from superimap.db.privileges import Role

PLACE = Place("users", "login_password", 1, "1")


@pytest.fixture
async def vault(database_url):
    made = Vault([os.urandom(32)])
    async with postgres.transaction(database_url) as db:
        await canaries.verify_vault(db, made)
    await key_usage.record_seals(database_url, made)
    await execute(database_url, "UPDATE vault_canaries SET seals = 0")
    return made


async def usage(url: str) -> list[int]:
    async with postgres.transaction(url) as db:
        return [each.seals for each in await key_usage.read_key_usage(db)]


def seal(vault: Vault, count: int) -> None:
    for _ in range(count):
        vault.seal(b"x", PLACE)


@pytest.mark.parametrize("role", Role)
async def test_every_process_adds_what_it_encrypted(database_url, vault, role):
    seal(vault, 3)
    await key_usage.record_seals(as_role(database_url, role), vault)
    seal(vault, 2)
    await key_usage.record_seals(as_role(database_url, role), vault)

    assert await usage(database_url) == [5]


async def test_values_that_several_threads_encrypt_are_all_counted(vault):
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: seal(vault, 500), range(8)))

    assert vault.take_seals() == 4000
    assert vault.take_seals() == 0


async def test_a_count_that_cannot_be_written_is_written_later(database_url, vault):
    seal(vault, 4)
    with pytest.raises((OSError, asyncpg.PostgresError)):
        await key_usage.record_seals(database_url.replace("port=5432", "port=1"), vault)

    await key_usage.record_seals(database_url, vault)

    assert await usage(database_url) == [4]


async def test_counts_are_written_periodically_and_at_the_end(database_url, vault):
    async with key_usage.counting_seals(database_url, vault, every=0.01):
        seal(vault, 1)
        async with asyncio.timeout(10):
            while await usage(database_url) != [1]:
                await asyncio.sleep(0.01)
    async with key_usage.counting_seals(database_url, vault):
        seal(vault, 2)

    assert await usage(database_url) == [3]


async def test_a_key_needs_a_successor_long_before_the_limit(database_url, vault):
    async with postgres.transaction(database_url) as db:
        for seals, expected in ((MAX_SEALS_PER_KEY // 2 - 1, False), (MAX_SEALS_PER_KEY // 2, True)):
            await db.execute("UPDATE vault_canaries SET seals = $1", seals)
            (key,) = await key_usage.read_key_usage(db)
            assert key.needs_successor is expected

"""Sums of the users of each shard: kept by triggers, whoever changes a user, and merged or corrected later."""

from __future__ import annotations

import asyncio
import random

import asyncpg
import pytest
from alembic import command

from superimap.db import migrate
from superimap.db.delivery import shard_survey

WANTED = "NOT archived AND connected_at IS NOT NULL"
EXACT = f"""
    SELECT shard, count(*) AS wanted, bit_xor(hashint8extended(id, credentials_version)) AS digest
    FROM users WHERE {WANTED} GROUP BY shard
"""
SUMS = """
    SELECT shard, sum(wanted) AS wanted, bit_xor(digest) AS digest FROM shard_user_sums GROUP BY shard
    HAVING sum(wanted) <> 0 OR bit_xor(digest) <> 0
"""
PARTNERS = """
INSERT INTO partners (id, name) VALUES (1, 'one'), (2, 'two');
INSERT INTO providers (id, code, title, kind, imap_host, imap_port) VALUES (1, 'X', 'X', 'PLAIN', 'x', 993);
INSERT INTO connections (id, partner_id, provider_id) VALUES (1, 1, 1), (2, 2, 1);
"""
ADD = """
    INSERT INTO users (id, partner_id, connection_id, tag, connected_at)
    SELECT number, partner, partner, 'user ' || number, now()
    FROM (VALUES ($1::bigint, $2::bigint)) v(number, partner)
"""


@pytest.fixture
async def db(database_url):
    connection = await asyncpg.connect(database_url)
    await connection.execute(PARTNERS)
    yield connection
    await connection.close()


async def must_agree(db: asyncpg.Connection, *, users: int) -> None:
    exact = {tuple(row) for row in await db.fetch(EXACT)}
    assert {tuple(row) for row in await db.fetch(SUMS)} == exact
    assert sum(row[1] for row in exact) == users


CHANGES = [
    "archived = true", "archived = false", "connected_at = NULL", "connected_at = now()",
    "credentials_version = credentials_version + 1", "archived = true, connected_at = NULL",
    "credentials_version = credentials_version + 1, connected_at = now(), archived = false",
    "last_proven_alive_at = now()", "status = 'watching'",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
async def test_sums_are_those_of_the_users_after_any_changes(db, seed):
    chosen = random.Random(seed)
    ids = [1, 2, 4096 + 1, 4096 * 2 + 1, 3, 4096 + 3]
    for number in ids:
        await db.execute(ADD, number, 1 + number % 2)

    for _ in range(60):
        await db.execute(f"UPDATE users SET {chosen.choice(CHANGES)} WHERE id = $1", chosen.choice(ids))
        if chosen.random() < 0.1:
            await shard_survey.merge_sums(db)

    await must_agree(db, users=await db.fetchval(f"SELECT count(*) FROM users WHERE {WANTED}"))
    await db.execute("DELETE FROM users WHERE id = 3")
    await db.execute("DELETE FROM partners WHERE id = 1")
    await must_agree(db, users=await db.fetchval(f"SELECT count(*) FROM users WHERE {WANTED}"))


async def test_a_proof_of_life_and_a_status_add_no_row(db):
    await db.execute(ADD, 1, 1)
    before = await db.fetch("SELECT * FROM shard_user_sums")

    await db.execute("UPDATE users SET last_proven_alive_at = now(), status = 'watching', tag = 'new'")
    await db.execute("UPDATE users SET connected_at = now() - interval '1 day', archived = false")

    assert await db.fetch("SELECT * FROM shard_user_sums") == before


async def test_transactions_that_change_users_of_one_shard_do_not_wait_for_one_another(db, database_url):
    other = await asyncpg.connect(database_url)
    await db.execute(ADD, 1, 1)
    await db.execute(ADD, 4097, 1)
    await other.execute("SET lock_timeout = '1ms'")
    async with db.transaction():
        await db.execute("UPDATE users SET archived = true WHERE id = 1")
        async with other.transaction():
            await other.execute("UPDATE users SET archived = true WHERE id = 4097")
            assert await shard_survey.merge_sums(other) == 3

    await other.close()
    await must_agree(db, users=0)


async def test_merging_leaves_one_row_for_each_shard_in_batches(db):
    for number in (1, 4097, 8193, 2, 4098, 3):
        await db.execute(ADD, number, 1)

    merged = [await shard_survey.merge_sums(db, limit=3) for _ in range(3)]

    assert merged == [3, 2, 0]
    assert [
        tuple(row) for row in await db.fetch("SELECT shard, wanted FROM shard_user_sums ORDER BY shard")
    ] == [(1, 3), (2, 2), (3, 1)]
    await must_agree(db, users=6)


async def test_a_survey_corrects_what_was_written_without_triggers(db):
    for number in (1, 2, 3):
        await db.execute(ADD, number, 1)
    await db.execute("SET session_replication_role = replica")
    await db.execute("UPDATE users SET archived = true WHERE id = 1")
    await db.execute("UPDATE users SET credentials_version = 2 WHERE id = 2")
    await db.execute("SET session_replication_role = origin")

    surveys = [await shard_survey.survey_shards(db, range(4096)) for _ in range(2)]

    assert [survey.corrected for survey in surveys] == [(1, 2), ()]
    await must_agree(db, users=2)


async def test_a_migration_counts_the_users_that_exist(db, database_url):
    for number in (1, 4097, 2, 3):
        await db.execute(ADD, number, 1)
    await db.execute("UPDATE users SET archived = true WHERE id = 3")
    await asyncio.to_thread(command.downgrade, migrate.configuration(database_url), "0031")
    await db.execute("UPDATE users SET credentials_version = 7 WHERE id = 2")

    await asyncio.to_thread(migrate.upgrade, database_url)

    await must_agree(db, users=3)
    await db.execute("DELETE FROM users WHERE id = 1")
    await must_agree(db, users=2)

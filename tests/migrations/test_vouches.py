"""Vouches: what counts as the last proof of life, whatever process changes the user, and after a downgrade."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from alembic import command

from superimap.db import migrate

USERS = """
INSERT INTO partners (id, name) VALUES (1, 'one');
INSERT INTO providers (id, code, title, kind, imap_host, imap_port) VALUES (1, 'X', 'X', 'PLAIN', 'x', 993);
INSERT INTO connections (id, partner_id, provider_id) VALUES (1, 1, 1);
INSERT INTO users (id, partner_id, connection_id, tag, connected_at, last_proven_alive_at, vouched_by, vouch_slot)
SELECT n, 1, 1, 'user ' || n, now(), '2026-01-01 12:00Z', 7, n FROM generate_series(0, 3) n;
INSERT INTO vouches (voucher, turn, since, proven) VALUES
    (7, 0, '2026-01-01 12:30Z', B'110'), (7, 1, '2026-01-01 11:00Z', B'0111'), (7, 2, '2026-01-01 13:00Z', B'01'),
    (8, 0, '2026-01-01 15:00Z', B'1111');
"""
OWN, FIRST, THIRD = "12:00", "12:30", "13:00"
SHOWN = """
    SELECT array_agg(to_char(proven_alive_at(last_proven_alive_at, vouched_by, vouch_slot) AT TIME ZONE 'UTC',
                             'HH24:MI') ORDER BY id) FROM users
"""
OF_USERS = (
    "SELECT array_agg(to_char(last_proven_alive_at AT TIME ZONE 'UTC', 'HH24:MI') ORDER BY id) FROM users"
)
PROVEN = [FIRST, THIRD, OWN, OWN]
"""Users 2 and 3 are beyond the end of some vouches; their own vouch is older than what is written of them."""


@pytest.fixture
async def db(database_url):
    connection = await asyncpg.connect(database_url)
    await connection.execute(USERS)
    yield connection
    await connection.close()


async def test_the_last_proof_is_that_of_the_user_or_the_latest_vouch_with_its_bit(db):
    assert await db.fetchval(SHOWN) == PROVEN


@pytest.mark.parametrize("change", ["archived = true", "connected_at = NULL"])
async def test_a_user_who_is_not_to_be_watched_keeps_the_proof_without_the_vouches(db, change):
    await db.execute(f"UPDATE users SET {change}")
    await db.execute("UPDATE vouches SET since = now()")

    assert await db.fetchval(SHOWN) == PROVEN
    assert await db.fetchval("SELECT count(*) FROM users WHERE num_nonnulls(vouched_by, vouch_slot) > 0") == 0


async def test_a_downgrade_keeps_what_was_vouched(database_url, db):
    await asyncio.to_thread(command.downgrade, migrate.configuration(database_url), "0033")

    assert await db.fetchval(OF_USERS) == PROVEN


async def test_nobody_else_can_use_the_functions_of_the_triggers(db):
    await db.execute("CREATE ROLE stranger")
    try:
        for function in ("keep_proof()", "prevent_stall()"):
            assert not await db.fetchval("SELECT has_function_privilege('stranger', $1, 'EXECUTE')", function)
    finally:
        await db.execute("DROP ROLE stranger")

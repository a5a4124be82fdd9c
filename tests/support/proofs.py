"""Proofs of life as an idler records them, for tests that run no idler."""

from __future__ import annotations

from datetime import timedelta

import asyncpg

from superimap.db.watching import ownership, proofs

VOUCHER = 1
SHOWN = "proven_alive_at(last_proven_alive_at, vouched_by, vouch_slot)"
"""SQL for the last proof of life of a user, as people see it."""


async def own_all_shards(pool: asyncpg.Pool) -> int:
    """Return an idler that owns all shards."""
    idler = await ownership.join(pool, name="test", version="1", capacity=10, health_port=None)
    await pool.execute("UPDATE shards SET owner = $1, epoch = 1", idler)
    return idler


async def record_proof(pool: asyncpg.Pool, user_id: int, *, age: float = 0.0, idler: int = 0) -> None:
    """Record that the mail server of this user answered `age` seconds ago."""
    at = await proofs.read_clock(pool) - timedelta(seconds=age)
    await proofs.record_proofs(pool, {user_id: proofs.Proof(at, 0)}, voucher=VOUCHER, idler=idler)

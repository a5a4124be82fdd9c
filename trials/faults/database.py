"""Faults of PostgreSQL: killed, hanging, connections cut or taken, tables and rows locked, disk full."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from superimap.db.postgres import UNAVAILABLE
from trials.faults.fault_run import POSTS_IN_FLIGHT, FaultRun

TERMINATE_ACTIVE = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'active'
"""

TERMINATE_ALL_BUT_TAKER = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name <> 'taker'
"""

COUNT_BLOCKED = (
    "SELECT count(*) FROM pg_stat_activity WHERE query LIKE $2 AND $1 = ANY(pg_blocking_pids(pid))"
)
COUNT_DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
COUNT_LOCK_KEY = 0x534C_414E << 32  # the lock under which `under_way` counts; see migration 0013


async def f11_killed(run: FaultRun) -> None:
    """kill -9 of all of PostgreSQL, then a restart. Sessions with mail servers stay."""
    run.most_duplicates = POSTS_IN_FLIGHT
    await run.start_workers()
    connects = run.imap.connects
    pouring = asyncio.create_task(run.send_at_rate(run.scale.mails))
    await run.wait_for_webhooks(run.scale.mails // 10)
    await run.engines.postgres.kill()
    try:
        await asyncio.sleep(run.scale.away)
        await pouring
    finally:
        await run.engines.postgres.start()
    await run.wait_until_settled(within=90)
    if run.imap.connects != connects and run.scale.away < 20:  # in a longer outage an idler may be removed
        run.broken.append(f"{run.imap.connects - connects} sessions were not kept")


async def f12_hangs(run: FaultRun) -> None:
    """SIGSTOP of all of PostgreSQL for a while; then its active backends are killed repeatedly."""
    run.most_duplicates = POSTS_IN_FLIGHT
    await run.start_workers()
    pouring = asyncio.create_task(run.send_at_rate(run.scale.mails // 2))
    await run.wait_for_webhooks(run.scale.mails // 10)
    run.engines.postgres.pause()
    try:
        await asyncio.sleep(run.scale.away)
        await pouring
    finally:
        run.engines.postgres.resume()
    pouring = asyncio.create_task(run.send_at_rate(run.scale.mails // 2))
    killed = 0
    while not pouring.done():
        with contextlib.suppress(OSError, asyncpg.PostgresError):
            killed += len(await run.world.rows(TERMINATE_ACTIVE))
    run.extra_figures["backends_killed"] = killed
    await pouring


async def f13_taken(run: FaultRun) -> None:
    """Another client takes every connection while ours are cut; then the table of deliveries is locked."""
    run.most_duplicates = POSTS_IN_FLIGHT
    await run.start_workers()
    async with contextlib.AsyncExitStack() as stack:
        taken = await _take_all_connections(run, stack)
        await taken[0].execute(TERMINATE_ALL_BUT_TAKER)
        taken += await _take_all_connections(run, stack)
        run.send(run.scale.mails // 2)
        await asyncio.sleep(run.scale.away / 2)
    run.extra_figures["connections_taken"] = len(taken)
    async with contextlib.AsyncExitStack() as stack:
        db = await _connect_taker(run, stack)
        async with db.transaction():
            await db.execute("LOCK TABLE deliveries IN ACCESS EXCLUSIVE MODE")
            run.send(run.scale.mails // 2)
            await asyncio.sleep(run.scale.away / 2)


async def f13_deadlock(run: FaultRun) -> None:
    """Another client locks the rows of intake and claim in the opposite order. Settling waits for no lock."""
    await run.start_workers()
    run.send(run.scale.users)
    await run.wait_until_settled()
    pouring = asyncio.create_task(run.send_at_rate(run.scale.mails, rate=20))
    wanted, connects = 0, run.imap.connects
    for _ in range(min(3, run.scale.rounds)):
        for deadlock in DEADLOCK_CASES:
            await _provoke_deadlock(run, deadlock)
            wanted += 1
        await run.world.rows(
            "UPDATE endpoints SET breaker = 'closed', failures = 0, setbacks = 0, probe_at = NULL"
        )
    await pouring
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(10):
            while await run.world.value(COUNT_DEADLOCKS) < wanted:
                await asyncio.sleep(0.1)
    run.extra_figures["deadlocks"] = await run.world.value(COUNT_DEADLOCKS)
    if run.extra_figures["deadlocks"] < wanted:
        run.broken.append(f"{run.extra_figures['deadlocks']} deadlocks of {wanted}: the run proves nothing")
    if run.imap.connects != connects:
        run.broken.append(f"{run.imap.connects - connects} sessions were not kept")


@dataclass(frozen=True)
class Deadlock:
    """A statement of the processes (like `whose`) waits for `theirs`; then we request `ours`, which it holds."""

    whose: str
    theirs: str
    ours: str
    before: str = ""


DEADLOCK_CASES = (
    Deadlock(
        "%watched AS (%",
        "SELECT FROM mailboxes WHERE user_id = (SELECT min(id) FROM users) FOR UPDATE",
        "SELECT FROM shards WHERE shard = (SELECT shard FROM users ORDER BY id LIMIT 1) FOR UPDATE",
    ),
    Deadlock(
        "%under_way%",
        "SELECT FROM endpoints FOR NO KEY UPDATE",
        f"SELECT pg_advisory_xact_lock({COUNT_LOCK_KEY} + min(id)) FROM endpoints WHERE kind = 'new_mail'",
        before="UPDATE endpoints SET breaker = 'open', failures = 10, probe_at = now() + interval '2 s'",
    ),
)


async def _provoke_deadlock(run: FaultRun, deadlock: Deadlock) -> None:
    """Provoke a deadlock that PostgreSQL ends in the processes' statement, because our timeout is longer."""
    async with contextlib.AsyncExitStack() as stack:
        db = await _connect_taker(run, stack)
        await db.execute("SET deadlock_timeout = '1min'")
        if deadlock.before:
            await db.execute(deadlock.before)
            while await db.fetchval("SELECT count(*) FROM delivery_leases"):
                await asyncio.sleep(0.01)
        async with asyncio.timeout(45), db.transaction():
            await db.execute(deadlock.theirs)
            pid = await db.fetchval("SELECT pg_backend_pid()")
            while not await run.world.value(COUNT_BLOCKED, pid, deadlock.whose):
                await asyncio.sleep(0.005)
            await db.execute(deadlock.ours)


async def f13_disk_full(run: FaultRun) -> None:
    """PostgreSQL's disk is full, then it crashes because its log has no space; then there is space again."""
    run.most_duplicates = POSTS_IN_FLIGHT
    await run.start_workers()
    pouring = asyncio.create_task(run.send_at_rate(run.scale.mails))
    await run.wait_for_webhooks(run.scale.mails // 10)
    with _filled_disk(run.engines.disk):
        await pouring
        await asyncio.sleep(run.scale.away / 2)
        run.extra_figures["lost_connections"] = await _wait_for_crash(run)
        await asyncio.sleep(run.scale.away / 2)
    run.extra_figures["accepted_meanwhile"] = len(run.accepted)
    await run.wait_until_settled(within=120)


@contextlib.contextmanager
def _filled_disk(disk: Path | None) -> Iterator[None]:
    """Fill the disk for the length of the block."""
    assert disk is not None
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        os.posix_fallocate(file.fileno(), 0, max(1, shutil.disk_usage(disk).free))
        while file.write(b"x" * 4096):
            pass
    try:
        yield
    finally:
        filler.unlink()


async def _wait_for_crash(run: FaultRun) -> int:
    """Request new log files until the server crashes."""
    async with asyncio.timeout(30):
        while True:
            try:
                await run.world.rows("SELECT pg_switch_wal(), pg_logical_emit_message(true, 'x', 'y')")
            except asyncpg.DiskFullError:
                await asyncio.sleep(0.1)
            except UNAVAILABLE:
                return 1


async def _take_all_connections(run: FaultRun, stack: contextlib.AsyncExitStack) -> list[asyncpg.Connection]:
    """Open as many connections as the server allows; they close with the stack."""
    taken = []
    with contextlib.suppress(asyncpg.TooManyConnectionsError):
        while True:
            taken.append(await _connect_taker(run, stack))
    return taken


async def _connect_taker(run: FaultRun, stack: contextlib.AsyncExitStack) -> asyncpg.Connection:
    async with asyncio.timeout(30):
        while True:
            try:
                db = await asyncpg.connect(
                    run.world.database_url, server_settings={"application_name": "taker"}
                )
                break
            except ConnectionError:
                await asyncio.sleep(0.05)
    stack.push_async_callback(db.close)
    return db

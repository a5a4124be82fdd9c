"""Faults of PostgreSQL: killed, hanging, connections cut and taken, tables and rows locked, its disk full."""

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
from trials.faults.bed import IN_FLIGHT, Bed

OTHERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'active'
"""

CUT = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name <> 'taker'
"""

BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE $2 AND $1 = ANY(pg_blocking_pids(pid))"
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
COUNTING = 0x534C_414E << 32  # the lock under which `under_way` counts; see migration 0013


async def f11_killed(bed: Bed) -> None:
    """kill -9 of all of PostgreSQL, away, back. Sessions with mail servers stay."""
    bed.most_duplicates = IN_FLIGHT
    await bed.both()
    connects = bed.imap.connects
    pouring = asyncio.create_task(bed.pour(bed.scale.mails))
    await bed.arrived(bed.scale.mails // 10)
    await bed.engines.postgres.kill()
    try:
        await asyncio.sleep(bed.scale.away)
        await pouring
    finally:
        await bed.engines.postgres.start()
    await bed.settled(within=90)
    if bed.imap.connects != connects and bed.scale.away < 20:  # beyond, an idler may be struck off
        bed.broken.append(f"{bed.imap.connects - connects} sessions were not kept")


async def f12_hangs(bed: Bed) -> None:
    """SIGSTOP of all of PostgreSQL for a while; then what works in it is killed, again and again."""
    bed.most_duplicates = IN_FLIGHT
    await bed.both()
    pouring = asyncio.create_task(bed.pour(bed.scale.mails // 2))
    await bed.arrived(bed.scale.mails // 10)
    bed.engines.postgres.pause()
    try:
        await asyncio.sleep(bed.scale.away)
        await pouring
    finally:
        bed.engines.postgres.resume()
    pouring = asyncio.create_task(bed.pour(bed.scale.mails // 2))
    killed = 0
    while not pouring.done():
        with contextlib.suppress(OSError, asyncpg.PostgresError):
            killed += len(await bed.world.rows(OTHERS))
    bed.more["backends_killed"] = killed
    await pouring


async def f13_taken(bed: Bed) -> None:
    """Every connection is taken by somebody else, with ours cut; then the table of deliveries is locked."""
    bed.most_duplicates = IN_FLIGHT
    await bed.both()
    async with contextlib.AsyncExitStack() as stack:
        taken = await _take_all(bed, stack)
        await taken[0].execute(CUT)
        taken += await _take_all(bed, stack)
        bed.send(bed.scale.mails // 2)
        await asyncio.sleep(bed.scale.away / 2)
    bed.more["connections_taken"] = len(taken)
    async with contextlib.AsyncExitStack() as stack:
        db = await _taker(bed, stack)
        async with db.transaction():
            await db.execute("LOCK TABLE deliveries IN ACCESS EXCLUSIVE MODE")
            bed.send(bed.scale.mails // 2)
            await asyncio.sleep(bed.scale.away / 2)


async def f13_deadlock(bed: Bed) -> None:
    """Somebody locks what recording a mail and claiming lock, the other way round. An answer waits for nobody."""
    await bed.both()
    bed.send(bed.scale.users)
    await bed.settled()
    pouring = asyncio.create_task(bed.pour(bed.scale.mails, rate=20))
    wanted, connects = 0, bed.imap.connects
    for _ in range(min(3, bed.scale.rounds)):
        for embrace in EMBRACES:
            await _embrace(bed, embrace)
            wanted += 1
        await bed.world.rows(
            "UPDATE endpoints SET breaker = 'closed', failures = 0, setbacks = 0, probe_at = NULL"
        )
    await pouring
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(10):
            while await bed.world.value(DEADLOCKS) < wanted:
                await asyncio.sleep(0.1)
    bed.more["deadlocks"] = await bed.world.value(DEADLOCKS)
    if bed.more["deadlocks"] < wanted:
        bed.broken.append(f"{bed.more['deadlocks']} deadlocks of {wanted}: this proves nothing")
    if bed.imap.connects != connects:
        bed.broken.append(f"{bed.imap.connects - connects} sessions were not kept")


@dataclass(frozen=True)
class Embrace:
    """A statement of the processes (like `whose`) waits for `theirs`; then we ask for `ours`, which it holds."""

    whose: str
    theirs: str
    ours: str
    before: str = ""


EMBRACES = (
    Embrace(
        "%watched AS (%",
        "SELECT FROM mailboxes WHERE user_id = (SELECT min(id) FROM users) FOR UPDATE",
        "SELECT FROM shards WHERE shard = (SELECT shard FROM users ORDER BY id LIMIT 1) FOR UPDATE",
    ),
    Embrace(
        "%under_way%",
        "SELECT FROM endpoints FOR NO KEY UPDATE",
        f"SELECT pg_advisory_xact_lock({COUNTING} + min(id)) FROM endpoints WHERE kind = 'new_mail'",
        before="UPDATE endpoints SET breaker = 'open', failures = 10, probe_at = now() + interval '2 s'",
    ),
)


async def _embrace(bed: Bed, embrace: Embrace) -> None:
    """A deadlock that theirs has to end: our own patience is longer."""
    async with contextlib.AsyncExitStack() as stack:
        db = await _taker(bed, stack)
        await db.execute("SET deadlock_timeout = '1min'")
        if embrace.before:
            await db.execute(embrace.before)
            while await db.fetchval("SELECT count(*) FROM deliveries WHERE state = 'sending'"):
                await asyncio.sleep(0.01)
        async with asyncio.timeout(45), db.transaction():
            await db.execute(embrace.theirs)
            pid = await db.fetchval("SELECT pg_backend_pid()")
            while not await bed.world.value(BLOCKED, pid, embrace.whose):
                await asyncio.sleep(0.005)
            await db.execute(embrace.ours)


async def f13_disk_full(bed: Bed) -> None:
    """Not a byte is left on PostgreSQL's disk, then it dies for want of room for its log; then there is room."""
    bed.most_duplicates = IN_FLIGHT
    await bed.both()
    pouring = asyncio.create_task(bed.pour(bed.scale.mails))
    await bed.arrived(bed.scale.mails // 10)
    with _no_room(bed.engines.disk):
        await pouring
        await asyncio.sleep(bed.scale.away / 2)
        bed.more["lost_connections"] = await _until_it_dies(bed)
        await asyncio.sleep(bed.scale.away / 2)
    bed.more["accepted_meanwhile"] = len(bed.accepted)
    await bed.settled(within=120)


@contextlib.contextmanager
def _no_room(disk: Path | None) -> Iterator[None]:
    """All that is free there is taken."""
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


async def _until_it_dies(bed: Bed) -> int:
    """Ask for a new file of the log until the server is gone."""
    async with asyncio.timeout(30):
        while True:
            try:
                await bed.world.rows("SELECT pg_switch_wal(), pg_logical_emit_message(true, 'x', 'y')")
            except asyncpg.DiskFullError:
                await asyncio.sleep(0.1)
            except UNAVAILABLE:
                return 1


async def _take_all(bed: Bed, stack: contextlib.AsyncExitStack) -> list[asyncpg.Connection]:
    """As many connections as the server gives, closed with the stack."""
    taken = []
    with contextlib.suppress(asyncpg.TooManyConnectionsError):
        while True:
            taken.append(await _taker(bed, stack))
    return taken


async def _taker(bed: Bed, stack: contextlib.AsyncExitStack) -> asyncpg.Connection:
    async with asyncio.timeout(30):
        while True:
            try:
                db = await asyncpg.connect(
                    bed.world.database_url, server_settings={"application_name": "taker"}
                )
                break
            except ConnectionError:
                await asyncio.sleep(0.05)
    stack.push_async_callback(db.close)
    return db

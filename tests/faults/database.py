"""Faults of PostgreSQL: killed, hanging, its backends killed, its connections taken, its tables locked."""

from __future__ import annotations

import asyncio
import contextlib

import asyncpg

from tests.faults.bed import IN_FLIGHT, Bed

OTHERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'active'
"""

CUT = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name <> 'taker'
"""


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

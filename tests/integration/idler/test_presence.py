"""Presence of idlers on a real PostgreSQL: the end of a process is found at once, a living one is never fenced."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import asyncpg
import pytest
import pytest_asyncio

from fixtures.world import World, eventually
from superimap.db import postgres
from superimap.db.watching import intake, ownership
from superimap.db.watching import presence as cluster
from superimap.db.watching.intake import Fence, Fenced
from superimap.db.watching.presence import Server
from superimap.doorbells.postgres import IdlerDoorbell
from superimap.idler.presence import PresenceKeeper, PresenceTiming, absence_limit
from tests.support.db_proxy import DbProxy
from tests.support.idler_doorbells import listening

EXPIRY_SECONDS = 30.0
QUICK = PresenceTiming(check=0.01, absence=0.1, return_=0.1, retry=0.01, longest_retry=0.02)
PATIENT = PresenceTiming(check=0.01, absence=5.0, return_=5.0, retry=0.01, longest_retry=0.02)


@pytest_asyncio.fixture(scope="session")
async def template(whole_template: str) -> str:
    """These tests count shards."""
    return whole_template


@pytest_asyncio.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    async with postgres.pool(database_url, size=5) as opened:
        yield opened


@pytest_asyncio.fixture
async def proxy(world: World, open_folder) -> AsyncIterator[DbProxy]:
    folder = open_folder / "presence"
    folder.mkdir(exist_ok=True)
    opened = DbProxy(world.database_url, folder)
    await opened.open()
    yield opened
    await opened.close()


class Crew:
    """Idlers that join and show their presence; each ends as a process does that is killed."""

    def __init__(self, world: World, pool: asyncpg.Pool) -> None:
        self._world = world
        self._pool = pool
        self._running: dict[int, asyncio.Task[None]] = {}

    async def start(
        self,
        timing: PresenceTiming = QUICK,
        *,
        url: str | None = None,
        pool: asyncpg.Pool | None = None,
        interval: float = 0.1,
    ) -> int:
        """Start an idler; returns its id once it is registered."""
        idler = await ownership.join(self._pool, name="test", version="1", capacity=10, health_port=None)
        keeper = PresenceKeeper(
            url or self._world.database_url, pool or self._pool, idler, interval=interval, timing=timing
        )
        self._running[idler] = asyncio.create_task(keeper.run())
        await self.until("presence IS NOT NULL", idler)
        return idler

    async def kill(self, *idlers: int) -> None:
        """End these idlers: their sockets close, and nothing is said."""
        for idler in idlers:
            self._running[idler].cancel()
        await asyncio.gather(*(self._running.pop(idler) for idler in idlers), return_exceptions=True)

    async def until(self, condition: str, *idlers: int) -> None:
        """Wait until the rows of these idlers meet a condition in SQL."""
        sql = f"SELECT count(*) = $2 FROM idlers WHERE id = ANY($1) AND {condition}"
        await eventually(lambda: self._pool.fetchval(sql, idlers, len(idlers)), what=condition)


@pytest_asyncio.fixture
async def crew(world: World, pool: asyncpg.Pool) -> AsyncIterator[Crew]:
    hired = Crew(world, pool)
    yield hired
    await hired.kill(*hired._running)


async def take_all(pool: asyncpg.Pool, idler: int) -> dict[int, int]:
    return await ownership.take_shards(pool, idler, range(4096), expiry=EXPIRY_SECONDS)


async def view(pool: asyncpg.Pool, idler: int) -> ownership.ClusterView:
    return await ownership.read_cluster(pool, idler, expiry=EXPIRY_SECONDS, known={})


async def backend(pool: asyncpg.Pool, idler: int) -> int | None:
    """The process of PostgreSQL that holds the lock of this idler."""
    return await pool.fetchval(
        "SELECT l.pid FROM pg_locks l JOIN idlers i ON i.presence = l.objid::bigint"
        " WHERE l.locktype = 'advisory' AND l.mode = 'ExclusiveLock' AND i.id = $1",
        idler,
    )


async def absent_after(db: asyncpg.Connection, idler: int) -> dict[int, Server]:
    """Those of the three idlers after this one that hold no lock."""
    looked = await cluster.look_at_next(db, idler, limit=3)
    return {each: server for each, server in looked.items() if server is not None}


async def notified(world: World, idler: int, cause: Callable[[], Awaitable[object]]) -> bool:
    """Wait until `cause` starts a round of this idler; return whether it is one of the cluster."""
    doorbell = IdlerDoorbell(idler)
    async with listening(doorbell, world.database_url), asyncio.timeout(10):
        await doorbell.wait(math.inf)  # the round with which it begins
        await cause()
        return (await doorbell.wait(math.inf))[1]


async def test_the_shards_of_a_killed_idler_are_free_while_its_heartbeat_is_young(world, pool, crew):
    killed, other = await crew.start(), await crew.start()
    await take_all(pool, killed)

    assert await notified(world, other, lambda: crew.kill(killed))

    found = await view(pool, other)
    assert len(found.free) == 4096
    assert [member.id for member in found.members] == [other]
    assert await world.value(
        "SELECT heartbeat_at > now() - interval '20 s' FROM idlers WHERE id = $1", killed
    )
    assert len(await take_all(pool, other)) == 4096


@pytest.mark.parametrize(
    "change",
    [
        "presence = presence",
        "presence_server = presence_server - interval '1 hour'",
        "presence_server = presence_server - interval '1 hour', presence_address = '192.0.2.1'",
    ],
    ids=["alone", "with PostgreSQL", "during a failover"],
)
async def test_a_new_idler_finds_that_its_predecessor_was_killed(pool, crew, change):
    killed = await crew.start()
    await crew.kill(killed)
    await pool.execute(f"UPDATE idlers SET {change} WHERE id = $1", killed)

    await crew.start()

    await crew.until("absent_since IS NOT NULL", killed)


async def test_idlers_that_are_killed_together_are_found_together(pool, crew):
    """More than an idler looks at while all are present."""
    timing = replace(QUICK, absence=0.3)
    await crew.start(timing)
    killed = [await crew.start(PATIENT) for _ in range(7)]

    await crew.kill(*killed)

    await crew.until("absent_since IS NOT NULL", *killed)
    first, last = await pool.fetchrow("SELECT min(absent_since), max(absent_since) FROM idlers")
    assert (last - first).total_seconds() < timing.absence


async def test_an_idler_that_lost_its_own_connection_gives_the_others_time_to_return(pool, crew):
    timing = replace(QUICK, return_=0.5)
    looking, killed = await crew.start(timing, interval=10), await crew.start(PATIENT)
    before = await backend(pool, looking)
    await pool.execute("SELECT pg_terminate_backend($1)", before)

    async def is_back() -> bool:
        return await backend(pool, looking) not in {None, before}

    await eventually(is_back)
    ended_at = await pool.fetchval("SELECT clock_timestamp()")
    await crew.kill(killed)
    await crew.until("absent_since IS NOT NULL", killed)
    waited = await pool.fetchval("SELECT absent_since - $2 FROM idlers WHERE id = $1", killed, ended_at)
    assert waited.total_seconds() >= timing.return_


async def test_an_idler_that_holds_its_lock_cannot_be_marked(pool, crew):
    present, ended = await crew.start(PATIENT), await crew.start(PATIENT)
    await crew.kill(ended)
    async with pool.acquire() as db:
        await eventually(lambda: absent_after(db, present))

        assert await cluster.mark_absent(db, [present, ended]) == [ended]
        assert await cluster.mark_absent(db, [present, ended]) == [], "once is enough"


async def test_no_idler_returns_while_it_is_being_marked(pool, crew):
    present, ended = await crew.start(PATIENT), await crew.start(PATIENT)
    number = await pool.fetchval("SELECT presence FROM idlers WHERE id = $1", ended)
    await crew.kill(ended)
    async with pool.acquire() as db, pool.acquire() as returning:
        await eventually(lambda: absent_after(db, present))
        async with db.transaction():
            assert await cluster.mark_absent(db, [ended]) == [ended]
            lock = "SELECT pg_try_advisory_lock($1, $2)"
            assert not await returning.fetchval(lock, cluster.IDLER_LOCK_SPACE, number)


async def test_an_idler_whose_connection_breaks_locks_again_and_keeps_its_shards(pool, crew):
    cut, _ = await crew.start(PATIENT), await crew.start(PATIENT)
    await take_all(pool, cut)
    before = await backend(pool, cut)

    await pool.execute("SELECT pg_terminate_backend($1)", before)

    async def is_back() -> bool:
        return await backend(pool, cut) not in {None, before}

    await eventually(is_back)
    await crew.until("absent_since IS NULL", cut)
    assert len((await view(pool, cut)).mine) == 4096


async def test_an_idler_taken_for_dead_writes_nothing_notices_at_once_and_returns(world, pool, crew, proxy):
    partner = await world.partner()
    await world.provider("localhost", 1)
    await world.connection(partner)
    user = await world.user(partner, "u", login="u", password="pw")
    async with postgres.pool(proxy.url, size=1) as cut_pool:
        cut, other = await crew.start(url=proxy.url, pool=cut_pool), await crew.start()
        epochs = await take_all(pool, cut)

        await proxy.close()
        await crew.until("absent_since IS NOT NULL", cut)
        await take_all(pool, other)

        shard = user % 4096
        with pytest.raises(Fenced):
            await intake.visit_mailbox(
                pool,
                user_id=user,
                partner_id=partner.partner.id,
                version=1,
                account="u",
                name="INBOX",
                fence=Fence(shard, cut, epochs[shard]),
            )
        assert await notified(world, cut, proxy.open)
        await crew.until("absent_since IS NULL", cut)
        found = await view(pool, cut)
        assert {member.id for member in found.members} == {cut, other}
        assert not found.mine


async def test_an_idler_without_a_connection_for_its_presence_lives_by_its_lease(pool, crew, proxy):
    alone, other = await crew.start(url=proxy.url), await crew.start(PATIENT)
    await take_all(pool, alone)

    await proxy.close()
    await crew.until("presence IS NULL AND absent_since IS NULL", alone)

    found = await view(pool, other)
    assert {member.id for member in found.members} == {alone, other}
    assert not found.free
    await proxy.open()
    await crew.until("presence IS NOT NULL", alone)


@pytest.mark.parametrize(
    ("change", "server"),
    [
        ("presence = presence", Server.SAME),
        ("presence_server = presence_server - interval '1 hour'", Server.RESTARTED),
        (
            "presence_server = presence_server - interval '1 hour', presence_address = '192.0.2.1'",
            Server.OTHER,
        ),
    ],
)
async def test_it_is_known_on_which_server_an_absent_idler_held_its_lock(pool, crew, change, server):
    present, ended = await crew.start(PATIENT), await crew.start(PATIENT)
    await crew.kill(ended)
    await pool.execute(f"UPDATE idlers SET {change} WHERE id = $1", ended)

    async with pool.acquire() as db:
        absent = await eventually(lambda: absent_after(db, present))

    assert absent == {ended: server}


@pytest.mark.parametrize(
    ("server", "is_cautious", "seconds"),
    [
        (Server.SAME, False, 1),
        (Server.SAME, True, 3),  # other idlers may have lost their connections as this one has
        (Server.RESTARTED, False, 3),
        (Server.OTHER, False, 10),  # idlers may find it one after the other
        (Server.OTHER, True, 10),
    ],
)
def test_an_absence_counts_once_a_living_idler_would_have_returned(server, is_cautious, seconds):
    assert absence_limit(server, is_cautious=is_cautious, interval=10, timing=PresenceTiming()) == seconds


async def test_looking_costs_the_same_in_a_cluster_of_any_size(pool, crew):
    """Only the next idlers in the ring are looked at, past the end of the list too."""
    await pool.execute(
        "INSERT INTO idlers (name, version, capacity, presence, presence_server)"
        " SELECT 'x', '1', 1, 1000 + n, pg_postmaster_start_time() FROM generate_series(1, 9) n"
    )
    ids = [row["id"] for row in await pool.fetch("SELECT id FROM idlers ORDER BY id")]
    async with pool.acquire() as db:
        assert set(await absent_after(db, ids[4])) == set(ids[5:8])
        assert set(await absent_after(db, ids[7])) == {ids[8], ids[0], ids[1]}

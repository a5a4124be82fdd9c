"""Ownership of shards on a real PostgreSQL: taken once, handed over without a gap, never shared."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from fixtures.world import World, eventually
from superimap.core.health import Readiness
from superimap.db import postgres
from superimap.db.monitoring.cluster_status import read_cluster_status
from superimap.db.watching import intake
from superimap.db.watching import ownership as cluster
from superimap.db.watching.intake import Fence, Fenced
from superimap.doorbells.postgres import IdlerDoorbell
from superimap.idler import ownership
from superimap.idler.ownership import Ownership, RemovedFromCluster
from superimap.idler.supervisor import Supervisor
from superimap.launch import services
from tests.support.db_proxy import DbProxy
from tests.support.idler_doorbells import listening

EXPIRY_SECONDS = 30.0


@pytest_asyncio.fixture(scope="session")
async def template(whole_template: str) -> str:
    """These tests count shards."""
    return whole_template


@dataclass
class Idler:
    """An ownership with a supervisor whose sessions record the watched users in a ledger that all idlers share."""

    ownership: Ownership
    supervisor: Supervisor

    async def round(self) -> float:
        return await self.ownership.reconcile(self.supervisor)

    @property
    def shards(self) -> set[int]:
        return set(self.ownership.epochs)


class Ledger:
    """The idler that watches each user. Two at once are an error."""

    def __init__(self) -> None:
        self.watching: dict[int, int] = {}
        self.most_at_once = 0

    def starter(self, idler: int) -> Callable[[int, int], asyncio.Future[None]]:
        async def watch(user: int, _version: int) -> None:
            assert user not in self.watching, f"user {user} is watched twice"
            self.watching[user] = idler
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                del self.watching[user]

        return watch  # type: ignore[return-value]


@pytest_asyncio.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    async with postgres.pool(database_url, size=5) as opened:
        yield opened


@asynccontextmanager
async def joined(
    pool: asyncpg.Pool, ledger: Ledger, *, capacity: int = 100, interval: float = 0.0, login_rate: float = 1e6
) -> AsyncIterator[Idler]:
    number = await cluster.join(pool, name="test", version="1", capacity=capacity, health_port=None)
    owner = Ownership(pool, number, interval=interval, expiry=EXPIRY_SECONDS, login_rate=login_rate)
    supervisor = Supervisor(ledger.starter(number), max_sessions=capacity, ring=lambda: None)  # type: ignore[arg-type]
    try:
        yield Idler(owner, supervisor)
    finally:
        await supervisor.close()


async def expire_lease(world: World, idler: Idler) -> None:
    await world.rows(
        "UPDATE idlers SET heartbeat_at = now() - interval '1 minute' WHERE id = $1 RETURNING 1",
        idler.ownership.idler,
    )


async def add_users(world: World, count: int) -> None:
    partner = await world.partner()
    await world.provider("localhost", 1)
    await world.connection(partner)
    for number in range(count):
        await world.user(partner, f"u{number}", login=f"u{number}", password="pw")


async def reconcile_until_stable(*idlers: Idler) -> None:
    for _ in range(40):
        before = [each.shards for each in idlers]
        for each in idlers:
            await each.round()
        if before == [each.shards for each in idlers]:
            return
    raise AssertionError("shards still move")


async def test_a_new_idler_receives_its_share_and_no_user_is_watched_twice(world, pool):
    await add_users(world, 20)
    ledger = Ledger()
    async with joined(pool, ledger) as first, joined(pool, ledger) as second:
        await first.round()
        assert len(first.shards) + len(second.shards) <= 4096
        await reconcile_until_stable(first, second)
        async with joined(pool, ledger) as third:
            await reconcile_until_stable(first, second, third)
            await asyncio.sleep(0)

            assert not first.shards & second.shards
            assert len(first.shards | second.shards | third.shards) == 4096
            assert 0.8 < len(third.shards) / (4096 / 3) < 1.1
            assert len(ledger.watching) == 20
            owners = await world.rows("SELECT shard, owner, epoch FROM shards")
            assert all(
                each.ownership.epochs.get(row["shard"]) == row["epoch"]
                for row in owners
                for each in (first, second, third)
                if each.ownership.idler == row["owner"]
            )


async def test_a_stopping_idler_hands_everything_to_the_others(world, pool):
    await add_users(world, 10)
    ledger = Ledger()
    async with joined(pool, ledger) as first, joined(pool, ledger) as second:
        await reconcile_until_stable(first, second)
        await second.ownership.hand_everything_over(second.supervisor, within=10, longest_close=1)
        await second.ownership.leave()

        assert (
            await world.value("SELECT count(*) FROM shards WHERE owner = $1", first.ownership.idler) == 4096
        )
        await first.round()
        await asyncio.sleep(0)
        assert len(ledger.watching) == 10


async def test_a_shard_is_handed_over_only_when_its_sessions_have_ended(world, pool):
    await add_users(world, 30)
    ending, may_end = asyncio.Event(), asyncio.Event()

    async def watch(_user: int, _version: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ending.set()
            await may_end.wait()

    ledger = Ledger()
    async with joined(pool, ledger) as first:
        first.supervisor._start_session = watch
        await first.round()
        await asyncio.sleep(0)
        async with joined(pool, ledger) as second:
            moving = asyncio.create_task(first.round())
            theirs = "SELECT count(*) FROM shards WHERE owner = $1"
            await asyncio.wait(
                [moving, (ended := asyncio.create_task(ending.wait()))], return_when="FIRST_COMPLETED"
            )
            before = await world.value(theirs, second.ownership.idler)
            may_end.set()
            await moving
            ended.cancel()
            after = await world.value(theirs, second.ownership.idler)

        assert before == 0 < after


async def test_users_count_as_watched_no_longer_before_their_sessions_end_for_a_hand_over(world, pool):
    await add_users(world, 30)
    ending, may_end = asyncio.Event(), asyncio.Event()

    async def watch(_user: int, _version: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ending.set()
            await may_end.wait()

    async with joined(pool, Ledger()) as first:
        first.supervisor._start_session = watch
        await first.round()
        await asyncio.sleep(0)
        await world.rows("UPDATE users SET status = 'watching', last_login_at = now() RETURNING 1")
        assert (await read_cluster_status(pool, expiry=EXPIRY_SECONDS)).users.watched == 30

        async with joined(pool, Ledger()):
            moving = asyncio.create_task(first.round())
            await ending.wait()
            assert (await read_cluster_status(pool, expiry=EXPIRY_SECONDS)).users.watched < 30
            may_end.set()
            await moving


async def test_a_shard_that_returns_to_its_owner_has_a_new_epoch(world, pool):
    async with joined(pool, Ledger()) as first, joined(pool, Ledger()) as second:
        await reconcile_until_stable(first, second)
        here, there = first.ownership.idler, second.ownership.idler
        shard, epoch = next(iter(first.ownership.epochs.items()))

        await cluster.hand_over_shards(pool, here, there, [shard])
        await cluster.hand_over_shards(pool, there, here, [shard])

        row = await world.rows("SELECT owner, epoch FROM shards WHERE shard = $1", shard)
        assert (row[0]["owner"], row[0]["epoch"]) == (here, epoch + 2)


async def test_the_last_idler_to_stop_releases_its_shards(world, pool):
    async with joined(pool, Ledger()) as only:
        await only.round()
        await only.ownership.hand_everything_over(only.supervisor, within=10, longest_close=1)

        assert await world.value("SELECT count(*) FROM shards WHERE owner IS NULL") == 4096


async def test_a_round_without_changes_is_one_statement_and_reads_no_user(world, pool, monkeypatch):
    await add_users(world, 5)
    ledger = Ledger()
    reads: list[Any] = []
    real = cluster.read_changed_users

    async def noted(*given: Any, **more: Any) -> Any:
        reads.append(given)
        return await real(*given, **more)

    monkeypatch.setattr(cluster, "read_changed_users", noted)
    async with joined(pool, ledger) as only:
        await reconcile_until_stable(only)
        reads.clear()
        view = await cluster.read_cluster(
            pool, only.ownership.idler, expiry=EXPIRY_SECONDS, known=only.supervisor.digests
        )
        assert (view.changed.users, reads) == ({}, [])

        await world.rows("UPDATE users SET credentials_version = 2 WHERE tag = 'u3' RETURNING 1")
        view = await cluster.read_cluster(
            pool, only.ownership.idler, expiry=EXPIRY_SECONDS, known=only.supervisor.digests
        )

        ((user, version),) = [item for people in view.changed.users.values() for item in people.items()]
        assert version == 2
        assert user == await world.value("SELECT id FROM users WHERE tag = 'u3'")


@pytest.mark.parametrize("column", ["archived = true", "connected_at = NULL"])
async def test_the_next_round_ends_sessions_of_users_no_longer_to_be_watched(world, pool, column):
    await add_users(world, 2)
    ledger = Ledger()
    async with joined(pool, ledger) as only:
        await reconcile_until_stable(only)
        await asyncio.sleep(0)
        assert len(ledger.watching) == 2

        await world.rows(f"UPDATE users SET {column} WHERE tag = 'u1' RETURNING 1")
        await only.round()

        await eventually(lambda: asyncio.sleep(0, len(ledger.watching) == 1))


async def test_an_idler_that_lost_its_lease_writes_nothing_and_ends_its_sessions(world, pool):
    await add_users(world, 3)
    ledger, theirs = Ledger(), Ledger()
    async with joined(pool, ledger) as expired, joined(pool, theirs) as successor:
        await world.rows(
            "UPDATE idlers SET is_stopping = true WHERE id = $1 RETURNING 1", successor.ownership.idler
        )
        await reconcile_until_stable(expired)
        await world.rows(
            "UPDATE idlers SET is_stopping = false WHERE id = $1 RETURNING 1", successor.ownership.idler
        )
        old = dict(expired.ownership.epochs)
        await expire_lease(world, expired)
        await successor.round()
        assert len(successor.shards) == 4096

        user = await world.rows("SELECT id, partner_id, shard FROM users LIMIT 1")
        fence = Fence(user[0]["shard"], expired.ownership.idler, old[user[0]["shard"]])
        with pytest.raises(Fenced):
            await intake.visit_mailbox(
                pool,
                user_id=user[0]["id"],
                partner_id=user[0]["partner_id"],
                version=1,
                account="u",
                name="INBOX",
                fence=fence,
            )
        # The lease is renewed, but the shards belong to the other idler.
        await expired.ownership.renew_lease(expired.supervisor)
        await expired.round()
        assert not ledger.watching
        assert not expired.shards & successor.shards


async def test_shards_of_an_unresponsive_idler_are_not_taken_over_before_it_had_time_to_return(world, pool):
    async with joined(pool, Ledger()) as other:
        await other.round()
        await expire_lease(world, other)
        async with joined(pool, Ledger(), interval=60.0) as waiting:
            again = await waiting.round()
            assert not waiting.shards
            assert again <= 60.0
            await other.ownership.renew_lease(other.supervisor)
            await waiting.round()
            assert len(other.shards) == 4096


async def test_an_idler_gives_the_others_time_to_return_after_an_outage_too(world, pool, monkeypatch):
    now = 0.0
    monkeypatch.setattr(ownership.time, "monotonic", lambda: now)
    async with joined(pool, Ledger()) as other:
        await other.round()
        async with joined(pool, Ledger(), interval=60.0) as waiting:
            now += 61.0  # it was started long ago
            waiting.ownership.delay_takeovers()
            await expire_lease(world, other)
            await waiting.round()
            assert not waiting.shards

            now += 61.0
            await waiting.round()
            assert len(waiting.shards) == 4096


async def test_an_outage_of_postgresql_delays_takeovers(world, tmp_path, monkeypatch):
    delayed = asyncio.Event()
    monkeypatch.setattr(Ownership, "delay_takeovers", lambda _: delayed.set())
    proxy, health, stop = DbProxy(world.database_url, tmp_path), Readiness(), asyncio.Event()
    await proxy.open()
    settings = world.settings.model_copy(update={"database_url": proxy.url})
    idler = asyncio.create_task(services.run_idler(settings, stop, health))
    await eventually(lambda: asyncio.sleep(0, health.is_ready))
    assert not delayed.is_set()

    await proxy.close()
    await asyncio.wait_for(delayed.wait(), 10)
    stop.set()
    await idler


async def test_free_shards_are_taken_even_while_takeovers_are_delayed(world, pool):
    async with joined(pool, Ledger(), interval=60.0) as waiting:
        await waiting.round()

        assert len(waiting.shards) == 4096


async def test_a_round_starts_when_a_lease_is_about_to_expire(world, pool):
    async with joined(pool, Ledger()) as silent, joined(pool, Ledger()) as other:
        await world.rows(
            "UPDATE idlers SET heartbeat_at = now() - interval '28 seconds' WHERE id = $1 RETURNING 1",
            silent.ownership.idler,
        )

        assert 0 < await other.round() < 2.5


async def test_users_that_do_not_fit_move_to_idlers_with_room_and_the_rest_are_counted(world, pool):
    await add_users(world, 12)
    ledger = Ledger()
    async with joined(pool, ledger, capacity=5) as first, joined(pool, ledger, capacity=5) as second:
        await reconcile_until_stable(first, second)
        await asyncio.sleep(0)
        assert len(ledger.watching) == 10, "all slots are taken"
        assert first.supervisor.users + second.supervisor.users == 12, "users without a slot count too"

        async with joined(pool, ledger, capacity=5) as third:
            await reconcile_until_stable(first, second, third)
            await eventually(lambda: asyncio.sleep(0, len(ledger.watching) == 12))


async def test_a_reservation_never_exceeds_the_remaining_capacity(pool):
    async with joined(pool, Ledger(), capacity=10) as target:
        number = target.ownership.idler

        async def reserve(count: int) -> bool:
            return await cluster.reserve_capacity(
                pool, number, users=count, shards=1, max_users=10, max_shards=100, expiry=EXPIRY_SECONDS
            )

        assert sorted(await asyncio.gather(reserve(6), reserve(6))) == [False, True]
        assert await reserve(4)
        assert not await reserve(1)
        assert await reserve(0)


async def test_shards_reserved_by_an_idler_that_left_become_free(world, pool):
    async with joined(pool, Ledger()) as first:
        await first.round()
        await cluster.hand_over_shards(pool, first.ownership.idler, 999_999, [1, 2])

        assert await world.value("SELECT count(*) FROM shards WHERE owner IS NULL") == 2


async def test_an_idler_removed_from_the_cluster_must_start_again(world, pool):
    async with joined(pool, Ledger()) as silent, joined(pool, Ledger()) as other:
        await world.rows(
            "UPDATE idlers SET heartbeat_at = now() - interval '1 hour' WHERE id = $1 RETURNING 1",
            silent.ownership.idler,
        )
        await other.ownership.renew_lease(other.supervisor)
        with pytest.raises(RemovedFromCluster):
            await silent.ownership.renew_lease(silent.supervisor)


async def test_constant_user_changes_do_not_prevent_rounds(world, pool):
    doorbell = IdlerDoorbell(1)
    due = asyncio.get_running_loop().time() + 0.2

    async def ring() -> None:
        while True:
            doorbell.ring()
            await asyncio.sleep(0.01)

    ringing = asyncio.create_task(ring())
    try:
        async with asyncio.timeout(10):
            while not (await doorbell.wait(due))[1]:
                pass
    finally:
        ringing.cancel()


async def test_only_the_idlers_concerned_are_notified(world, pool):
    async with joined(pool, Ledger()) as first, joined(pool, Ledger()) as second:
        await first.round()
        bell, other = IdlerDoorbell(second.ownership.idler), IdlerDoorbell(first.ownership.idler)
        async with listening(bell, world.database_url), listening(other, world.database_url):
            loop = asyncio.get_running_loop()
            for each in (bell, other):  # each begins with a round
                assert (await each.wait(loop.time() + 10))[1]
            await cluster.hand_over_shards(pool, first.ownership.idler, second.ownership.idler, [1])

            assert (await bell.wait(loop.time() + 10))[1]
            assert not other._has_cluster_changed

"""Vouches: a quiet user costs no write, and nothing vouches for a session that is not proven alive."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import sys
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import asyncpg
import pytest
import pytest_asyncio

from fixtures.world import World, eventually
from superimap.db.delivery import liveness
from superimap.db.watching import proofs
from superimap.domain.shards import SHARD_COUNT
from superimap.idler import voucher, vouching
from superimap.idler.liveness import LivenessProofs
from superimap.idler.open_watches import OpenWatches
from superimap.idler.vouching import Clocks, Vouching
from superimap.testing import ImapServer
from tests.integration.idler.test_liveness import QUICK, state, wait_for_status, watched
from tests.integration.idler.test_watching import idling, set_up
from tests.support.processes import environment
from tests.support.proofs import own_all_shards

START_TIMEOUT_SECONDS = 40.0  # for a process to start and sign in, on a busy machine
FEW_TURNS = dataclasses.replace(QUICK, proof_interval=0.02)
"""Vouches are replaced after 64 turns: 1.3 s."""

IDLER = """
import asyncio, dataclasses
from superimap.core.environment import load_settings
from superimap.core.health import Readiness
from superimap.idler.main import serve
from tests.integration.idler.test_liveness import QUICK
timing = dataclasses.replace(QUICK, proof_interval=0.2)
asyncio.run(serve(load_settings(), asyncio.Event(), Readiness(), timing=timing))
"""
"""Its vouches last for 64 intervals, which is longer than a round of IDLE."""


@pytest_asyncio.fixture
async def pool(world: World) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(world.database_url, min_size=1, max_size=4) as made:
        yield made


@pytest_asyncio.fixture
async def joe(world: World, imap: ImapServer) -> int:
    """A user who is to be watched, connected long ago."""
    partner = await set_up(world, imap)
    joe = await world.user(partner, "joe", login="joe", password="pw")
    await world.rows("UPDATE users SET connected_at = now() - interval '9 days'")
    return joe


async def shown(world: World, user_id: int) -> datetime:
    return cast(datetime, (await state(world, user_id))["shown"])


async def moved_on(world: World, user_id: int, since: datetime) -> None:
    """Wait until a later proof of life is shown."""

    async def is_later() -> bool:
        return await shown(world, user_id) > since

    await eventually(is_later)


async def is_vouched_for(world: World, user_id: int, *, within: float = 15.0) -> None:
    """Wait until vouches count for this user."""

    async def has_voucher() -> bool:
        return (await state(world, user_id))["vouched_by"] is not None

    await eventually(has_voucher, within=within)


async def later_turns(world: World, since: datetime, *, count: int = 5) -> None:
    """Wait until idlers have vouched several times since then, for whomever."""

    async def are_there() -> bool:
        return await world.value("SELECT count(*) FROM vouches WHERE since > $1", since) >= count

    await eventually(are_there)


async def say(imap: ImapServer) -> None:
    """Send something to Joe's session."""
    (session,) = imap.sessions_of("joe")
    session.send(b"* OK Still here\r\n")


async def clock(world: World) -> datetime:
    return cast(datetime, await world.value("SELECT clock_timestamp()"))


# Real idlers and a mail server.


async def test_a_quiet_user_is_shown_as_proven_without_a_write_of_its_row(world, imap, joe):
    async with watched(world, idle_renew=0.2):
        await idling(imap)
        await is_vouched_for(world, joe)
        version = await world.value("SELECT xmin::text || ctid::text FROM users")
        for _ in range(3):
            before = await clock(world)
            await moved_on(world, joe, before - timedelta(seconds=QUICK.proof_interval * 2))
            assert await shown(world, joe) < await clock(world)

    assert await world.value("SELECT xmin::text || ctid::text FROM users") == version


async def test_a_silent_session_is_not_vouched_for_and_keeps_its_last_proof(world, imap, pool, joe):
    async with watched(world, FEW_TURNS):
        await idling(imap)
        await is_vouched_for(world, joe)
        await later_turns(world, await clock(world))
        await world.rows("UPDATE users SET last_proven_alive_at = last_proven_alive_at - interval '1 h'")
        last = await shown(world, joe)

        async def is_kept() -> bool:
            return (await state(world, joe))["last_proven_alive_at"] == last

        await later_turns(world, await clock(world))
        assert await shown(world, joe) == last
        await eventually(is_kept)
        await world.rows("DELETE FROM vouches")
        await later_turns(world, await clock(world))

        assert len(imap.sessions_of("joe")) == 1
        assert await shown(world, joe) == last
        assert await liveness.mark_stalled(pool, after=0.0) == 1
        assert (await state(world, joe))["last_proven_alive_at"] == last

        await say(imap)
        await wait_for_status(world, joe, "watching")
        await moved_on(world, joe, last)

    kinds = [row["kind"] for row in await world.rows("SELECT kind FROM user_events ORDER BY id")]
    assert kinds == ["stalled", "recovered"]


async def test_a_user_whose_session_has_ended_is_not_vouched_for(world, imap, joe):
    async with watched(world, idle_renew=0.2):
        await idling(imap)
        await is_vouched_for(world, joe)
        imap.accounts["joe"].password = "other"
        imap.drop_all()
        await wait_for_status(world, joe, "authentication_failed")
        await later_turns(world, await clock(world), count=2)
        last = await shown(world, joe)
        await later_turns(world, await clock(world))

        assert await shown(world, joe) == last


async def test_an_archived_user_keeps_the_last_proof_and_is_not_vouched_for(world, imap, joe):
    async with watched(world, idle_renew=0.2):
        await idling(imap)
        await is_vouched_for(world, joe)
        last = await shown(world, joe)
        await world.change_user(cast(Any, await the_partner(world)), "joe", archived=True)
        kept = await shown(world, joe)
        assert kept >= last
        assert (await state(world, joe))["vouched_by"] is None
        await imap.wait_for(lambda: not imap.sessions_of("joe"))
        await later_turns(world, await clock(world))
        assert await shown(world, joe) == kept

        await world.change_user(cast(Any, await the_partner(world)), "joe", archived=False)
        await moved_on(world, joe, kept)


async def the_partner(world: World) -> Any:
    (row,) = await world.rows("SELECT id FROM partners")
    return SimpleNamespace(partner=SimpleNamespace(id=row["id"]))


@contextlib.asynccontextmanager
async def idler_process(world: World) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run an idler in a process of its own, which the test may kill or freeze."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", IDLER),
        cwd=Path(__file__).parents[3],
        env=environment(world, HEARTBEAT_EXPIRY="600", IDLE_RENEW="5", PYTHONPATH=os.pathsep.join(sys.path)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


async def test_a_killed_idler_vouches_no_longer_and_its_last_vouches_are_kept(world, imap, pool, joe):
    async with idler_process(world) as process:
        await is_vouched_for(world, joe, within=START_TIMEOUT_SECONDS)
        await wait_for_status(world, joe, "watching")
        await later_turns(world, await clock(world), count=2)
        process.kill()
        await process.wait()
    await world.rows("UPDATE users SET last_proven_alive_at = now() - interval '1 h'")
    killed_at, last = await clock(world), await shown(world, joe)
    assert killed_at - timedelta(seconds=30) < last < killed_at
    (voucher_id,) = await liveness.find_ended_vouchers(pool, silence=0)
    assert await liveness.find_ended_vouchers(pool) == []  # it has reported within ten minutes
    assert await liveness.mark_stalled(pool, after=900) == 0

    assert await liveness.keep_vouched(pool, [voucher_id]) == 0  # it could be back
    assert await liveness.keep_vouched(pool, [voucher_id], silence=0) == 1
    await liveness.delete_vouches(pool, [voucher_id], silence=0)

    assert await world.value("SELECT count(*) FROM vouches") == 0
    assert (await state(world, joe))["last_proven_alive_at"] == last
    assert await shown(world, joe) == last
    assert await liveness.mark_stalled(pool, after=0.0) == 1


async def test_a_frozen_idler_vouches_for_nobody(world, imap, joe):
    async with idler_process(world) as process:
        await is_vouched_for(world, joe, within=START_TIMEOUT_SECONDS)
        process.send_signal(signal.SIGSTOP)
        frozen_at, last = await clock(world), await shown(world, joe)
        await say(imap)

        async def has_time_passed() -> bool:
            return await clock(world) > frozen_at + timedelta(seconds=QUICK.proof_interval * 20)

        await eventually(has_time_passed)
        assert await shown(world, joe) == last < frozen_at

        process.send_signal(signal.SIGCONT)
        await moved_on(world, joe, frozen_at)


# One idler, whose sessions are made by the test.


@dataclasses.dataclass
class FakeClient:
    last_proven_alive: float = 0.0

    def receive(self) -> None:
        self.last_proven_alive = asyncio.get_running_loop().time()


class Bench:
    """An idler with a session of one user, on a real database."""

    def __init__(self, pool: asyncpg.Pool, idler: int, user_id: int) -> None:
        self.user_id = user_id
        self.client = FakeClient()
        self.proofs = LivenessProofs()
        self.owner = SimpleNamespace(idler=idler, epochs={user_id % SHARD_COUNT: 1})
        self.watches = OpenWatches()
        self.ending = contextlib.ExitStack()
        self.ending.enter_context(self.session)
        self.vouching = Vouching(
            pool, self.proofs, self.owner, self.watches, interval=30.0, longest_silence=315.0
        )

    @property
    def session(self) -> contextlib.AbstractContextManager[None]:
        return self.proofs.track(self.user_id, self.user_id % SHARD_COUNT, cast(Any, self.client))

    async def report(self, *, is_late: bool = False) -> None:
        await self.vouching.report(is_late=is_late)

    async def receive_and_report(self, *, is_late: bool = False) -> None:
        self.client.receive()
        await self.report(is_late=is_late)


@pytest_asyncio.fixture
async def bench(world: World, pool: asyncpg.Pool, joe: int) -> AsyncIterator[Bench]:
    """Joe's session was registered by its first proof."""
    await world.rows("UPDATE users SET status = 'watching'")
    made = Bench(pool, await own_all_shards(pool), joe)
    with made.ending:
        await made.vouching.report()
        await made.receive_and_report()
        assert joe in made.vouching._voucher.trusted
        await made.report()  # the next interval begins after the proof
        yield made


async def take_over(world: World) -> None:
    """Give all shards to another idler, who has opened nothing yet."""
    await world.rows("INSERT INTO idlers (name, version, capacity) VALUES ('other', '1', 10)")
    await world.rows("UPDATE shards SET epoch = epoch + 1, owner = (SELECT max(id) FROM idlers)")


async def test_an_idler_whose_shard_was_taken_over_vouches_for_nobody(world, joe, bench):
    await bench.receive_and_report()
    last = await shown(world, joe)
    await take_over(world)

    for _ in range(3):
        await bench.receive_and_report()

    assert await shown(world, joe) == last
    bench.owner.epochs = {}  # it has noticed
    for _ in range(voucher.MAX_TURNS):
        await bench.receive_and_report()
    assert await shown(world, joe) == last


async def test_an_idler_without_the_shard_takes_no_user_from_the_new_owner(world, joe, bench):
    await take_over(world)
    await world.rows("UPDATE users SET vouched_by = 7, vouch_slot = 0")

    for _ in range(3):
        bench.watches.losses += 1  # everything is written again
        await bench.receive_and_report()

    assert (await state(world, joe))["vouched_by"] == 7


async def test_an_idler_that_was_found_absent_vouches_for_nobody(world, joe, bench):
    await world.rows("UPDATE idlers SET absent_since = now()")
    last = await shown(world, joe)

    await bench.receive_and_report()

    assert await shown(world, joe) == last


async def test_what_could_not_be_reported_is_written_with_the_next_report(world, joe, bench, monkeypatch):
    async def unreachable(*_: Any) -> None:
        raise OSError

    last = await shown(world, joe)
    monkeypatch.setattr(proofs, "read_clock", unreachable)
    await bench.receive_and_report()
    assert await shown(world, joe) == last
    monkeypatch.undo()
    await bench.report()

    await moved_on(world, joe, last)


async def none_doubtful(*_: Any, **__: Any) -> set[int]:
    return set()


async def test_a_user_is_stalled_since_the_last_vouch_which_is_kept(world, pool, joe, bench):
    await world.rows("UPDATE users SET last_proven_alive_at = now() - interval '1 h'")
    assert await liveness.mark_stalled(pool, after=900) == 0
    await world.rows("UPDATE vouches SET since = since - interval '950 s'")
    last = await shown(world, joe)

    assert await liveness.mark_stalled(pool, after=1000) == 0
    assert await liveness.mark_stalled(pool, after=900) == 1

    assert (await state(world, joe))["last_proven_alive_at"] == last


async def test_a_stall_during_an_outage_ends_with_the_next_proof(world, pool, joe, bench, monkeypatch):
    async def unreachable(*_: Any) -> None:
        raise OSError

    monkeypatch.setattr(proofs, "read_clock", unreachable)
    await bench.receive_and_report()
    monkeypatch.undo()
    monkeypatch.setattr(proofs, "find_doubtful", none_doubtful)
    await world.rows("UPDATE vouches SET since = since - interval '1 h'")
    await world.rows("UPDATE users SET last_proven_alive_at = NULL")
    assert await liveness.mark_stalled(pool, after=900) == 1

    await bench.report()
    assert (await state(world, joe))["status"] == "stalled"
    await bench.receive_and_report()

    assert (await state(world, joe))["status"] == "watching"


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_vouch_that_does_not_count_any_more_is_made_to_count_again(world, joe, bench, is_known):
    """As after the failover to a replica that lacks the last writes, noticed by the heartbeat or not."""
    await world.rows("UPDATE users SET vouched_by = NULL, vouch_slot = NULL")
    if is_known:
        bench.watches.losses += 1
        await bench.report()
        assert (await state(world, joe))["vouched_by"] is not None
    else:
        await bench.report()
        await bench.receive_and_report()

    last = await shown(world, joe)
    await bench.report()
    await bench.receive_and_report()
    assert await shown(world, joe) > last


async def test_a_user_whose_session_begins_again_is_shown_as_proven_at_once(world, joe, bench):
    """Nobody vouched for it meanwhile, or another idler did. It would be its turn to be checked minutes later."""
    others = range(10_000, 10_000 + 100 * voucher.CHECK_TURNS)
    bench.vouching._voucher.trusted.update(others)
    bench.vouching._voucher._unchecked = list(others)
    bench.ending.close()
    await world.rows("UPDATE users SET archived = true")
    await world.rows("UPDATE users SET archived = false, last_proven_alive_at = now() - interval '1 h'")

    with bench.session:
        await bench.receive_and_report()

    assert await shown(world, joe) > await clock(world) - timedelta(minutes=1)


async def test_what_is_received_after_a_block_has_only_the_time_of_the_interval(world, joe, bench):
    before = await clock(world)
    with contextlib.ExitStack() as stack:
        bench.user_id = ann = await world.value(
            "INSERT INTO users (partner_id, connection_id, tag, connected_at)"
            " SELECT partner_id, connection_id, 'ann', connected_at FROM users RETURNING id"
        )
        stack.enter_context(bench.session)
        bench.owner.epochs[ann % SHARD_COUNT] = 1
        await bench.receive_and_report(is_late=True)

    assert await shown(world, ann) < before


async def test_the_last_proof_of_a_session_that_ends_is_reported(world, joe, bench):
    last = await shown(world, joe)
    bench.client.receive()
    bench.ending.close()
    await bench.report()
    assert await shown(world, joe) > last
    last = await shown(world, joe)

    await bench.receive_and_report()

    assert await shown(world, joe) == last


async def test_a_worn_voucher_is_replaced_and_users_are_registered_under_the_new_name(world, joe, bench):
    before = (await state(world, joe))["vouched_by"]
    for user_id in range(10_000):
        bench.vouching._voucher.slot(user_id)

    await bench.report()

    assert (await state(world, joe))["vouched_by"] not in (before, None)


async def test_a_suspended_machine_makes_no_proof_younger(pool, monkeypatch):
    """The clock of the event loop stands still meanwhile, PostgreSQL's goes on."""
    clocks, loop = Clocks(), asyncio.get_running_loop()
    received_at = loop.time()
    before = await proofs.read_clock(pool)
    await clocks.read(pool)
    usual = vouching.queries.read_clock

    async def an_hour_later(pool: asyncpg.Pool) -> datetime:
        return await usual(pool) + timedelta(hours=1)

    monkeypatch.setattr(vouching.queries, "read_clock", an_hour_later)

    assert (await clocks.read(pool))(received_at) < before


# Processes of earlier versions.

STALL_OF_EARLIER_VERSIONS = (
    "UPDATE users SET status = 'stalled', status_since = now(), stalled_at = now()"
    " WHERE last_proven_alive_at < now() - interval '900 s' RETURNING id"
)


async def test_a_dispatcher_that_does_not_know_vouches_stalls_nobody_who_is_vouched_for(world, joe, bench):
    await world.rows("UPDATE users SET last_proven_alive_at = now() - interval '1 h'")

    assert await world.rows(STALL_OF_EARLIER_VERSIONS) == []
    assert (await state(world, joe))["stalled_at"] is None
    own = (await state(world, joe))["last_proven_alive_at"]
    assert own == await shown(world, joe)  # so it does not try again at once

    await world.rows("UPDATE vouches SET since = since - interval '1 h'")
    await world.rows("UPDATE users SET last_proven_alive_at = now() - interval '1 h'")
    await world.rows("DELETE FROM vouches")
    assert len(await world.rows(STALL_OF_EARLIER_VERSIONS)) == 1


async def test_an_idler_that_does_not_know_vouches_writes_later_proofs(world, joe, bench):
    await world.rows("UPDATE users SET last_proven_alive_at = now() + interval '1 s'")

    assert await shown(world, joe) == (await state(world, joe))["last_proven_alive_at"]

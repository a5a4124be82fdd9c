"""Supervisor: one session per wanted user within MAX_SESSIONS, replaced and ended as users and shards change."""

from __future__ import annotations

import asyncio

from superimap.core import metrics
from superimap.db.watching.ownership import ShardUsers
from superimap.idler.supervisor import Supervisor


class Sessions:
    """The sessions started so far and those running. A session ends once `may_end` is set."""

    def __init__(self) -> None:
        self.started: list[tuple[int, int]] = []
        self.running: list[tuple[int, int]] = []
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def start(self, user: int, version: int) -> None:
        self.started.append((user, version))
        self.running.append((user, version))
        try:
            await asyncio.Event().wait()
        finally:
            await self.may_end.wait()
            self.running.remove((user, version))


def supervisor(sessions: Sessions, *, most: int = 100) -> Supervisor:
    def ring() -> None:
        made.reconcile()

    made = Supervisor(sessions.start, max_sessions=most, ring=ring)
    return made


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_new_credentials_replace_the_session_once_the_old_one_has_ended():
    sessions = Sessions()
    crew = supervisor(sessions)
    crew.set_users(ShardUsers({7: 1}, {7: {1: 1, 2: 1}}))
    crew.reconcile()
    await settled()

    sessions.may_end.clear()
    crew.set_users(ShardUsers({7: 2}, {7: {1: 2, 2: 1}}))
    crew.reconcile()
    crew.reconcile()
    await settled()
    assert sessions.running == [(1, 1), (2, 1)], "the new one waits until the old one is closed"
    sessions.may_end.set()
    await settled()

    assert sorted(sessions.running) == [(1, 2), (2, 1)]
    assert crew.sessions == crew.users == 2
    await crew.close()
    assert not sessions.running


async def test_a_user_without_a_slot_is_counted_and_gets_the_next_free_one():
    sessions = Sessions()
    crew = supervisor(sessions, most=2)
    crew.set_users(ShardUsers({1: 1}, {1: {1: 1, 2: 1, 3: 1}}))
    crew.reconcile()
    await settled()
    assert metrics.USERS_UNSERVED._value.get() == 1

    crew.set_users(ShardUsers({1: 2}, {1: {2: 1, 3: 1}}))
    crew.reconcile()
    await settled()

    assert sorted(sessions.running) == [(2, 1), (3, 1)]
    assert metrics.USERS_UNSERVED._value.get() == 0
    await crew.close()


async def test_ending_shards_can_be_repeated_after_it_was_cancelled():
    sessions = Sessions()
    crew = supervisor(sessions)
    crew.set_users(ShardUsers({1: 1, 2: 1}, {1: {1: 1}, 2: {2: 1}}))
    crew.reconcile()
    await settled()
    sessions.may_end.clear()
    first = asyncio.create_task(crew.end_shards([1]))
    await settled()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    again = asyncio.create_task(crew.end_shards([1]))
    await settled()
    assert not again.done(), "the session has not ended yet"
    sessions.may_end.set()
    await again

    assert sessions.running == [(2, 1)]
    await crew.close()


async def test_a_forgotten_shard_gets_no_sessions():
    sessions = Sessions()
    crew = supervisor(sessions)
    crew.set_users(ShardUsers({1: 1}, {1: {1: 1}}))
    crew.reconcile()
    await settled()

    await crew.end_shards([1])
    crew.forget([1])
    crew.reconcile()
    await settled()

    assert not sessions.running
    assert (crew.sessions, crew.users, dict(crew.digests)) == (0, 0, {})

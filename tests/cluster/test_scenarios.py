"""The cluster scenarios, small and with short intervals; `make cluster` runs them at full length."""

from __future__ import annotations

import pytest

from tests.support.db_proxy import DbProxy
from trials.cluster import scenarios
from trials.cluster.__main__ import DEFAULTS
from trials.cluster.fleet import fleet


@pytest.fixture
def quick() -> dict[str, str]:
    """Intervals long enough that idlers on a busy machine keep their leases, short enough for a test suite."""
    return {"HEARTBEAT_INTERVAL": "0.5", "HEARTBEAT_EXPIRY": "3", "RECONCILE_INTERVAL": "0.5"}


@pytest.mark.slow
async def test_scaling_up_and_down_under_load_never_watches_a_user_twice(world, quick):
    async with fleet(world, count=100, **quick) as ours:
        await scenarios.scale(ours, per_second=40)


async def test_users_of_a_killed_idler_are_taken_over_with_their_mail(world):
    """Long before its lease ends: the intervals are the default ones."""
    async with fleet(world, count=100, **DEFAULTS) as ours:
        await scenarios.kill(ours, idlers=2, rounds=1, per_second=40, within=25)


async def test_an_idler_that_is_alone_watches_its_users_again_when_it_restarts(world):
    async with fleet(world, count=20, **DEFAULTS) as ours:
        await scenarios.restart(ours, rounds=1, rest=0, within=25)


@pytest.mark.slow
async def test_an_idler_paused_beyond_its_lease_repeats_nothing(world, quick):
    async with fleet(world, count=40, **quick) as ours:
        await scenarios.freeze(ours)


async def test_rolling_restarts_under_load_lose_and_repeat_nothing(world, quick):
    async with fleet(world, count=60, **quick) as ours:
        await scenarios.roll(ours, rounds=3, idlers=1, per_second=40)


@pytest.mark.slow
async def test_while_postgresql_is_down_sessions_stay_open_and_memory_is_bounded(world, quick, open_folder):
    folder = open_folder / "outage"
    folder.mkdir(exist_ok=True)
    proxy = DbProxy(world.database_url, folder)
    await proxy.open()
    try:
        # Idlers that reconnect wait one heartbeat interval before they take shards that look free.
        slower = {"HEARTBEAT_INTERVAL": "2", "HEARTBEAT_EXPIRY": "4.5", "BYTES_IN_FLIGHT": "1048576"}
        async with fleet(world, count=30, **quick | slower, DATABASE_URL=proxy.url) as ours:
            await scenarios.outage(ours, proxy, seconds=8, size=60_000, most_mib=10)  # of 14 MB of mail
    finally:
        await proxy.close()


async def test_changes_of_users_are_in_effect_without_waiting_for_a_round(world, quick):
    async with fleet(world, count=5, **quick | {"RECONCILE_INTERVAL": "300"}) as ours:
        await scenarios.change(ours, users=2)


@pytest.mark.slow
async def test_users_beyond_all_slots_are_unserved_until_another_idler_joins(world, quick):
    async with fleet(world, count=50, **quick, MAX_SESSIONS="20") as ours:
        await scenarios.spill(ours, slots=20, more=20)

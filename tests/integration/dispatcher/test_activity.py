"""Rollup of activity: each mail, webhook and attempt is counted once, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import uuid
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from fixtures.engines import as_role
from superimap.core.ids import uuid7
from superimap.db import engine
from superimap.db.delivery import activity
from superimap.db.monitoring import activity as monitoring
from superimap.db.monitoring.activity import ActivitySeen
from superimap.db.privileges import Role
from superimap.dispatcher.activity_rollup import ActivityRollup
from superimap.domain.activity import BUCKETS, LATENCY_BOUNDS_SECONDS, SLICE_SECONDS, ActivitySource
from tests.integration.dispatcher.conftest import FAST, SinkWorld, eventually

COUNTS = ("mails", "skipped", "delivered", "failed", "cancelled")
POSTS = ("accepted", "refused", "unanswered", "unsent")

# Counts deliveries, and is killed before the mark moves, in the same transaction.
KILLED = """
import asyncio, os, signal, sys
import asyncpg
from superimap.db.delivery import activity
from superimap.domain.activity import ActivitySource

class Killed:
    def bind(self, **_):
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    activity._MOVE_MARK = Killed()
    db = await asyncpg.connect(sys.argv[1])
    await activity.count_slice(db, ActivitySource.DELIVERIES, lag=0.0)

asyncio.run(main())
"""


async def count_all(world: SinkWorld, *, lag: float = 0.0) -> None:
    """Count all rows that are old enough, as a dispatcher may."""
    async with asyncpg.create_pool(as_role(world.database_url, Role.DISPATCHER), min_size=1) as pool:
        for source in ActivitySource:
            while await activity.count_slice(pool, source, lag=lag):
                pass


async def counted(world: SinkWorld, *columns: str, table: str = "activity") -> Counter[str]:
    """The sums of these columns over all rows, without those that are 0."""
    sums = ", ".join(f"sum({name})::int AS {name}" for name in columns)
    row = await world.db.fetchrow(f"SELECT {sums} FROM {table}")
    return +Counter({name: row[name] or 0 for name in columns})


async def histogram(world: SinkWorld, column: str, table: str = "activity") -> list[int]:
    return await world.db.fetchval(f"SELECT sum_counts({column}) FROM {table}")


async def settle(
    world: SinkWorld, ids: list[uuid.UUID], state: str, *, took: float, ago: float = 0.0
) -> None:
    """End deliveries that took so many seconds, so many seconds ago."""
    await world.db.execute(
        "UPDATE deliveries SET state = $2, settled_at = now() - $4::interval,"
        " created_at = now() - $4::interval - $3::interval WHERE id = ANY($1)",
        ids, state, timedelta(seconds=took), timedelta(seconds=ago),
    )  # fmt: skip


async def add_mails(world: SinkWorld, outcomes: list[str]) -> None:
    mailbox = await world.db.fetchval(
        "INSERT INTO mailboxes (partner_id, user_id, account, name) VALUES ($1, $2, 'a', 'INBOX')"
        " ON CONFLICT (user_id, account, name) DO UPDATE SET name = 'INBOX' RETURNING id",
        world.partner_id, world.user_id,
    )  # fmt: skip
    first = await world.db.fetchval("SELECT coalesce(max(uid), 0) FROM messages")
    await world.db.executemany(
        "INSERT INTO messages (partner_id, user_id, mailbox_id, uid_validity, uid, size, outcome)"
        " VALUES ($1, $2, $3, 1, $4, 1, $5)",
        [
            (world.partner_id, world.user_id, mailbox, first + number, outcome)
            for number, outcome in enumerate(outcomes, 1)
        ],
    )


async def reopen(world: SinkWorld, *, ago: float) -> None:
    """Set all marks to so many seconds ago."""
    await world.db.execute(
        "UPDATE activity_marks SET counted_to = now() - $1::interval", timedelta(seconds=ago)
    )


async def test_a_dispatcher_counts_what_the_lists_show(world: SinkWorld):
    good, bad = await world.endpoint("/"), await world.endpoint("/bad", kind="events")
    world.sink.on("/bad", 500)
    await add_mails(world, ["delivered"] * 4 + ["before_connect"])
    async with world.dispatcher():
        await world.add_deliveries(good, 7)
        failing = await world.add_deliveries(bad, 2)
        await eventually(lambda: _is(world, "delivered", 7))
        await eventually(lambda: _has_attempts(world, failing))
    await settle(world, failing, "failed", took=30.0)

    timings = replace(FAST, activity_interval=0.05, activity_lag=0.0)
    async with world.dispatcher(timings=timings):
        await eventually(lambda: _counts(world, posts=9))
        await eventually(lambda: _counts(world, deliveries=9))

    assert await counted(world, *COUNTS) == {"mails": 5, "skipped": 1, "delivered": 7, "failed": 2}
    assert await counted(world, *COUNTS, table="provider_activity") == await counted(world, *COUNTS)
    assert await counted(world, *POSTS) == {"accepted": 7, "refused": 2}
    assert sum(await histogram(world, "latencies")) == 7
    assert sum(await histogram(world, "answer_times")) == 9
    of_each = dict(
        await world.db.fetch("SELECT endpoint_id, sum(accepted - refused)::int FROM activity GROUP BY 1")
    )
    assert of_each == {good: 7, bad: -2}


async def _is(world: SinkWorld, state: str, count: int) -> bool:
    return await world.in_state(state) == count


async def _has_attempts(world: SinkWorld, ids: list[uuid.UUID]) -> bool:
    return all([await world.attempts(id_) for id_ in ids])


async def _counts(world: SinkWorld, *, posts: int = 0, deliveries: int = 0) -> bool:
    names, expected = (POSTS, posts) if posts else (COUNTS[2:], deliveries)
    return (await counted(world, *names)).total() == expected


async def test_rows_that_may_still_be_joined_by_earlier_ones_wait_and_are_counted_once(world: SinkWorld):
    endpoint = await world.endpoint()
    early, late = await world.add_deliveries(endpoint, 2, ring=False)
    async with world.db.acquire() as db:
        transaction = db.transaction()
        await transaction.start()
        await db.execute("UPDATE deliveries SET state = 'delivered', settled_at = now() WHERE id = $1", early)
        await settle(world, [late], "delivered", took=0.0)
        await add_mails(world, ["delivered"])

        await count_all(world, lag=60.0)
        assert await counted(world, *COUNTS) == {}
        await transaction.commit()

    await count_all(world)
    await count_all(world)
    assert await counted(world, *COUNTS) == {"delivered": 2, "mails": 1}


async def test_processes_that_count_at_once_count_each_row_once(world: SinkWorld):
    await settle(
        world, await world.add_deliveries(await world.endpoint(), 5, ring=False), "cancelled", took=1.0
    )
    await add_mails(world, ["delivered"] * 3)

    await asyncio.gather(*(count_all(world) for _ in range(4)))

    assert await counted(world, *COUNTS) == {"cancelled": 5, "mails": 3}


async def test_a_process_that_is_killed_before_the_mark_moves_has_counted_nothing(world: SinkWorld):
    await settle(
        world, await world.add_deliveries(await world.endpoint(), 3, ring=False), "delivered", took=1.0
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, world.database_url, cwd=Path(__file__).parents[3]
    )
    assert await child.wait() == -signal.SIGKILL
    assert await counted(world, *COUNTS) == {}

    await count_all(world)

    assert await counted(world, *COUNTS) == {"delivered": 3}


async def test_an_outage_is_caught_up_in_slices(world: SinkWorld):
    endpoint = await world.endpoint()
    for ago in (3000.0, 1500.0, 10.0):
        await settle(world, await world.add_deliveries(endpoint, 1, ring=False), "failed", took=1.0, ago=ago)
    await reopen(world, ago=3600.0)

    slices = 1
    while await activity.count_slice(world.db, ActivitySource.DELIVERIES, lag=0.0):
        slices += 1

    assert slices == 13
    assert await counted(world, *COUNTS) == {"failed": 3}
    assert await world.db.fetchval("SELECT count(DISTINCT began_at) FROM provider_activity") == 3


@pytest.mark.parametrize(("took", "bucket"), [(0.001, 0), (0.005, 1), (3.0, 9), (100_000.0, BUCKETS - 1)])
async def test_a_latency_is_counted_in_its_bucket(world: SinkWorld, took: float, bucket: int):
    ids = await world.add_deliveries(await world.endpoint(), 2, ring=False)
    await settle(world, ids, "delivered", took=took)
    await world.db.execute("UPDATE deliveries SET attempts_before = 1 WHERE id = $1", ids[1])  # replayed

    await count_all(world)

    expected = [int(place == bucket) for place in range(BUCKETS)]
    assert await histogram(world, "latencies") == expected
    assert await histogram(world, "latencies", "provider_activity") == expected
    assert len(LATENCY_BOUNDS_SECONDS) == BUCKETS - 1


async def test_stages_of_mails_count_where_the_mailbox_was_watched_and_no_clock_was_ahead(world: SinkWorld):
    await add_mails(world, ["delivered", "own_mail", *["delivered"] * 2, "deferred", *["delivered"] * 2])
    stages = [
        (1, 3.0),
        (2, 3.0),
        (3, 3.0),
        (1, -2.0),
        (1, 3.0),
        (None, 3.0),
        (1, 86_407.0),  # imported
    ]  # how it was found, and the delay
    await world.db.executemany(
        "UPDATE messages SET found_by = $2, recording_milliseconds = 7 * $2::smallint,"
        " internal_date = created_at - make_interval(secs => $3) WHERE uid = $1",
        [(uid, found_by, delay) for uid, (found_by, delay) in enumerate(stages, 1)],
    )

    await count_all(world)

    assert await histogram(world, "delays", "provider_activity") == [2 * (n == 9) for n in range(BUCKETS)]
    assert await histogram(world, "recordings", "provider_activity") == [0, 3, 1] + [0] * (BUCKETS - 3)
    seen = await activity_of_providers(world)
    assert (sum(seen.delays), sum(seen.recordings)) == (2, 4)


async def activity_of_providers(world: SinkWorld) -> ActivitySeen:
    """What a page shows of the only provider."""
    async with engine.sessions(world.database_url) as sessions, sessions() as db:
        within = await monitoring.window(db, hours=1, step_seconds=300.0)
        return await monitoring.of_installation(db, within)


async def test_answers_are_counted_by_class(world: SinkWorld):
    (delivery,) = await world.add_deliveries(await world.endpoint(), 1, ring=False)
    rows = [(204, None), (302, None), (404, None), (500, None), (None, "timeout"), (None, "unsigned")]
    await world.db.executemany(
        "INSERT INTO attempts (id, partner_id, delivery_id, number, milliseconds, code, error)"
        " VALUES ($1, $2, $3, $4, 3, $5, $6)",
        [
            (uuid7(), world.partner_id, delivery, number, code, error)
            for number, (code, error) in enumerate(rows, 1)
        ],
    )

    async def is_counted() -> bool:  # ids and marks have whole milliseconds
        await count_all(world)
        return (await counted(world, *POSTS)).total() == len(rows)

    await eventually(is_counted)
    assert await counted(world, *POSTS) == {"accepted": 1, "refused": 3, "unanswered": 1, "unsent": 1}
    assert await histogram(world, "answer_times") == [4] + [0] * (BUCKETS - 1)


async def test_events_of_users_are_counted_at_their_provider(world: SinkWorld):
    await world.db.executemany(
        "INSERT INTO user_events (partner_id, user_id, kind) VALUES ($1, $2, $3)",
        [
            (world.partner_id, world.user_id, kind)
            for kind in ("reauth_required", "reauth_required", "stalled", "restored")
        ],
    )
    await count_all(world)
    assert await counted(world, "refusals", "silences", table="provider_activity") == {
        "refusals": 2,
        "silences": 1,
    }


async def test_old_rows_are_added_up_and_deleted_in_batches_without_a_change_of_the_sums(world: SinkWorld):
    await world.db.execute(
        "INSERT INTO activity (partner_id, endpoint_id, began_at, seconds, mails, delivered, latencies)"
        " SELECT $1, 0, date_bin('5 minutes', now(), 'epoch') - n * interval '5 minutes', 300, 1, 2, '{0,2}'"
        " FROM generate_series(0, 5000) n",
        world.partner_id,
    )
    await world.db.execute(
        "INSERT INTO activity (partner_id, endpoint_id, began_at, seconds, mails)"
        " SELECT $1, 0, now() - interval '91 days', 86400, 1000",
        world.partner_id,
    )
    await world.db.execute(
        "INSERT INTO idler_activity VALUES (1, now() - interval '3 days', 1, 1, 1), (1, now(), 1, 1, 1)"
    )
    while await activity.shrink(world.db, limit=777):
        pass

    assert await counted(world, *COUNTS) == {"mails": 5001, "delivered": 10002}
    assert await histogram(world, "latencies") == [0, 10002]
    rows = dict(await world.db.fetch("SELECT seconds, count(*) FROM activity GROUP BY 1"))
    assert 576 <= rows[300] <= 577 and 288 <= rows[3600] <= 290 and 4 <= rows[86400] <= 5
    assert await world.db.fetchval("SELECT count(*) FROM idler_activity") == 1


async def test_sessions_of_living_idlers_are_sampled_once_in_an_interval(world: SinkWorld):
    await world.db.execute(
        "INSERT INTO idlers (id, name, version, capacity, sessions, users, heartbeat_at) OVERRIDING SYSTEM VALUE"
        " VALUES (7, 'a', '1', 10, 4, 5, now()), (8, 'b', '1', 10, 3, 3, now()),"
        " (9, 'dead', '1', 10, 9, 9, now() - interval '1 hour')"
    )
    await activity.sample_idlers(world.db, expiry=30.0)
    await activity.sample_idlers(world.db, expiry=30.0)

    rows = await world.db.fetch(
        "SELECT idler_id, sessions, capacity, users FROM idler_activity"
        " WHERE began_at = (SELECT min(began_at) FROM idler_activity) ORDER BY 1"
    )
    assert [tuple(row) for row in rows] == [(0, 7, 20, 8), (7, 4, 10, 5), (8, 3, 10, 3)]


async def test_a_step_counts_a_bounded_number_of_mails_and_each_once(world: SinkWorld):
    await add_mails(world, ["delivered"] * 10)

    steps = 1
    while await activity.count_slice(world.db, ActivitySource.MESSAGES, lag=0.0, most=3):
        steps += 1

    assert steps == 4
    assert await counted(world, "mails") == {"mails": 10}
    await add_mails(world, ["delivered"])
    await count_all(world)
    assert await counted(world, "mails") == {"mails": 11}


async def test_a_slice_that_takes_too_long_is_halved_until_it_succeeds(world: SinkWorld, monkeypatch):
    """Or a slice with too many rows for the time-out of a statement would be tried for ever."""
    tried: list[float] = []
    most_seconds = 100.0

    async def count(
        _: object, source: ActivitySource, *, lag: float, seconds: float, cancelled: None
    ) -> bool:
        if source is ActivitySource.MESSAGES:
            tried.append(seconds)
            if seconds > most_seconds:
                raise TimeoutError
        return False

    monkeypatch.setattr(activity, "count_slice", count)
    rollup = ActivityRollup(expiry=20.0, interval=0.0, retention_interval=3600.0)
    async with asyncpg.create_pool(world.database_url, min_size=1) as pool:
        for _ in range(4):
            with contextlib.suppress(TimeoutError):
                await rollup.run_due(pool)

    assert tried == [SLICE_SECONDS, SLICE_SECONDS / 2, SLICE_SECONDS / 4, SLICE_SECONDS / 2]

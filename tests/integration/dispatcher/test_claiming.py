"""Claims and settlements: which rows a claim takes, and which outcomes count."""

from __future__ import annotations

import asyncio
import uuid

import asyncpg

from superimap.core.ids import uuid7
from superimap.db.delivery import deliveries
from superimap.db.delivery.deliveries import Claim, Claims, Settlement
from superimap.domain.deliveries import AttemptOutcome
from tests.integration.dispatcher.conftest import SinkWorld, eventually

COUNTING = 0x534C_414E << 32  # the lock under which `under_way` counts


async def claim(
    world: SinkWorld,
    endpoint_id: int,
    *,
    limit: int = 10,
    max_posts: int = 10,
    lease: float = 60.0,
    db: asyncpg.Connection | None = None,
) -> Claims:
    return await deliveries.claim(
        db or world.db, endpoint_id, limit=limit, max_posts=max_posts, lease=lease, token=uuid.uuid4()
    )


def settlement(claimed: Claim, outcome: AttemptOutcome, **more: object) -> Settlement:
    return Settlement(id=uuid7(), claim=claimed, outcome=outcome, age=0.1, milliseconds=100, **more)


async def test_claims_are_oldest_first_and_say_whether_more_is_due(world: SinkWorld):
    endpoint = await world.endpoint()
    ids = await world.add_deliveries(endpoint, 3, ring=False)
    for age, id_ in enumerate(ids):
        await world.db.execute(
            "UPDATE deliveries SET due_at = now() - make_interval(secs => $1) WHERE id = $2", age, id_
        )

    first = await claim(world, endpoint, limit=2)
    second = await claim(world, endpoint, limit=2)

    assert [taken.id for taken in first.taken] == [ids[2], ids[1]]
    assert (first.is_all, first.has_room) == (False, False)
    assert [taken.id for taken in second.taken] == [ids[0]]
    assert (second.is_all, second.has_room) == (True, True)
    assert first.taken[0].attempt == 1
    assert first.taken[0].content == (await world.row(ids[2]))["content"]


async def test_leased_deliveries_count_towards_the_limit_until_their_lease_ends(world: SinkWorld):
    endpoint = await world.endpoint()
    await world.add_deliveries(endpoint, 9, ring=False)

    assert len((await claim(world, endpoint, limit=3, max_posts=4)).taken) == 3
    assert len((await claim(world, endpoint, limit=3, max_posts=4)).taken) == 1
    full = await claim(world, endpoint, limit=3, max_posts=4)
    assert (list(full.taken), full.is_all, full.has_room) == ([], False, False)
    await world.db.execute("UPDATE delivery_leases SET lease_until = now()")
    assert len((await claim(world, endpoint, limit=3, max_posts=4)).taken) == 3


async def test_simultaneous_claims_never_take_the_same_row(world: SinkWorld):
    endpoint = await world.endpoint()
    await world.add_deliveries(endpoint, 100, ring=False)

    async def claim_all() -> list[uuid.UUID]:
        """As a lane does: claim while another claim may give more."""
        ids: list[uuid.UUID] = []
        while True:
            claims = await claim(world, endpoint, max_posts=1000)
            ids += [taken.id for taken in claims.taken]
            if claims.is_all:
                return ids

    claimed = await asyncio.gather(*(claim_all() for _ in range(12)))
    ids = [id_ for each in claimed for id_ in each]

    assert len(ids) == len(set(ids)) == 100


async def test_simultaneous_claims_together_stay_below_the_limit(world: SinkWorld):
    """A lock on the table holds all claims at the point where they have begun and none has counted."""
    endpoint = await world.endpoint()
    await world.add_deliveries(endpoint, 40, ring=False)
    async with asyncpg.create_pool(world.database_url, min_size=8, max_size=8) as pool:
        async with world.db.acquire() as db, db.transaction():
            await db.execute("SELECT pg_advisory_xact_lock($1)", COUNTING + endpoint)
            claims = [
                asyncio.create_task(
                    deliveries.claim(pool, endpoint, limit=6, max_posts=10, lease=60, token=uuid.uuid4())
                )
                for _ in range(8)
            ]
            await eventually(lambda: _waiting(world, 8))
        made = [await one for one in claims]
        again = await claim(world, endpoint, limit=6, max_posts=10)

    assert sorted(len(one.taken) for one in made) == [0, 0, 0, 0, 0, 0, 0, 6]
    assert [one.has_room for one in made if not one.taken].count(True) == 7  # they lost all, and claim again
    assert len(again.taken) == 4


async def _waiting(world: SinkWorld, count: int) -> bool:
    found = await world.db.fetchval(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return found == count


async def test_a_stopped_process_that_claimed_much_content_blocks_no_other_claim(world: SinkWorld):
    """The process reads nothing of the answer to its claim, as if it had been stopped at that moment."""
    endpoint = await world.endpoint()
    await world.add_deliveries(endpoint, 12, ring=False)
    await world.db.execute("UPDATE deliveries SET content = convert_to(repeat('x', 1000000), 'UTF8')")
    still = await asyncpg.connect(world.database_url)
    try:
        await claim(world, 0, db=still)  # so that the statement is prepared
        claiming = asyncio.create_task(claim(world, endpoint, limit=8, max_posts=20, db=still))
        await asyncio.sleep(0)
        still._transport.pause_reading()
        async with asyncio.timeout(5):
            await eventually(lambda: world.in_state("sending"))
            other = await claim(world, endpoint, limit=9, max_posts=20)
        still._transport.resume_reading()
        first = await claiming
    finally:
        still.terminate()

    assert (len(first.taken), len(other.taken)) == (8, 4)
    assert {len(taken.content or b"") for taken in (*first.taken, *other.taken)} == {1_000_000}


async def test_deliveries_of_an_unhealthy_endpoint_are_claimed_only_on_request(world: SinkWorld):
    endpoint = await world.endpoint()
    await world.add_deliveries(endpoint, 9, ring=False)

    for columns, is_held_back in (
        ("failures = 1", False),
        ("failures = 2", True),
        ("failures = 0, breaker = 'slow_start', width = 2", True),
        ("breaker = 'open'", True),
        ("probe_at = now() + interval '1 h'", False),  # it pauses: no other endpoint has to wait for a slot
    ):
        await world.db.execute(f"UPDATE endpoints SET {columns}")
        claims = await deliveries.claim(
            world.db, endpoint, limit=1, max_posts=10, lease=60, token=uuid.uuid4(), include_unhealthy=False
        )
        assert claims.is_held_back is is_held_back, columns
        assert len(claims.taken) == (columns == "failures = 1")


async def test_a_deleted_endpoint_has_no_deliveries_to_claim(world: SinkWorld):
    assert await claim(world, 4711) == Claims((), is_all=True, has_room=True)


async def test_a_success_counts_with_any_lease_token(world: SinkWorld):
    [delivery_id] = await world.add_deliveries(await world.endpoint(), ring=False)
    claims = await claim(world, (await world.row(delivery_id))["endpoint_id"])
    await world.db.execute("UPDATE delivery_leases SET token = $1", uuid.uuid4())

    await deliveries.settle(world.db, [settlement(claims.taken[0], AttemptOutcome.DELIVERED, code=200)])

    row = await world.row(delivery_id)
    assert (row["state"], row["content"]) == ("delivered", None)


async def test_a_failure_after_a_lost_lease_is_recorded_and_changes_nothing_else(world: SinkWorld):
    [delivery_id] = await world.add_deliveries(await world.endpoint(), ring=False)
    claims = await claim(world, (await world.row(delivery_id))["endpoint_id"])
    theirs = uuid.uuid4()
    await world.db.execute("UPDATE delivery_leases SET token = $1", theirs)

    for outcome in (AttemptOutcome.RETRY, AttemptOutcome.FAILED, AttemptOutcome.ARCHIVE):
        await deliveries.settle(world.db, [settlement(claims.taken[0], outcome, code=403)])

    row = await world.row(delivery_id)
    assert (row["state"], row["attempts"], await world.leases()) == ("pending", 0, {delivery_id: theirs})
    assert len(await world.attempts(delivery_id)) == 3
    assert not await world.db.fetchval("SELECT archived FROM users WHERE id = $1", world.user_id)


async def test_a_failure_after_a_success_does_not_undo_it(world: SinkWorld):
    [delivery_id] = await world.add_deliveries(await world.endpoint(), ring=False)
    [taken] = (await claim(world, (await world.row(delivery_id))["endpoint_id"])).taken

    await deliveries.settle(world.db, [settlement(taken, AttemptOutcome.DELIVERED, code=200)])
    await deliveries.settle(world.db, [settlement(taken, AttemptOutcome.RETRY, code=500, delay=6)])

    row = await world.row(delivery_id)
    assert (row["state"], row["last_code"]) == ("delivered", 200)


async def test_an_attempt_recorded_twice_is_one_attempt(world: SinkWorld):
    [delivery_id] = await world.add_deliveries(await world.endpoint(), ring=False)
    [taken] = (await claim(world, (await world.row(delivery_id))["endpoint_id"])).taken
    tried = settlement(taken, AttemptOutcome.DELIVERED, code=200)

    await deliveries.settle(world.db, [tried])
    await deliveries.settle(world.db, [tried])

    assert len(await world.attempts(delivery_id)) == 1


async def test_a_delivery_deleted_meanwhile_does_not_affect_its_batch(world: SinkWorld):
    ids = await world.add_deliveries(await world.endpoint(), 2, ring=False)
    claims = await claim(world, (await world.row(ids[0]))["endpoint_id"])
    await world.db.execute("DELETE FROM deliveries WHERE id = $1", ids[0])

    await deliveries.settle(
        world.db, [settlement(taken, AttemptOutcome.DELIVERED, code=200) for taken in claims.taken]
    )

    assert (await world.row(ids[1]))["state"] == "delivered"


async def test_times_of_attempts_are_those_of_the_database(world: SinkWorld):
    [delivery_id] = await world.add_deliveries(await world.endpoint(), ring=False)
    [taken] = (await claim(world, (await world.row(delivery_id))["endpoint_id"])).taken

    await deliveries.settle(world.db, [settlement(taken, AttemptOutcome.RETRY, code=500, delay=21)])

    [attempt] = await world.attempts(delivery_id)
    row = await world.row(delivery_id)
    assert (row["due_at"] - attempt["started_at"]).total_seconds() == 21.1

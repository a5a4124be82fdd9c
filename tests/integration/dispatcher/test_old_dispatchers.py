"""Dispatchers of earlier versions beside new ones, as during an upgrade: none sends what another one is sending.

Until version 0035 a claim was the state `sending`, in the row of the delivery itself.
"""

from __future__ import annotations

import uuid

import pytest

from superimap.core.crypto import Place
from superimap.core.ids import uuid7
from superimap.db.delivery import deliveries, sweeping
from superimap.db.delivery.deliveries import Settlement
from superimap.domain.deliveries import AttemptOutcome
from tests.integration.dispatcher.conftest import SinkWorld

OLD_CLAIM = """
    UPDATE deliveries
    SET state = 'sending', lease_until = now() + interval '1 min', lease_token = gen_random_uuid()
    WHERE id IN (SELECT id FROM deliveries WHERE endpoint_id = $1 AND state = 'pending' AND due_at <= now()
                 FOR UPDATE SKIP LOCKED)
    RETURNING id
"""
OLD_COUNT = "SELECT under_way($1)"


async def old_claim(world: SinkWorld, endpoint: int) -> set[uuid.UUID]:
    return {row["id"] for row in await world.db.fetch(OLD_CLAIM, endpoint)}


async def new_claim(world: SinkWorld, endpoint: int, *, limit: int = 9) -> list[deliveries.Claim]:
    claims = await deliveries.claim(
        world.db, endpoint, limit=limit, max_posts=9, lease=60, token=uuid.uuid4()
    )
    return list(claims.taken)


async def test_neither_claims_what_the_other_one_is_sending_and_both_count_all_posts(world: SinkWorld):
    endpoint = await world.endpoint()
    ids = set(await world.add_deliveries(endpoint, 3, ring=False))

    [first] = await new_claim(world, endpoint, limit=1)
    rest = await old_claim(world, endpoint)

    assert rest == ids - {first.id}
    assert await new_claim(world, endpoint) == []
    assert await world.db.fetchval(OLD_COUNT, endpoint) == 3


async def test_an_old_dispatcher_claims_what_a_new_one_has_given_up(world: SinkWorld):
    endpoint = await world.endpoint()
    ids = set(await world.add_deliveries(endpoint, 2, ring=False))
    one, other = await new_claim(world, endpoint)
    retry = Settlement(uuid7(), one, AttemptOutcome.RETRY, age=0.1, milliseconds=100)
    await deliveries.settle(world.db, [retry])
    await world.db.execute("UPDATE delivery_leases SET lease_until = now() WHERE delivery_id = $1", other.id)

    assert await old_claim(world, endpoint) == ids


@pytest.mark.parametrize(("seal", "is_claimed"), [("seal", True), ("seal_compressed", False)])
async def test_an_old_dispatcher_claims_no_content_that_it_cannot_read(world: SinkWorld, seal, is_claimed):
    endpoint = await world.endpoint()
    [id_] = await world.add_deliveries(endpoint, ring=False)
    place = Place("deliveries", "content", world.partner_id, str(id_))
    content = getattr(world.vault, seal)(b"a mail " * 100, place)
    await world.db.execute("UPDATE deliveries SET content = $1", content)

    assert await old_claim(world, endpoint) == ({id_} if is_claimed else set())
    assert [one.id for one in await new_claim(world, endpoint)] == ([] if is_claimed else [id_])


async def test_what_a_dead_old_dispatcher_was_sending_is_released_when_its_lease_ends(world: SinkWorld):
    endpoint = await world.endpoint()
    [id_] = await world.add_deliveries(endpoint, ring=False)
    await old_claim(world, endpoint)
    assert await sweeping.release_expired(world.db) == 0
    await world.db.execute("UPDATE deliveries SET lease_until = now()")

    assert await sweeping.release_expired(world.db) == 1
    assert [one.id for one in await new_claim(world, endpoint)] == [id_]


async def test_the_success_of_an_old_dispatcher_ends_what_a_new_one_is_sending(world: SinkWorld):
    endpoint = await world.endpoint()
    [id_] = await world.add_deliveries(endpoint, ring=False)
    [claimed] = await new_claim(world, endpoint)
    await world.db.execute("UPDATE deliveries SET state = 'delivered', settled_at = now(), content = NULL")
    failed = Settlement(uuid7(), claimed, AttemptOutcome.RETRY, age=0.1, milliseconds=100)

    await deliveries.settle(world.db, [failed])

    assert (await world.row(id_))["state"] == "delivered"
    assert await world.leases() == {}

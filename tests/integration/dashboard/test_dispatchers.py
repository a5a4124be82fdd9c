"""The page Cluster: dispatchers, as PostgreSQL knows them."""

from __future__ import annotations

import re

import asyncpg

from fixtures.deliveries import DeliveryFactory
from fixtures.world import eventually
from superimap.db.presence import DISPATCHER_LOCK_SPACE, Presence
from superimap.domain.operators import OperatorRole
from tests.support.dashboard import signed_in


async def test_the_cluster_shows_dispatchers_that_run_and_those_that_are_gone(world):
    factory = DeliveryFactory(world.sessionmaker, world.vault)
    await factory.user("ann")
    await factory.endpoint("https://app.example.com/hook")
    viewer = await signed_in(world, OperatorRole.VIEWER)

    async def listed() -> set[tuple[str, ...]]:
        page = (await viewer.get("/cluster")).text.split('id="dispatchers"')[1]
        rows = (re.sub("<[^>]*>", " ", row).split() for row in re.findall("<tr><td.*?</tr>", page))
        return {tuple(row[:3]) for row in rows}

    assert "No dispatcher is connected to the database" in (await viewer.get("/cluster")).text
    database = await asyncpg.connect(world.settings.database_url)
    presence = Presence(DISPATCHER_LOCK_SPACE)
    await presence.take_lock(database)
    mine = str(presence.number)
    assert await listed() == {(mine, "connected", "0")}

    await factory.deliveries(3, state="sending", attempts=0)
    await factory.value("UPDATE delivery_leases SET holder = :number RETURNING 1", number=presence.number)
    assert await listed() == {(mine, "connected", "3")}
    assert "No webhook has been due for more than a minute." in (await viewer.get("/cluster")).text

    await factory.value("UPDATE deliveries SET due_at = now() - interval '10 min' RETURNING 1")
    assert "no webhook has been due for more than a minute" in (await viewer.get()).text, (
        "they are being sent"
    )

    await factory.deliveries(state="pending", attempts=0)
    await factory.value("UPDATE deliveries SET due_at = now() - interval '10 min' RETURNING 1")
    assert "webhooks to 1 endpoint are late" in (await viewer.get()).text
    assert "Webhooks are late; the first has been due since" in (await viewer.get("/cluster")).text

    await database.close()

    async def is_gone() -> bool:
        return await listed() == {(mine, "gone", "3")}

    await eventually(is_gone)

"""The page Endpoint: whose fault slow webhooks are, while a backlog is sent and while a POST hangs."""

from __future__ import annotations

from uuid import uuid4

import pytest_asyncio

from fixtures.deliveries import DeliveryFactory
from superimap.domain.operators import OperatorRole
from tests.support.dashboard import signed_in

HOOK = "https://app.example.com/hook"
US = "We are late"
# Recorded within two seconds. Ten at once are sent and answered after a second; 300 of 500 are sent so far.
BURST = """
INSERT INTO deliveries (id, partner_id, endpoint_id, user_id, kind, state, attempts, content, created_at, due_at,
    settled_at)
SELECT ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, u.partner_id, e.id, u.id, e.kind,
    CASE WHEN n < 300 THEN 'delivered' ELSE 'pending' END, (n < 300)::int, '', at, at,
    CASE WHEN n < 300 THEN now() END
FROM generate_series(0, 499) n, LATERAL (SELECT now() - interval '31 s' + n * interval '4 ms') recorded (at),
    users u JOIN endpoints e ON e.partner_id = u.partner_id
WHERE u.tag = 'ann' AND e.kind = 'new_mail' RETURNING 1
"""
POSTS = """
INSERT INTO attempts (id, partner_id, delivery_id, number, started_at, milliseconds, code)
SELECT gen_random_uuid(), partner_id, id, 1, now() - interval '30 s' + (row_number() OVER (ORDER BY id) - 1) / 10
    * interval '1 s', 1000, 200
FROM deliveries WHERE attempts = 1 RETURNING 1
"""


@pytest_asyncio.fixture
async def factory(world) -> DeliveryFactory:
    """Deliveries for acme, which has the mailbox ann and a URL."""
    made = DeliveryFactory(world.sessionmaker, world.vault)
    await made.user("ann")
    await made.endpoint(HOOK)
    return made


async def shown(world, factory) -> str:
    viewer = await signed_in(world, OperatorRole.VIEWER, email=f"{uuid4()}@example.com")
    return (await viewer.get(f"/endpoints/{await factory.endpoint(HOOK)}")).text


async def test_a_slow_receiver_is_named_while_its_backlog_is_sent(world, factory):
    await factory.value(BURST)
    await factory.value(POSTS)

    text = await shown(world, factory)

    assert "webhooks wait because so many earlier ones have no answer yet" in text and US not in text
    assert "First attempts of the latest webhooks: 100." in text


async def test_a_post_that_hangs_is_not_our_delay(world, factory):
    await factory.deliveries(state="sending", attempts=0)
    await factory.value("UPDATE deliveries SET due_at = now() - interval '20 s' RETURNING 1")
    assert US not in await shown(world, factory)

    await factory.deliveries(state="pending", attempts=0)
    await factory.value("UPDATE deliveries SET due_at = now() - interval '20 s' RETURNING 1")
    assert US in await shown(world, factory)

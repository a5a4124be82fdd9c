"""The page Endpoint: whose fault slow webhooks are, while a backlog is sent and while a POST hangs."""

from __future__ import annotations

from uuid import uuid4

import pytest_asyncio

from fixtures.deliveries import DeliveryFactory
from superimap.domain.operators import OperatorRole
from tests.integration.dashboard.test_portal import opened
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
# The mail of the only delivery, which was found by a search after an outage of two minutes.
MAIL = """
WITH box AS (
    INSERT INTO mailboxes (partner_id, user_id, name, account) SELECT partner_id, user_id, 'INBOX', 'ann'
    FROM deliveries
    RETURNING id, partner_id, user_id
),
mail AS (
    INSERT INTO messages (partner_id, user_id, mailbox_id, uid_validity, uid, internal_date, size, outcome,
        found_by)
    SELECT partner_id, user_id, id, 1, 1, now() - interval '2 min', 1, 'delivered', 3 FROM box RETURNING id
)
UPDATE deliveries SET message_id = mail.id FROM mail RETURNING 1
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
    accused = await shown(world, factory)
    assert US in accused and "/cluster#dispatchers" in accused


async def test_mails_that_we_recorded_late_are_part_of_the_one_verdict(world, factory):
    (sent,) = await factory.deliveries(state="delivered", attempts=1)
    await factory.attempt(sent, 1, code=200, answer="")
    assert "It works: webhooks are sent at once" in await shown(world, factory)

    await factory.value(MAIL)
    text = await shown(world, factory)

    assert "mails are recorded late: one in twenty 2 min or more" in text
    assert text.index("received until recorded") < text.index("Attempts, last day"), "above the charts"
    assert ">working<" not in text and '<span class="state warn">slow<' in text


async def test_refused_webhooks_are_no_success_on_any_page(world, factory):
    (refused,) = await factory.deliveries(state="pending", attempts=1)
    await factory.attempt(refused, 1, code=400, answer="")
    await factory.value("UPDATE deliveries SET due_at = now() + interval '1 min' RETURNING 1")
    partner = await factory.value("SELECT id FROM partners WHERE name = 'acme'")
    viewer, portal = await signed_in(world, OperatorRole.VIEWER), await opened(world, world.acme)

    text = await shown(world, factory)
    assert ">refuses webhooks<" in text and "Their server refused 1 of the latest 1 webhook." in text
    assert "not all accepted" in (await viewer.get(f"/partners/{partner}")).text
    overview = (await portal.get()).text
    assert "an endpoint of yours has not accepted all webhooks" in overview and "not all accepted" in overview
    assert (
        "some were not accepted yet" in overview
        and ">New mail</a>" in overview
        and "new_mail" not in overview
    )


async def test_lists_of_webhooks_link_to_the_verdict(world, factory):
    link = f"/endpoints/{await factory.endpoint(HOOK)}#delays"
    partner = await factory.value("SELECT id FROM partners WHERE name = 'acme'")
    viewer = await signed_in(world, OperatorRole.VIEWER)

    assert link in (await viewer.get(f"/partners/{partner}")).text
    assert link in (await viewer.get("/deliveries", partner=str(partner))).text

"""What was changed, by whom, and what a change needs first."""

from __future__ import annotations

import html
import re

from superimap.webhooks.signing import webhook_id
from tests.integration.dashboard.test_mailbox import add_mails, execute
from tests.integration.dashboard.test_portal import opened
from tests.support.dashboard import signed_in


async def test_who_archived_a_mailbox_is_said_to_operators(world):
    await add_mails(world)
    owner, portal = await signed_in(world), await opened(world, world.acme)
    await owner.post("/mailboxes/1/archive", page="/mailboxes/1")

    by = re.findall(r"Archived <time[^>]*>[^<]*</time>([^<]*)", (await owner.get("/mailboxes/1")).text)
    theirs = re.findall(r"Archived <time[^>]*>[^<]*</time>([^<]*)", (await portal.get("/mailboxes/1")).text)

    assert [each.strip() for each in by] == ["by owner@example.com"]
    assert theirs == ["."]


async def test_the_audit_log_links_to_what_was_changed_and_shows_values_in_words(world):
    delivery = await add_mails(world)
    owner = await signed_in(world)
    await owner.post("/mailboxes/1/archive", page="/mailboxes/1")
    await owner.post("/mails/2/retry", page="/mails/2")
    await owner.post(f"/deliveries/1/{webhook_id(delivery)}/cancel", page="/mailboxes/1")
    await execute(
        world,
        "INSERT INTO audit_log (actor_kind, actor, partner_id, action, object_id, details) VALUES "
        "('operator', 'x', 1, 'partner.delete', '1', "
        "jsonb_build_object('archived', false, 'hint', NULL, 'networks', CAST('[]' AS jsonb)))",
    )

    page = (await owner.get("/audit")).text

    assert '<a href="/admin/mailboxes/1">mailbox 1</a>' in page
    assert '<a href="/admin/mails/2">mail 2</a>' in page
    assert f'<a href="/admin/deliveries/1/{webhook_id(delivery)}">webhook {webhook_id(delivery)}</a>' in page
    assert '<td data-name="Object">partner 1</td>' in page
    details = html.unescape(re.sub("<[^>]*>", "", page))
    assert "archived no; hint none; networks none" in details and "archived yes" in details


async def test_a_mail_that_is_too_big_stays_so_until_the_limit_is_raised(world):
    await add_mails(world)
    owner, portal = await signed_in(world), await opened(world, world.acme)

    assert (
        "It stays too big until MAX_EMAIL_SIZE of the idlers is raised." in (await owner.get("/mails/2")).text
    )
    assert "until the operator" in (await portal.get("/mails/2")).text
    assert "It stays too big" not in (await owner.get("/mails/3")).text

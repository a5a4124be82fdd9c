"""Charts on pages: their numbers are those of the lists, and a portal shows only its own."""

from __future__ import annotations

import html
import re

import asyncpg
from sqlalchemy import text

from superimap.core.ids import uuid7
from superimap.db.delivery import activity
from superimap.domain.activity import ActivitySource
from tests.integration.dashboard.test_portal import opened
from tests.support.api import ApiWorld
from tests.support.dashboard import Browser, signed_in

HOSTILE = "<script>alert(1)</script>\u202e'\"&"

_USER = """
    WITH linked AS (
        INSERT INTO connections (partner_id, provider_id)
        SELECT p.id, v.id FROM partners p, providers v WHERE p.name = :partner AND v.code = 'PLAIN' RETURNING *
    ), made AS (
        INSERT INTO users (partner_id, connection_id, tag) SELECT partner_id, id, 'ann' FROM linked RETURNING *
    )
    INSERT INTO mailboxes (partner_id, user_id, account, name)
    SELECT partner_id, id, 'a', 'INBOX' FROM made RETURNING id, user_id, partner_id
"""
_MAIL = """
    INSERT INTO messages (partner_id, user_id, mailbox_id, uid_validity, uid, size, outcome)
    VALUES (:partner, :user, :box, 1, :uid, 1, 'delivered')
"""
_DELIVERY = """
    INSERT INTO deliveries (id, partner_id, endpoint_id, user_id, kind, state, content, created_at, settled_at)
    SELECT :id, e.partner_id, e.id, :user, 'new_mail', :state, '', now() - interval '150 ms', now()
    FROM endpoints e WHERE e.partner_id = :partner AND e.kind = 'new_mail' RETURNING endpoint_id
"""
_ATTEMPT = """
    INSERT INTO attempts (id, partner_id, delivery_id, number, milliseconds, code)
    VALUES (:id, :partner, :delivery, 1, 40, :code)
"""


async def happen(world: ApiWorld, partner: str, *, delivered: int, failed: int) -> tuple[int, int]:
    """Record a mail for each webhook, and end these; returns the ids of partner and endpoint."""
    async with world.sessionmaker.begin() as db:
        box, user, owner = (await db.execute(text(_USER), {"partner": partner})).one()
        endpoint = 0
        for number in range(delivered + failed):
            values = {"partner": owner, "user": user, "box": box, "uid": number + 1, "id": uuid7()}
            await db.execute(text(_MAIL), values)
            state = "delivered" if number < delivered else "failed"
            endpoint = (await db.execute(text(_DELIVERY), values | {"state": state})).scalar_one()
            code = 200 if number < delivered else 503
            attempt = {"id": uuid7(), "partner": owner, "delivery": values["id"], "code": code}
            await db.execute(text(_ATTEMPT), attempt)
    return owner, endpoint


async def count(world: ApiWorld) -> None:
    """Count everything that has happened; once more than needed."""
    db = await asyncpg.connect(world.settings.database_url)
    try:
        # Ids of attempts have whole milliseconds, and the last may be in this one.
        await db.execute("SELECT pg_sleep(0.002)")
        for source in [*ActivitySource, *ActivitySource]:
            while await activity.count_slice(db, source, lag=0.0):
                pass
    finally:
        await db.close()


async def sums(reader: Browser, path: str, part: str) -> dict[str, int]:
    """The sums of the columns of the table below a chart, by their headings."""
    page = (await reader.get(path)).text
    found = re.search(rf'data-part="{part}".*?</section>', page, re.S)
    assert found, page
    headings = re.findall(r'<th scope="col">([^<]*)', found[0])[1:]
    cells = [re.findall(r"<td>([\d,]+)</td>", row) for row in re.findall(r"<tr>.*?</tr>", found[0], re.S)]
    columns = zip(*(map(_number, row) for row in cells if row), strict=True)
    return dict(zip(headings, map(sum, columns), strict=False))


def _number(cell: str) -> int:
    return int(cell.replace(",", ""))


async def test_the_table_below_a_chart_says_what_the_lists_show(world):
    partner, endpoint = await happen(world, "acme", delivered=7, failed=2)
    await happen(world, "globex", delivered=30, failed=11)
    await count(world)
    viewer = await signed_in(world)

    of_acme = {"mails": 9, "delivered": 7, "failed": 2}
    assert await sums(viewer, f"/partners/{partner}", "webhooks-chart") == of_acme
    assert await sums(viewer, "", "webhooks-chart") == {"mails": 50, "delivered": 37, "failed": 13}
    assert await sums(viewer, f"/endpoints/{endpoint}", "answers-chart") == {
        "accepted": 7,
        "refused": 2,
        "no answer": 0,
    }
    assert await sums(viewer, f"/endpoints/{endpoint}", "answer-times-chart") == {"answers": 9}
    assert await sums(viewer, f"/partners/{partner}", "latency-chart") == {"webhooks": 7}
    listed = (await viewer.get("/deliveries", partner=str(partner), state="failed")).text
    assert len(set(re.findall(r"/admin/deliveries/\d+/(msg_\w+)", listed))) == of_acme["failed"]


async def test_a_portal_shows_the_numbers_of_its_partner_only(world):
    await happen(world, "acme", delivered=7, failed=2)
    _, endpoint = await happen(world, "globex", delivered=30, failed=11)
    await count(world)

    acme, globex = await opened(world, world.acme), await opened(world, world.globex)

    assert await sums(acme, "", "webhooks-chart") == {"mails": 9, "delivered": 7, "failed": 2}
    assert await sums(globex, "", "webhooks-chart") == {"mails": 41, "delivered": 30, "failed": 11}
    assert (await acme.get(f"/endpoints/{endpoint}")).status_code == 404
    assert (await globex.get(f"/endpoints/{endpoint}")).status_code == 200


async def test_charts_without_any_activity_say_so(world):
    await happen(world, "acme", delivered=0, failed=0)
    viewer = await signed_in(world)
    for path in ("", "/partners/1", "/endpoints/1", "/providers", "/providers/PLAIN", "/cluster"):
        shown = await viewer.get(path)
        assert shown.status_code == 200, path
        assert ("Nothing in this time" in shown.text) == (path != "/providers"), path


async def test_a_provider_that_refuses_more_than_usual_is_said_to(world):
    _, _ = await happen(world, "acme", delivered=3, failed=0)
    async with world.sessionmaker.begin() as db:
        await db.execute(text("UPDATE providers SET title = :title WHERE code = 'PLAIN'"), {"title": HOSTILE})
        await db.execute(
            text(
                "INSERT INTO user_events (partner_id, user_id, kind) SELECT partner_id, id, 'reauth_required'"
                " FROM users, generate_series(1, 5)"
            )
        )
    await count(world)
    viewer = await signed_in(world)

    page = html.unescape((await viewer.get("/providers")).text)

    assert "Refused 5 mailboxes, usually" in page
    assert await sums(viewer, "/providers/PLAIN", "trouble-chart") == {
        "must sign in again": 5,
        "server fell silent": 0,
    }
    assert await sums(viewer, "/providers/PLAIN", "mails-chart") == {"mails": 3}
    assert "<script>alert" not in (await viewer.get("/providers")).text


async def test_a_provider_whose_mailboxes_cannot_be_read_is_not_as_usual(world):
    await happen(world, "acme", delivered=3, failed=0)
    async with world.sessionmaker.begin() as db:
        await db.execute(text("UPDATE users SET status = 'backing_off'"))
    viewer = await signed_in(world)

    for path in ("/providers", "/providers/PLAIN"):
        assert "1 mailbox cannot be read at this moment." in (await viewer.get(path)).text


async def test_the_cluster_shows_the_sessions_of_its_idlers(world):
    async with world.sessionmaker.begin() as db:
        await db.execute(
            text(
                "INSERT INTO idlers (name, version, capacity, sessions, users) VALUES ('one', '1', 10, 4, 5)"
            )
        )
    database = await asyncpg.connect(world.settings.database_url)
    await activity.sample_idlers(database, expiry=30.0)
    await database.close()
    viewer = await signed_in(world)

    assert await sums(viewer, "/cluster", "sessions-chart") == {"sessions": 4, "mailboxes to watch": 5}
    assert "Sessions of one in the last day: 0 to 4." in (await viewer.get("/cluster")).text

"""The page Now: one sentence that is true, and the causes behind it."""

from __future__ import annotations

import csv
import html
import io
import re

import pytest
from sqlalchemy import text

from superimap.domain.users import TROUBLED, UserStatus
from tests.integration.dashboard.test_portal import opened
from tests.support.api import ApiWorld
from tests.support.dashboard import signed_in

HOSTILE = "<script>alert(1)</script>\u202e\x1b" + "x" * 10_000


ON_TIME = "no webhook has been due for more than a minute."


async def execute(world: ApiWorld, statement: str, **values: object) -> None:
    async with world.sessionmaker.begin() as db:
        await db.execute(text(statement), values)


async def add_users(world: ApiWorld, count: int, *, partner: str = "acme", status: str = "watching") -> None:
    """Add connected users of the provider PLAIN, in this status."""
    await execute(
        world,
        """
        WITH linked AS (
            INSERT INTO connections (partner_id, provider_id)
            SELECT p.id, v.id FROM partners p, providers v WHERE p.name = :partner AND v.code = 'PLAIN'
            ON CONFLICT (partner_id, provider_id) DO UPDATE SET created_at = now() RETURNING id, partner_id
        ), made AS (
            INSERT INTO users (partner_id, connection_id, tag, email, connected_at)
            SELECT partner_id, id, gen_random_uuid()::text, gen_random_uuid()::text, now()
            FROM linked, generate_series(1, :count) RETURNING id
        )
        SELECT count(*) FROM made
        """,
        partner=partner,
        count=count,
    )
    await execute(
        world,
        "UPDATE users SET status = :status, status_reason = :reason WHERE status = 'not_connected'",
        status=status,
        reason=None if status == "watching" else HOSTILE,
    )


async def shown(world: ApiWorld) -> tuple[str, list[str]]:
    """The headline and the titles of the causes."""
    page = (await (await signed_in(world, email="ann@example.com")).get()).text
    headline = re.search(r'data-part="headline"[^>]*>([^<]*)<', page)
    assert headline
    return html.unescape(headline[1].strip()), [
        html.unescape(title) for title in re.findall(r"cause \w+\">\s*<h2>([^<]*)<", page)
    ]


async def serve_all(world: ApiWorld) -> None:
    """Let an idler own all shards: its users have room."""
    await execute(
        world,
        """
        WITH idler AS (INSERT INTO idlers (name, version, capacity) VALUES ('i', '0', 10000) RETURNING id)
        UPDATE shards SET owner = idler.id FROM idler
        """,
    )


async def test_with_everything_watched_the_page_says_so(world):
    await serve_all(world)
    assert await shown(world) == (
        "No mailbox is connected yet; no webhook has been due for more than a minute.",
        [],
    )


async def test_users_without_an_idler_are_said_first(world):
    await add_users(world, 3)

    headline, titles = await shown(world)

    assert headline == f"3 of 3 mailboxes are not watched: 3 have no idler; {ON_TIME}"
    assert titles == ["3 mailboxes have no idler"]


async def test_problems_are_grouped_by_what_they_share(world):
    await serve_all(world)
    await add_users(world, 4)
    await add_users(world, 2, status="authentication_failed")
    await add_users(world, 3, status="backing_off")
    await add_users(world, 1, partner="globex", status="backing_off")

    headline, titles = await shown(world)

    assert headline == (
        "6 of 10 mailboxes are not watched: sessions with PLAIN fail for 4, 2 must sign in again at PLAIN; "
        f"{ON_TIME}"
    )
    assert titles == [
        "Sessions with PLAIN fail for 4 mailboxes",
        "PLAIN refuses the sign-in of 2 mailboxes of acme",
    ]


@pytest.mark.parametrize("status", list(UserStatus))
async def test_the_table_of_troubled_users_follows_every_change(world, status):
    await add_users(world, 1)
    expected = int(status in TROUBLED)

    async def troubled() -> int:
        async with world.sessionmaker.begin() as db:
            return int(await db.scalar(text("SELECT count(*) FROM troubled_users")) or 0)

    await execute(
        world, "UPDATE users SET status = :status, archived = :archived", status=status, archived=False
    )
    assert await troubled() == expected
    await execute(world, "UPDATE users SET archived = true")
    assert await troubled() == 0
    await execute(world, "UPDATE users SET archived = false")
    assert await troubled() == expected
    await execute(world, "DELETE FROM users")
    assert await troubled() == 0


async def test_late_and_disabled_endpoints_are_causes(world):
    await serve_all(world)
    await add_users(world, 1)
    await execute(
        world, "UPDATE endpoints SET url = 'https://a.example/', failing_since = now() WHERE id = 1"
    )
    await execute(world, "UPDATE endpoints SET disabled_at = now(), disabled_reason = 'gone' WHERE id = 2")
    await execute(
        world,
        """
        INSERT INTO deliveries (id, partner_id, endpoint_id, user_id, kind, due_at, content)
        SELECT gen_random_uuid(), u.partner_id, e.id, u.id, e.kind, now() - interval '2 minutes', ''
        FROM users u JOIN endpoints e USING (partner_id) WHERE e.id IN (1, 2, 3)
        """,
    )

    headline, titles = await shown(world)

    late, held = "webhooks to 2 endpoints are late", "webhooks to 1 disabled endpoint wait"
    assert headline == f"The mailbox is watched; {late} and {held}."
    assert len(titles) == 3
    assert any("is disabled: it answered 410" in title for title in titles)
    assert any(title.endswith("are late") for title in titles)


async def test_hostile_reasons_are_text(world):
    await serve_all(world)
    await execute(world, "UPDATE partners SET name = :name WHERE name = 'acme'", name=HOSTILE[:60])
    await add_users(world, 1, partner=HOSTILE[:60], status="suspended")

    page = (await (await signed_in(world)).get()).text

    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "\u202e" not in page
    assert "⟨U+202E⟩" in page
    assert "x" * 2001 not in page


async def test_people_who_must_sign_in_again_are_a_file_without_formulas_and_of_one_partner_in_a_portal(
    world,
):
    await serve_all(world)
    await add_users(world, 1, status="authentication_failed")
    await add_users(world, 1, partner="globex", status="authentication_failed")
    await execute(world, "UPDATE users SET tag = '=1+1', status_reason = '@SUM(A1)' WHERE id = 1")
    status = {"status": "authentication_failed"}

    everyone = await (await signed_in(world)).get("/unwatched.csv", **status)
    (_, *rows) = csv.reader(io.StringIO(everyone.text))
    (_, own) = csv.reader(
        io.StringIO((await (await opened(world, world.acme)).get("/unwatched.csv", **status)).text)
    )

    assert everyone.headers["content-disposition"] == 'attachment; filename="authentication_failed.csv"'
    assert (rows[0][1], rows[0][2], rows[0][6]) == ("'=1+1", "acme", "'@SUM(A1)")
    assert [row[2] for row in rows] == ["acme", "globex"]
    assert own[2] == "acme"

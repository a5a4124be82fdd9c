"""The pages of a mailbox and of one mail, and what leads to them."""

from __future__ import annotations

import html
import re
import uuid

import pytest
from sqlalchemy import text

from superimap.db.models import Attempt
from superimap.domain.operators import OperatorRole
from superimap.webhooks.signing import webhook_id
from tests.support.api import ApiWorld
from tests.support.dashboard import Browser, signed_in

HOSTILE = "<img src=x onerror=alert(1)>\u202etxt.exe\x1b[31m" + "y" * 10_000
USER = """
    WITH linked AS (
        INSERT INTO connections (partner_id, provider_id)
        SELECT p.id, v.id FROM partners p, providers v WHERE p.name = 'acme' AND v.code = 'PLAIN' RETURNING *
    ), made AS (
        INSERT INTO users (partner_id, connection_id, tag, email, connected_at, status_reason)
        SELECT partner_id, id, :tag, 'ann@example.com', now(), :reason FROM linked RETURNING *
    ), box AS (
        INSERT INTO mailboxes (partner_id, user_id, account, name) SELECT partner_id, id, 'a', 'INBOX' FROM made
        RETURNING *
    ), mail AS (
        INSERT INTO messages (partner_id, user_id, mailbox_id, uid_validity, uid, size, message_id, outcome,
            detail, internal_date)
        SELECT partner_id, user_id, id, 1, n, 1, '<' || n || '@example.com>', o.outcome, o.detail,
            now() - interval '3 seconds'
        FROM box, (VALUES (1, 'delivered', NULL), (2, 'too_big', :reason), (3, 'no_webhook', NULL),
            (4, 'before_connect', NULL)) o (n, outcome, detail)
        RETURNING *
    )
    INSERT INTO deliveries (id, partner_id, endpoint_id, user_id, message_id, kind, content, attempts, last_code)
    SELECT :delivery, m.partner_id, e.id, m.user_id, m.id, 'new_mail', '', 1, 502
    FROM mail m JOIN endpoints e ON e.partner_id = m.partner_id AND e.kind = 'new_mail'
    WHERE m.outcome = 'delivered'
"""


async def add_mails(world: ApiWorld, *, reason: str = "wrong password", tag: str = "ann") -> uuid.UUID:
    """Add a user with four mails: one webhook that failed once, and three mails without one."""
    delivery = uuid.uuid4()
    async with world.sessionmaker.begin() as db:
        given = {"tag": tag, "reason": reason.replace("\0", ""), "delivery": delivery}
        await db.execute(text(USER), given)
        await db.execute(text("UPDATE users SET status = 'authentication_failed'"))
        db.add(
            Attempt(id=uuid.uuid4(), partner_id=1, delivery_id=delivery, number=1, milliseconds=420, code=502)
        )
    return delivery


async def execute(world: ApiWorld, statement: str) -> None:
    async with world.sessionmaker.begin() as db:
        await db.execute(text(statement))


async def headline(owner: Browser, path: str) -> str:
    page = (await owner.get(path)).text
    found = re.search(r'data-part="headline"[^>]*>\s*([^<]*?)\s*<', page)
    assert found, page
    return html.unescape(found[1])


@pytest.mark.parametrize("query", ["ann", "ANN@example.com"])
async def test_a_mailbox_is_found_by_tag_and_address(world, query):
    await add_mails(world)
    owner = await signed_in(world, OperatorRole.VIEWER)

    answer = await owner.get("/find", q=query)

    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/mailboxes/1")
    assert "must sign in again" in (await owner.get("/mailboxes/1")).text


async def test_a_webhook_id_a_partner_and_a_provider_are_found_and_nothing_else_is(world):
    delivery = await add_mails(world)
    owner = await signed_in(world)

    async def led_to(query: str) -> str | None:
        return (await owner.get("/find", q=query)).headers.get("location")

    assert await led_to(webhook_id(delivery)) == f"/admin/deliveries/1/{webhook_id(delivery)}"
    assert await led_to("ACME") == "/admin/partners/1"
    assert await led_to("plain") == "/admin/providers/PLAIN"
    for nothing in ("", "nobody", "<1@example.com>", "a\0b", "9" * 30, "x" * 5000, webhook_id(uuid.uuid4())):
        assert await led_to(nothing) is None


async def test_the_page_of_a_mail_says_why_nothing_arrived(world):
    await add_mails(world, reason="larger than MAX_EMAIL_SIZE")
    owner = await signed_in(world)

    assert await headline(owner, "/mails/1") == "The webhook is pending; the last answer was 502 (1 attempt)."
    assert await headline(owner, "/mails/2") == "Larger than MAX_EMAIL_SIZE."
    assert await headline(owner, "/mails/3") == "The partner had no new_mail URL when it was seen."
    assert await headline(owner, "/mails/4") == "Arrived before the user was connected."
    page = (await owner.get("/mails/1")).text
    assert [name for name in ("Provider", "Recorded", "Attempt 1") if name in page] != []
    assert "answer 502" in page
    assert "420 ms" in page


async def test_the_path_of_a_mail_has_exact_stages_and_no_bar_for_a_clock_that_is_ahead(world):
    await add_mails(world)
    async with world.sessionmaker.begin() as db:
        await db.execute(
            text(
                "UPDATE messages SET found_by = 1, recording_milliseconds = 29,"
                " internal_date = created_at + interval '2 seconds 500 ms'"
            )
        )
        await db.execute(text("UPDATE attempts SET started_at = (SELECT min(created_at) FROM deliveries)"))
    owner = await signed_in(world)

    page = (await owner.get("/mails/1")).text

    rows = {
        re.sub(r"<.*", "", row[0]).strip(): row
        for row in re.findall(
            r'<td data-name="Stage">(.*?)</td>.*?<td class="number"[^>]*>(.*?)</td><td>(.*?)</td>', page
        )
    }
    assert list(rows) == ["Provider", "Recording", "Recorded", "Sending", "Attempt 1"]
    assert rows["Provider"][1:] == ("server clock ahead by 2.529 s", "")
    assert rows["Recording"][1] == "29 ms"
    assert "because the mail server announced it" in rows["Recording"][0]
    assert "<svg" in rows["Recording"][2]


async def test_mails_are_filtered_by_outcome_and_by_message_id(world):
    await add_mails(world)
    owner = await signed_in(world)

    by_outcome = (await owner.get("/mailboxes/1", outcome="too_big")).text
    headers = ("<3@example.com>", "3@EXAMPLE.com", "Message-ID: <3@example.com>", "‹3@example.com›")
    by_header = [(await owner.get("/mailboxes/1", message_id=each)).text for each in headers]

    assert re.findall(r'href="/admin/mails/(\d+)"', by_outcome) == ["2"]
    assert [re.findall(r'href="/admin/mails/(\d+)"', each) for each in by_header] == [["3"]] * len(headers)


async def test_find_asks_for_the_mailbox_of_a_message_id(world):
    await add_mails(world)
    owner = await signed_in(world)

    asked = await owner.get("/find", q="<3@example.com>")
    answer = await owner.get("/find", q="ann", message_id="<3@example.com>")

    assert 'name="message_id" value="&lt;3@example.com&gt;"' in asked.text
    assert answer.headers["location"] == "/admin/mailboxes/1?message_id=%3C3%40example.com%3E"


async def test_a_mailbox_that_is_polled_or_cannot_be_read_says_so(world):
    await add_mails(world)
    owner = await signed_in(world)

    await execute(
        world, "UPDATE users SET status = 'watching', status_reason = 'IDLE fails; polled every 20 s'"
    )
    polled = (await owner.get("/mailboxes/1")).text
    await execute(
        world, "UPDATE users SET status = 'backing_off', status_since = now(), last_login_at = now()"
    )
    unread = (await owner.get("/mailboxes/1")).text
    await execute(world, "UPDATE users SET last_login_at = status_since - interval '1 s'")
    failing = (await owner.get("/mailboxes/1")).text

    assert "it is seen within 20 s" in polled and "panel headline warn" in polled
    assert "accepts the sign-in, but the mailbox cannot be read" in unread
    assert "The session with the mail server fails" in failing


async def test_an_operator_tries_a_mailbox_now_and_has_a_mail_read_again_but_a_viewer_does_not(world):
    await add_mails(world)
    operator, viewer = (
        await signed_in(world, OperatorRole.OPERATOR),
        await signed_in(world, OperatorRole.VIEWER),
    )

    refused = await viewer.post("/mailboxes/1/try", page="/mailboxes/1")
    tried = await operator.post("/mailboxes/1/try", page="/mailboxes/1")
    again = await operator.post("/mails/2/retry", page="/mails/2")
    not_again = await operator.post("/mails/4/retry", page="/mails/4")

    assert [each.status_code for each in (refused, tried, again, not_again)] == [403, 303, 303, 409]
    async with world.sessionmaker.begin() as db:
        assert await db.scalar(text("SELECT credentials_version FROM users")) == 3
        assert await db.scalar(text("SELECT count(*) FROM deferred_mails")) == 1
    assert "Try now" not in (await viewer.get("/mailboxes/1")).text


async def test_a_page_is_fetched_often_only_while_a_change_may_be_expected(world):
    await add_mails(world)
    owner = await signed_in(world)
    often = 'data-live="/admin/live?soon=1"'

    assert often in (await owner.get("/mailboxes/1")).text
    async with world.sessionmaker.begin() as db:
        await db.execute(text("UPDATE users SET status_since = now() - interval '11 minutes'"))
    assert often not in (await owner.get("/mailboxes/1")).text


async def test_hostile_texts_are_shown_as_text(world):
    await add_mails(world, reason=HOSTILE, tag=HOSTILE[:200])
    owner = await signed_in(world)

    for path in ("/mailboxes/1", "/mails/1", "/mails/2"):
        page = (await owner.get(path)).text
        assert "<img" not in page
        assert not {"\u202e", "\x1b"} & set(page)
        assert "y" * 2001 not in page


@pytest.mark.parametrize(
    "path", ["/mailboxes/2", "/mails/99", "/mails/x", "/mailboxes/0", "/mails/" + "9" * 40]
)
async def test_what_does_not_exist_is_not_found(world, path):
    assert (await (await signed_in(world)).get(path)).status_code == 404

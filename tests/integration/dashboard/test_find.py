"""The page Find, and what is not found."""

from __future__ import annotations

from tests.integration.dashboard.test_mailbox import add_mails, execute
from tests.support.dashboard import signed_in


async def test_an_archived_mailbox_is_found_by_its_address_if_no_other_is(world):
    await add_mails(world)
    owner = await signed_in(world)
    await execute(world, "UPDATE users SET archived = true, status = 'archived'")

    for query in ("ann@example.com", "ANN@example.com"):
        assert (await owner.get("/find", q=query)).headers["location"] == "/admin/mailboxes/1"
    assert ">archived</span>" in (await owner.get("/mailboxes/1")).text

    await execute(
        world,
        "INSERT INTO users (partner_id, connection_id, tag, email) "
        "SELECT partner_id, connection_id, 'new', email FROM users",
    )
    assert (await owner.get("/find", q="ann@example.com")).headers["location"] == "/admin/mailboxes/2"


async def test_a_message_id_without_brackets_is_offered_as_one(world):
    await add_mails(world)
    owner = await signed_in(world)

    asked = (await owner.get("/find", q="3@example.com")).text

    assert "If it is a Message-ID" in asked and 'name="message_id" value="3@example.com"' in asked
    assert "If it is a Message-ID" not in (await owner.get("/find", q="nobody")).text
    assert "a Message-ID" in (await owner.get("/find")).text


async def test_a_mail_that_was_never_seen_leads_to_the_other_folders(world):
    await add_mails(world)
    owner = await signed_in(world)

    missing = (await owner.get("/mailboxes/1", message_id="<nine@example.com>")).text
    found = (await owner.get("/mailboxes/1", message_id="<3@example.com>")).text

    assert "Watched: INBOX. A mail that is missing here may be in another folder" in missing
    assert "A sweep of another folder" in missing and "A sweep of another folder" not in found

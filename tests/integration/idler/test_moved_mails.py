"""Deferred mails whose folder is renumbered, renamed or no longer watched: none ends in silence."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fixtures.world import World, eventually
from superimap.core.crypto import Place
from superimap.testing import ImapServer
from tests.integration.idler.test_deferrals import (
    LATER,
    TIMING,
    Fault,
    idler,
    idling,
    mail,
    no,
    no_body,
    retry,
    set_up,
    until_outcomes,
)
from tests.integration.idler.test_identities import plain

NOW = datetime.now(UTC)
OLD = NOW - timedelta(days=900)


async def set_up_folder(world: World, imap: ImapServer, folders: str) -> Any:
    account = imap.add_account("joe", "pw")
    partner = await world.partner(
        new_mail_webhook="https://app.example.com/hook", events_webhook="https://app.example.com/events"
    )
    await world.provider(imap.host, imap.port, folders=folders)
    await world.connection(partner)
    await world.user(partner, "joe", login="joe", password="pw")
    return account


async def refuse_poison(imap: ImapServer) -> Any:
    async def hook(session: Any, command: Any) -> bytes | None:
        usual = session.usual_answer(command)
        return command.tag + b" NO later\r\n" if b"BODY[]" in usual and b"poison" in usual else None

    return imap.on("UID FETCH", hook)


async def defer(world: World, imap: ImapServer, box: Any, *, age: float = 0) -> None:
    """Have UID 2 deferred and UID 3 delivered, in a folder with one old mail."""
    box.append(mail("old"), internal_date=OLD)
    async with idler(world, LATER):
        await idling(imap)
        box.append(mail("poison"), internal_date=datetime.now(UTC) - timedelta(days=age))
        box.append(mail("good"))
        await until_outcomes(world, {2: "deferred", 3: "delivered"})


async def none_deferred(world: World) -> None:
    await eventually(lambda: world.value("SELECT count(*) = 0 FROM deferred_mails"))


async def ends(world: World) -> list[tuple[int, str]]:
    return [
        (row["uid"], row["outcome"])
        for row in await world.rows("SELECT uid, outcome FROM messages ORDER BY id")
    ]


async def events(world: World) -> list[dict[str, Any]]:
    rows = await world.rows(
        "SELECT id, partner_id, content FROM deliveries WHERE kind = 'events' ORDER BY id"
    )
    places = [Place("deliveries", "content", row["partner_id"], str(row["id"])) for row in rows]
    return [
        json.loads(world.vault.open(row["content"], place)) for row, place in zip(rows, places, strict=True)
    ]


@pytest.mark.parametrize("age", [0, 40])
async def test_a_deferred_mail_is_delivered_after_its_folder_was_renamed(world, imap, age):
    account = await set_up_folder(world, imap, "\\All")
    stop = await refuse_poison(imap)
    await defer(world, imap, account.create("All Mail", special_use="\\All"), age=age)
    account.rename("All Mail", "Alle Nachrichten")
    stop()
    async with idler(world, TIMING):
        await none_deferred(world)

    assert await ends(world) == [(2, "gone"), (3, "delivered"), (2, "delivered"), (3, "duplicate")]
    assert "UID 2" in await world.value("SELECT detail FROM messages WHERE outcome = 'gone'")
    assert await events(world) == []


async def test_a_deferred_mail_of_a_folder_that_is_not_watched_any_more_is_unreadable_and_an_event_says_so(
    world, imap
):
    account = await set_up_folder(world, imap, "Sales")
    await refuse_poison(imap)
    await defer(world, imap, account.create("Sales"))
    await world.rows("UPDATE providers SET folders = 'INBOX'")
    async with idler(world, TIMING):
        await none_deferred(world)

    assert await ends(world) == [(2, "unreadable"), (3, "delivered")]
    (event,) = await events(world)
    assert (event["event"], event["uid"]) == ("mail_unreadable", 2)
    assert "no longer watched" in event["reason"]
    assert event["message"] == await world.value("SELECT id FROM messages WHERE uid = 2")


async def test_a_deferred_mail_waits_while_inbox_stands_in_for_its_folder(world, imap):
    account = await set_up_folder(world, imap, "Sales")
    stop = await refuse_poison(imap)
    await defer(world, imap, account.create("Sales"))
    account.rename("Sales", "Away")
    async with idler(world, LATER):
        await idling(imap)
        assert await ends(world) == [(2, "deferred"), (3, "delivered")]
    account.rename("Away", "Sales")
    stop()
    await world.rows("UPDATE deferred_mails SET next_attempt_at = now()")
    async with idler(world, LATER):
        await until_outcomes(world, {2: "delivered", 3: "delivered"})


async def test_a_deferred_mail_is_found_below_the_cursor_of_a_folder_that_was_watched_before(world, imap):
    """It was filed there by date among mails that nobody looked at, as in a folder of all mail."""
    account = await set_up_folder(world, imap, "Sales")
    stop = await refuse_poison(imap)
    box = account.create("Sales")
    await defer(world, imap, box, age=40)
    account.inbox.append(mail("poison"), internal_date=box.messages[1].internal_date)
    await world.rows(
        "INSERT INTO mailboxes (user_id, partner_id, account, name, uid_validity, server_uid_validity, last_uid)"
        " SELECT user_id, partner_id, account, 'INBOX', $1, $1, 1 FROM mailboxes",
        account.inbox.uidvalidity,
    )
    await world.rows("UPDATE providers SET folders = 'INBOX'")
    stop()
    async with idler(world, TIMING):
        await none_deferred(world)

    assert await ends(world) == [(2, "gone"), (3, "delivered"), (1, "delivered")]


async def test_a_deferred_mail_of_which_nothing_is_known_is_unreadable_after_a_renumbering_not_gone(
    world, imap
):
    await set_up(world, imap)
    fault = Fault(imap, no)
    await defer(world, imap, imap.accounts["joe"].inbox, age=40)
    imap.accounts["joe"].inbox.set_uidvalidity(77)
    fault.is_on = False
    async with idler(world, TIMING):
        await none_deferred(world)

    assert await ends(world) == [(2, "unreadable"), (3, "delivered"), (3, "duplicate")]
    assert [event["event"] for event in await events(world)] == ["mail_unreadable"]


async def test_a_deferred_mail_of_which_nothing_is_known_is_the_only_one_that_is_new_after_a_renumbering(
    world, imap
):
    await set_up(world, imap)
    fault = Fault(imap, no)
    await defer(world, imap, imap.accounts["joe"].inbox)
    imap.accounts["joe"].inbox.set_uidvalidity(77)
    fault.is_on = False
    async with idler(world, TIMING):
        await none_deferred(world)

    assert await ends(world) == [(2, "gone"), (3, "delivered"), (2, "delivered"), (3, "duplicate")]
    assert await events(world) == []


async def test_a_deferred_mail_that_was_deleted_before_a_renumbering_is_gone(world, imap):
    await set_up(world, imap)
    Fault(imap, no_body)
    await defer(world, imap, imap.accounts["joe"].inbox)
    imap.accounts["joe"].inbox.expunge(2)
    imap.accounts["joe"].inbox.set_uidvalidity(77)
    async with idler(world, TIMING):
        await none_deferred(world)

    assert await ends(world) == [(2, "gone"), (3, "delivered"), (2, "duplicate")]


@pytest.mark.parametrize(("break_answer", "age"), [(no_body, 40), (no, 1)])
async def test_a_mail_deferred_in_two_numberings_is_still_new_by_its_first_uid(
    world, imap, break_answer, age
):
    """It was moved in and is older than the connection. Of one of them, nothing but the UID is known."""
    await set_up(world, imap)
    fault = Fault(imap, break_answer)
    await defer(world, imap, imap.accounts["joe"].inbox, age=age)
    imap.accounts["joe"].inbox.set_uidvalidity(77)
    async with idler(world, LATER):
        await eventually(lambda: world.value("SELECT bool_and(uid_validity = 77) FROM deferred_mails"))
    fault.is_on = False
    await world.rows("UPDATE deferred_mails SET next_attempt_at = now()")
    async with idler(world, LATER):
        await none_deferred(world)

    assert (await ends(world))[2:] == [(2, "delivered"), (3, "duplicate")]


@pytest.mark.parametrize("break_answer", [no, no_body])
async def test_a_mail_deferred_on_two_backends_is_delivered_once_it_can_be_read(world, imap, break_answer):
    """UIDVALIDITY changes from 1 to 2 and back while the mail cannot be read."""
    await set_up(world, imap)
    inbox = imap.accounts["joe"].inbox
    fault = Fault(imap, break_answer)
    await defer(world, imap, inbox, age=-0.1)
    first = inbox.uidvalidity
    for value in (first + 1, first):
        inbox.uidvalidity = value
        async with idler(world, LATER):
            await eventually(lambda: world.value("SELECT status = 'watching' FROM users"))
            await eventually(
                lambda value=value: world.value(
                    f"SELECT bool_and(uid_validity = {value}) FROM deferred_mails"
                )
            )
    fault.is_on = False
    await world.rows("UPDATE deferred_mails SET next_attempt_at = now()")
    async with idler(world, LATER):
        await eventually(lambda: world.value("SELECT count(*) = 2 FROM deliveries WHERE kind = 'new_mail'"))


async def test_a_mail_given_up_before_a_renumbering_is_found_again_at_the_partners_request(world, imap):
    await set_up(world, imap)
    fault = Fault(imap, no_body)
    await defer(world, imap, imap.accounts["joe"].inbox, age=40)
    await world.rows("DELETE FROM deferred_mails")
    await world.rows("UPDATE messages SET outcome = 'unreadable' WHERE uid = 2")
    imap.accounts["joe"].inbox.set_uidvalidity(77)
    fault.is_on = False
    async with idler(world, TIMING):
        await eventually(lambda: world.value("SELECT uid_validity = 77 AND last_uid = 3 FROM mailboxes"))
        await retry(world, 2)
        await eventually(lambda: world.value("SELECT count(*) = 2 FROM deliveries WHERE kind = 'new_mail'"))


async def test_old_scans_with_the_message_id_of_a_deferred_one_stay_from_before_the_connection(world, imap):
    await set_up(world, imap)
    inbox = imap.accounts["joe"].inbox
    for age in (3, 4):
        inbox.append(plain("old scan", "scan@x"), internal_date=NOW - timedelta(days=age))
    await refuse_poison(imap)
    async with idler(world, LATER):
        await idling(imap)
        inbox.append(plain("poison", "scan@x"), internal_date=NOW - timedelta(days=10))
        inbox.append(mail("good"))
        await until_outcomes(world, {3: "deferred", 4: "delivered"})
    inbox.uidvalidity += 1
    async with idler(world, LATER):
        await eventually(lambda: world.value("SELECT count(*) >= 6 FROM messages"))

    assert await world.value("SELECT count(*) FROM deliveries") == 1


async def test_there_is_one_event_about_a_mail_that_is_too_big_in_every_numbering(world, imap):
    await set_up(world, imap)
    world.overrides["max_email_size"] = 100_000
    inbox = imap.accounts["joe"].inbox
    later = datetime.now(UTC) + timedelta(minutes=5)
    inbox.append(mail("big") + b"x" * 200_000, internal_date=later)
    inbox.append(mail("other") + b"x" * 200_000, internal_date=later)
    async with idler(world):
        await until_outcomes(world, {1: "too_big", 2: "too_big"})
    inbox.set_uidvalidity(77)
    async with idler(world):
        await eventually(lambda: world.value("SELECT count(*) = 4 FROM messages"))

    assert [event["event"] for event in await events(world)] == ["mail_oversized"] * 2

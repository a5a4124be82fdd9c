"""Numberings of UIDs: UIDs used again, UIDVALIDITYs of any size, and mailboxes that were empty at first."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, formatdate
from typing import Any

import pytest

from fixtures.world import World, eventually, running
from superimap.launch import services
from superimap.testing import ImapServer
from superimap.testing.imap.mailbox import FakeMailbox
from tests.integration.idler.test_watching import idling, mail, outcomes, recorded, set_up


@pytest.fixture
async def joe(world, imap) -> FakeMailbox:
    """The INBOX of a connected user."""
    partner = await set_up(world, imap)
    await world.user(partner, "joe", login="joe", password="pw")
    return imap.accounts["joe"].inbox


async def watch_briefly(world: World, imap: ImapServer, count: int) -> list[tuple[int, str]]:
    """Run an idler until `count` mails are recorded and its session is idle."""
    async with running(services.run_idler, world.settings):
        found = await recorded(world, count)
        await idling(imap)
    return found


async def eventually_delivered(world: World, imap: ImapServer, *, subject: str) -> None:
    """Run an idler until the mail of `mail(subject)` has a webhook and the session is idle."""
    before = await deliveries(world)
    async with running(services.run_idler, world.settings):
        await eventually(lambda: world.value("SELECT count(*) > $1 FROM deliveries", before))
        await idling(imap)


def begin_again(mailbox: FakeMailbox) -> None:
    """Remove all mail, and number the next from 1 under the same UIDVALIDITY."""
    for message in list(mailbox.messages):
        mailbox.expunge(message.uid)
    mailbox.uidnext = 1


async def deliveries(world: World) -> int:
    return await world.value("SELECT count(*) FROM deliveries")


@pytest.mark.parametrize("after", [2, 3, 4, 9])
async def test_uids_used_again_while_no_session_ran_lose_no_mail(world, imap, joe, after):
    for number in range(3):
        imap.deliver("joe", mail(f"before {number}"))
    await watch_briefly(world, imap, 3)
    begin_again(joe)
    for number in range(after):
        imap.deliver("joe", mail(f"after {number}"))

    await watch_briefly(world, imap, 3 + after)

    assert await deliveries(world) == 3 + after
    numbering = await world.rows("SELECT server_uid_validity, restarts, last_uid FROM mailboxes")
    assert [tuple(row) for row in numbering] == [(joe.uidvalidity, 1, after)]


async def test_uids_used_again_are_noticed_by_other_mails_if_the_last_one_was_deleted(world, imap, joe):
    for number in range(3):
        imap.deliver("joe", mail(f"before {number}"))
    await watch_briefly(world, imap, 3)
    begin_again(joe)
    for number in range(4):
        imap.deliver("joe", mail(f"after {number}"))
    joe.expunge(3)

    await watch_briefly(world, imap, 6)

    assert await deliveries(world) == 6


async def test_uids_may_begin_again_any_number_of_times(world, imap, joe):
    imap.deliver("joe", mail("first"))
    await watch_briefly(world, imap, 1)
    await world.rows("UPDATE mailboxes SET restarts = 200")
    for life in range(2):
        begin_again(joe)
        imap.deliver("joe", mail(f"life {life}"))
        await watch_briefly(world, imap, 2 + life)

    assert await world.value("SELECT restarts FROM mailboxes") == 202
    assert await deliveries(world) == 3


async def test_a_uidvalidity_that_returns_hides_no_mail_under_uids_of_its_earlier_use(world, imap, joe):
    first = joe.uidvalidity
    for life, uid_validity in enumerate((first, first + 7, first)):
        begin_again(joe)
        joe.uidvalidity = uid_validity
        for number in range(2):
            imap.deliver("joe", mail(f"life {life}, mail {number}"))
        await watch_briefly(world, imap, 2 * life + 2)

    assert await deliveries(world) == 6


async def test_a_uidvalidity_that_returns_with_the_same_mails_goes_on_in_its_numbering(world, imap, joe):
    first = joe.uidvalidity
    imap.deliver("joe", mail("known"))
    await watch_briefly(world, imap, 1)
    joe.uidvalidity = first + 7
    await watch_briefly(world, imap, 2)
    joe.uidvalidity = first
    imap.deliver("joe", mail("new"))

    found = await watch_briefly(world, imap, 3)

    assert sorted(outcome for _, outcome in found) == ["delivered", "delivered", "duplicate"]
    assert await world.value("SELECT (uid_validity, restarts) = ($1::bigint, 0) FROM mailboxes", first)


async def test_uidvalidities_that_take_turns_go_on_in_their_latest_numberings(world, imap, joe):
    """After UIDs began again under one of them."""
    values = (joe.uidvalidity, joe.uidvalidity + 7)
    imap.deliver("joe", mail("first"))
    await watch_briefly(world, imap, 1)
    begin_again(joe)
    imap.deliver("joe", mail("second"))
    await watch_briefly(world, imap, 2)
    joe.uidvalidity = values[1]
    await watch_briefly(world, imap, 3)
    for value in (values[0], values[1]):
        joe.uidvalidity = value
        imap.deliver("joe", mail(f"while the value is {value}"))
        await eventually_delivered(world, imap, subject=f"while the value is {value}")

    assert await world.value("SELECT restarts FROM mailboxes") == 1
    assert await deliveries(world) == 4
    assert await world.value("SELECT count(*) FROM messages WHERE outcome = 'duplicate'") == 2


@pytest.mark.parametrize("uid_validity", [0, 4_294_967_295, 1713632002544, 9_007_199_254_740_993])
async def test_a_uidvalidity_of_any_size_is_watched(world, imap, joe, uid_validity):
    joe.uidvalidity = uid_validity
    imap.deliver("joe", mail("one"))
    await watch_briefly(world, imap, 1)
    imap.deliver("joe", mail("two"))
    await watch_briefly(world, imap, 2)

    assert await outcomes(world) == [(1, "delivered"), (2, "delivered")]
    assert await world.value("SELECT server_uid_validity FROM mailboxes") == uid_validity
    assert await world.value("SELECT max(uid_validity) < 1::bigint << 53 FROM messages")


async def test_a_cursor_from_an_earlier_version_goes_on_at_its_uid(world, imap, joe):
    imap.deliver("joe", mail("one"))
    await watch_briefly(world, imap, 1)
    await world.rows(
        "UPDATE mailboxes SET server_uid_validity = NULL, last_mail_uid = NULL, last_mail_date = NULL"
    )
    imap.deliver("joe", mail("two"))

    assert await watch_briefly(world, imap, 2) == [(1, "delivered"), (2, "delivered")]


async def test_old_mail_of_a_mailbox_that_was_empty_at_first_causes_no_webhook(world, imap, joe):
    old = datetime.now(UTC) - timedelta(days=900)
    async with running(services.run_idler, world.settings):
        await idling(imap)
        await eventually(lambda: world.value("SELECT last_uid = 0 FROM mailboxes"))
        for number in range(3):
            imap.deliver("joe", mail(f"loaded late {number}"), internal_date=old)
        await recorded(world, 3)
    imap.deliver("joe", mail("loaded later still"), internal_date=old)
    imap.deliver("joe", mail("new"))
    await watch_briefly(world, imap, 5)
    imap.deliver("joe", mail("moved here"), internal_date=old)
    found = await watch_briefly(world, imap, 6)

    assert [outcome for _, outcome in found] == ["before_connect"] * 4 + ["delivered"] * 2


@pytest.mark.parametrize("slow", [timedelta(minutes=2), timedelta(hours=14), timedelta(days=9000)])
async def test_the_first_mails_of_an_empty_mailbox_are_delivered_however_slow_its_clock_is(
    world, imap, joe, slow
):
    async with running(services.run_idler, world.settings):
        await idling(imap)
        await eventually(lambda: world.value("SELECT last_uid = 0 FROM mailboxes"))
        for number in range(2):
            dated = mail(f"mail {number}").replace(b"Mon, 7 Feb 1994 21:52:25 -0800", formatdate().encode())
            imap.deliver("joe", dated, internal_date=datetime.now(UTC) - slow)
        found = await recorded(world, 2)

    assert [outcome for _, outcome in found] == ["delivered"] * 2


async def test_mail_that_arrives_while_a_slow_server_renumbers_is_delivered(world, imap, joe):
    connected = datetime.now(UTC)
    imap.deliver("joe", mail("before"), internal_date=connected - timedelta(hours=3))
    await watch_briefly(world, imap, 1)
    joe.set_uidvalidity(joe.uidvalidity + 1)
    imap.deliver("joe", mail("new"), internal_date=connected - timedelta(hours=2))

    found = await watch_briefly(world, imap, 3)

    assert sorted(outcome for _, outcome in found) == ["before_connect", "before_connect", "delivered"]


async def test_a_mail_whose_metadata_break_the_session_does_not_block_its_mailbox(world, imap, joe):
    imap.deliver("joe", mail("one"))
    await watch_briefly(world, imap, 1)

    async def end_at_the_last_mail(session: Any, command: Any) -> bytes | None:
        if command.arguments[0] == b"1":
            session.close()
            return b""
        return None

    imap.on("UID FETCH", end_at_the_last_mail)
    imap.deliver("joe", mail("two"))

    assert await watch_briefly(world, imap, 2) == [(1, "delivered"), (2, "delivered")]


@pytest.mark.parametrize("date", [b"01-Jan-1970 00:00:00 +0000", b"00-Jan-0000 00:00:00 +0000"])
async def test_a_renumbering_loses_no_mail_where_internaldate_is_always_a_zero(world, imap, joe, date):
    async def without_date(session: Any, command: Any) -> bytes:
        usual = session.usual_answer(command)
        return re.sub(rb'INTERNALDATE "[^"]*"', b'INTERNALDATE "%s"' % date, usual)

    def dated(subject: str, age: int = 0) -> bytes:
        moment = datetime.now(UTC) + timedelta(minutes=1) - timedelta(days=age)
        return mail(subject).replace(b"Mon, 7 Feb 1994 21:52:25 -0800", format_datetime(moment).encode())

    imap.on("UID FETCH", without_date)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    joe.append(dated("old", age=9), internal_date=epoch)
    async with running(services.run_idler, world.settings):
        await idling(imap)
        joe.append(dated("one"), internal_date=epoch)
        await recorded(world, 1)
    joe.append(dated("two"), internal_date=epoch)
    joe.set_uidvalidity(77)
    async with running(services.run_idler, world.settings):
        await recorded(world, 4)

    found = await world.rows("SELECT uid, outcome FROM messages ORDER BY id")
    assert [*map(tuple, found)][1:] == [(1, "before_connect"), (2, "duplicate"), (3, "delivered")]

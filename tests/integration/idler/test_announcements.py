"""Announced mails: found late, below the cursor, or by STATUS alone; and counts that announce nothing."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from fixtures.world import World, eventually, running
from superimap.idler import main
from superimap.idler.timing import SessionTiming
from superimap.testing import ImapServer
from superimap.testing.imap.mailbox import FakeMailbox, FakeMessage
from superimap.testing.imap.mailbox_view import MailboxView
from tests.integration.idler.test_watching import idling, mail, outcomes, recorded, set_up

ROUND = 0.3
LONG = SessionTiming(backoff_first=0.02, backoff_longest=0.2, poll=0.2)
SHORT = SessionTiming(backoff_first=0.02, backoff_longest=0.2, poll=0.2, longest_round=ROUND)


@pytest.fixture
async def joe(world, imap) -> FakeMailbox:
    """The INBOX of a connected user."""
    partner = await set_up(world, imap)
    await world.user(partner, "joe", login="joe", password="pw")
    return imap.accounts["joe"].inbox


@contextlib.asynccontextmanager
async def watching(world: World, imap: ImapServer, timing: SessionTiming) -> AsyncIterator[None]:
    async with running(functools.partial(main.serve, timing=timing), world.settings):
        await idling(imap)
        yield


def insert(mailbox: FakeMailbox, uid: int, raw: bytes) -> None:
    """Let a mail appear below others, and announce it."""
    place = sum(message.uid < uid for message in mailbox.messages)
    mailbox.messages.insert(place, FakeMessage(uid, datetime.now(UTC), raw))
    for listener in tuple(mailbox.listeners):
        listener.appended()


def commands(imap: ImapServer, name: str) -> int:
    return sum(entry.name == name for entry in imap.log)


async def test_a_mail_that_is_visible_only_after_its_announcement_is_found_within_seconds(world, imap, joe):
    visible = asyncio.Event()

    async def hide(_session: Any, command: Any) -> bytes | None:
        return None if visible.is_set() else command.tag + b" OK done\r\n"

    async with watching(world, imap, LONG):
        imap.deliver("joe", mail("first"))
        await recorded(world, 1)
        imap.on("UID SEARCH", hide)
        imap.on("UID FETCH", hide)
        imap.deliver("joe", mail("late"))
        await imap.wait_for(lambda: commands(imap, "UID SEARCH") >= 6)
        visible.set()

        async def both_delivered() -> bool:  # "late" is deferred first if only SEARCH shows it at a look
            return await outcomes(world) == [(1, "delivered"), (2, "delivered")]

        await eventually(both_delivered, within=5.0)


async def test_other_mail_is_recorded_at_once_while_an_announced_one_is_missing(world, imap, joe):
    async with watching(world, imap, LONG):
        imap.deliver("joe", mail("first"))
        await recorded(world, 1)
        for session in imap.sessions:
            session.send(b"* 2 EXISTS\r\n")
        await imap.wait_for(lambda: commands(imap, "UID SEARCH") >= 3)
        joe.uidnext = 9
        imap.deliver("joe", mail("another"))

        assert await recorded(world, 2) == [(1, "delivered"), (9, "delivered")]


async def test_a_mail_that_appears_below_the_cursor_is_found(world, imap, joe):
    async with watching(world, imap, LONG):
        imap.deliver("joe", mail("one"))
        joe.uidnext = 3
        imap.deliver("joe", mail("three"))
        await recorded(world, 2)
        await idling(imap)
        insert(joe, 2, mail("two"))

        assert await recorded(world, 3) == [(1, "delivered"), (2, "delivered"), (3, "delivered")]
    assert await world.value("SELECT last_uid FROM mailboxes") == 3


async def test_a_mail_below_the_cursor_is_found_by_the_next_session_if_the_connection_ends(world, imap, joe):
    async with watching(world, imap, LONG):
        joe.uidnext = 3
        imap.deliver("joe", mail("three"))
        await recorded(world, 1)
        await idling(imap)

        async def end(session: Any, _command: Any) -> bytes:
            session.close()
            return b""

        remove = imap.on("UID SEARCH", end)
        insert(joe, 2, mail("two"))
        await imap.wait_for(lambda: commands(imap, "EXAMINE") >= 2)
        remove()

        assert await recorded(world, 2) == [(2, "delivered"), (3, "delivered")]


async def test_a_mail_that_is_moved_away_at_once_is_not_looked_for_again(world, imap, joe):
    async with watching(world, imap, LONG):
        imap.deliver("joe", mail("first"))
        await recorded(world, 1)
        await idling(imap)
        before = commands(imap, "UID SEARCH")
        for session in imap.sessions:
            session.send(b"* 2 EXISTS\r\n* 2 EXPUNGE\r\n")
        await imap.wait_for(lambda: commands(imap, "UID SEARCH") > before)
        await asyncio.sleep(0.5)

        assert commands(imap, "UID SEARCH") <= before + 2


async def test_counts_that_change_all_the_time_cause_no_storm(world, imap, joe):
    async with watching(world, imap, LONG):
        imap.deliver("joe", mail("first"))
        await recorded(world, 1)

        async def flap(session: Any, _command: Any) -> None:
            session.send(b"* 2 EXISTS\r\n* 1 EXISTS\r\n")

        imap.on("UID SEARCH", flap)
        for session in imap.sessions:
            session.send(b"* 2 EXISTS\r\n* 1 EXISTS\r\n")
        await asyncio.sleep(1.5)

        assert commands(imap, "UID SEARCH") < 25
        imap.deliver("joe", mail("real"))
        assert await recorded(world, 2) == [(1, "delivered"), (2, "delivered")]


@pytest.mark.parametrize("status", ["answered", "refused", "without counts", "fatal"])
async def test_mail_that_only_status_or_another_opening_shows_is_found_at_the_next_renewal(
    world, imap, joe, monkeypatch, status
):
    async def spoil(session: Any, command: Any) -> bytes | None:
        if status == "fatal":
            session.close()
            return b""
        answer = {"refused": b" NO not for the open mailbox\r\n", "without counts": b" OK done\r\n"}.get(
            status
        )
        return command.tag + answer if answer else None

    imap.on("STATUS", spoil)
    monkeypatch.setattr(MailboxView, "notices", lambda _self, *, expunges=True: b"")
    async with watching(world, imap, SHORT):
        for number in range(2):
            imap.deliver("joe", mail(f"unseen {number}"))
            await recorded(world, number + 1)
        reason = (
            "SELECT status_reason LIKE '%does not announce all mail%' FROM users WHERE status = 'watching'"
        )
        await eventually(lambda: world.value(reason))
    assert imap.logins == (2 if status == "fatal" else 1)
    assert await outcomes(world) == [(1, "delivered"), (2, "delivered")]


async def test_an_idle_session_asks_status_once_a_round_and_opens_the_mailbox_once(world, imap, joe):
    imap.deliver("joe", mail("one"))
    async with watching(world, imap, SHORT):
        await recorded(world, 1)
        await imap.wait_for(lambda: commands(imap, "STATUS") >= 3)

    assert commands(imap, "EXAMINE") == 1
    assert commands(imap, "UID SEARCH") <= commands(imap, "STATUS") + 4
    assert commands(imap, "UID FETCH") <= commands(imap, "STATUS") + 4


async def test_status_that_always_differs_from_the_open_mailbox_is_looked_into_once(world, imap, joe):
    async def inflate(_session: Any, command: Any) -> bytes:
        return b'* STATUS "INBOX" (MESSAGES 7 UIDNEXT 1 UIDVALIDITY 1)\r\n' + command.tag + b" OK\r\n"

    imap.on("STATUS", inflate)
    async with watching(world, imap, SHORT):
        await imap.wait_for(lambda: commands(imap, "STATUS") >= 5)

    assert commands(imap, "EXAMINE") == 2


async def test_a_uid_used_again_without_a_word_is_noticed_at_the_next_renewal(world, imap, joe):
    async with watching(world, imap, SHORT):
        imap.deliver("joe", mail("one"))
        await recorded(world, 1)
        joe.messages[0].raw = mail("another under the same number")

        await eventually(lambda: world.value("SELECT count(*) = 2 FROM deliveries"))
    assert await world.value("SELECT restarts FROM mailboxes") == 1


async def test_a_known_mail_under_another_uid_proves_that_the_numbering_is_another(world, imap, joe):
    """As Courier does with UIDs that only an EXAMINE has shown."""
    async with watching(world, imap, LONG):
        imap.deliver("joe", mail("ours"))
        await recorded(world, 1)
        await idling(imap)
        joe.messages[0].raw, ours = mail("appended by another client"), joe.messages[0].raw
        imap.deliver("joe", ours)

        await eventually(lambda: world.value("SELECT count(*) = 2 FROM deliveries"))
    assert await world.value("SELECT restarts FROM mailboxes") == 1

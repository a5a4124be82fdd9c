"""Mails that the server fails to hand over: they delay no other mail, and are given up by time and proof only."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import hashlib
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from sqlalchemy import select

from fixtures.world import World, eventually, running
from superimap.core.crypto import Place
from superimap.db import engine
from superimap.db.accounts import mail_retries
from superimap.db.models import Message, User
from superimap.idler import main
from superimap.idler.timing import SessionTiming
from superimap.imap.types import Timeouts
from superimap.testing import ImapServer

TIMING = SessionTiming(
    timeouts=Timeouts(command=0.5, fetch=0.5, done=0.3, logout=0.1),
    backoff_first=0.02, backoff_longest=0.1, throttled=0.1, retry_first=0.05, retry_longest=0.1,
)  # fmt: skip
LATER = dataclasses.replace(TIMING, retry_first=600.0, retry_longest=600.0)
IMPATIENT = dataclasses.replace(TIMING, give_up=0.3)
DATE = format_datetime(datetime.now(UTC) + timedelta(hours=1))
POISON = b"Subject: poison"


def mail(subject: str) -> bytes:
    return (
        f"Date: {DATE}\r\nFrom: fred@example.com\r\nSubject: {subject}\r\n"
        f"Message-ID: <{subject.replace(' ', '-')}@example.com>\r\n\r\ntext of {subject}\r\n"
    ).encode()


async def set_up(world: World, imap: ImapServer) -> None:
    imap.add_account("joe", "pw")
    partner = await world.partner(
        new_mail_webhook="https://app.example.com/hook", events_webhook="https://app.example.com/events"
    )
    await world.provider(imap.host, imap.port)
    await world.connection(partner)
    await world.user(partner, "joe", login="joe", password="pw")


def idler(world: World, timing: SessionTiming = TIMING) -> Any:
    return running(functools.partial(main.serve, timing=timing), world.settings)


async def outcomes(world: World) -> dict[int, str]:
    rows = await world.rows("SELECT uid, outcome FROM messages ORDER BY id")
    return {row["uid"]: row["outcome"] for row in rows}


async def until_outcomes(world: World, wanted: dict[int, str], *, within: float = 10.0) -> None:
    async def reached() -> bool:
        return await outcomes(world) == wanted

    try:
        await eventually(reached, within=within)
    except TimeoutError:
        status = await world.rows("SELECT status, status_reason FROM users")
        raise AssertionError(f"{await outcomes(world)}; {[*map(tuple, status)]}") from None


async def idling(imap: ImapServer) -> None:
    await imap.wait_for(lambda: any(session.idling for session in imap.sessions))


class Fault:
    """A hook that breaks the answer to each FETCH that hands over the mail with POISON."""

    def __init__(self, imap: ImapServer, break_answer: Callable[[Any, Any, bytes], bytes]) -> None:
        self.strikes = 0
        self.is_on = True
        self._break = break_answer
        self._imap = imap
        imap.on("UID FETCH", self._hook)

    def uids(self) -> set[int]:
        return {each.uid for each in self._imap.accounts["joe"].inbox.messages if POISON in each.raw}

    async def _hook(self, session: Any, command: Any) -> bytes | None:
        usual = session.usual_answer(command)
        if not self.is_on or not any(b"UID %d " % uid in usual for uid in self.uids()):
            return None
        if b"BODY[]" not in usual and self._break in BODY_ONLY:
            return None
        self.strikes += 1
        return self._break(session, command, usual)


def no(_session: Any, command: Any, _usual: bytes) -> bytes:
    return command.tag + b" NO [SERVERBUG] Please try again later\r\n"


def bad(_session: Any, command: Any, _usual: bytes) -> bytes:
    return command.tag + b" BAD internal error\r\n"


def nothing(_session: Any, command: Any, _usual: bytes) -> bytes:
    return command.tag + b" OK FETCH completed\r\n"


def bye(session: Any, _command: Any, _usual: bytes) -> bytes:
    session.send(b"* BYE internal error\r\n")
    session.close()
    return b""


def stall(_session: Any, _command: Any, _usual: bytes) -> bytes:
    return b""


def disconnect(session: Any, _command: Any, _usual: bytes) -> bytes:
    session.reset()
    return b""


def gibberish(_session: Any, _command: Any, _usual: bytes) -> bytes:
    return b"\x16\x03\x01 nothing of IMAP\r\n"


def split_quote(_session: Any, command: Any, usual: bytes) -> bytes:
    return (
        b'* 1 FETCH (UID 1 ENVELOPE ("d" "Some text here,\r\n some text there"))\r\n'
        + command.tag
        + b" OK\r\n"
    )


def endless_line(_session: Any, _command: Any, _usual: bytes) -> bytes:
    return b"* 1 FETCH (" + b"x" * 1_100_000


def endless_literal(_session: Any, _command: Any, _usual: bytes) -> bytes:
    return b"* 1 FETCH (UID 1 BODY[] {4000000000}\r\n"


def other_mail(_session: Any, command: Any, _usual: bytes) -> bytes:
    return b"* 9 FETCH (UID 999 BODY[] {4}\r\nmail)\r\n" + command.tag + b" OK FETCH completed\r\n"


def nil_body(_session: Any, command: Any, _usual: bytes) -> bytes:
    uid = command.arguments[0]
    return b"* 1 FETCH (UID %s BODY[] NIL)\r\n" % uid + command.tag + b" OK FETCH completed\r\n"


def no_body(_session: Any, command: Any, _usual: bytes) -> bytes:
    return command.tag + b" NO body is not available\r\n"


BODY_ONLY = {other_mail, nil_body, no_body}
FAULTS = [no, bad, nothing, bye, stall, disconnect, gibberish, split_quote, endless_line, endless_literal,
          other_mail, nil_body]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda each: each.__name__)
async def test_a_mail_that_cannot_be_read_waits_and_is_delivered_once_it_can(world, imap, fault):
    """Whether the server refuses it, withholds it, or ends the session each time it is asked for."""
    await set_up(world, imap)
    poison = Fault(imap, fault)
    async with idler(world):
        await idling(imap)
        for subject in ("poison", "second", "third"):
            imap.deliver("joe", mail(subject))
        await until_outcomes(world, {1: "deferred", 2: "delivered", 3: "delivered"})
        await eventually(lambda: world.value("SELECT bool_or(attempts > 2) FROM deferred_mails"))
        poison.is_on = False
        await until_outcomes(world, {1: "delivered", 2: "delivered", 3: "delivered"})

    assert await world.value("SELECT count(*) FROM deferred_mails") == 0
    assert await world.value("SELECT count(*) FROM deliveries WHERE kind = 'new_mail'") == 3
    row = (await world.rows("SELECT sha1, message_id FROM messages WHERE uid = 1"))[0]
    assert row["sha1"] == hashlib.sha1(mail("poison")).digest()
    assert row["message_id"] == "<poison@example.com>"


@pytest.mark.parametrize(
    ("fault", "place"), [(no, 1), (split_quote, 1), (disconnect, 50), (endless_literal, 100)]
)
async def test_one_poisoned_mail_does_not_delay_the_99_others(world, imap, fault, place):
    await set_up(world, imap)
    poison = Fault(imap, fault)
    poison.is_on = False
    async with idler(world, LATER):
        await idling(imap)
        first = asyncio.Event()
        strikes: list[float] = []

        def note(session: Any, command: Any, usual: bytes) -> bytes:
            strikes.append(time.monotonic())
            first.set()
            return fault(session, command, usual)

        poison._break = note
        poison.is_on = True
        for number in range(1, 101):
            imap.deliver("joe", mail("poison" if number == place else f"mail {number}"))
        await first.wait()
        wanted = {number: "deferred" if number == place else "delivered" for number in range(1, 101)}
        await until_outcomes(world, wanted)
        took = time.monotonic() - strikes[0]

    assert took < 3.0  # a second on a machine that does nothing else
    assert len([event for event in imap.log if event.name == "LOGIN"]) <= 5


async def test_a_short_outage_of_the_server_defers_no_mail_and_loses_none(world, imap):
    """Every FETCH is refused for a while. Nothing proves that a mail is at fault, so that no row is made."""
    await set_up(world, imap)
    refused = []
    is_over = asyncio.Event()

    async def refuse(session: Any, command: Any) -> bytes | None:
        if is_over.is_set():
            return None
        refused.append(session)
        return command.tag + b" NO System Error (Failure)\r\n"

    for number in range(5):
        imap.deliver("joe", mail(f"old {number}"), internal_date=datetime.now(UTC) - timedelta(days=900))
    async with idler(world):
        await idling(imap)
        imap.on("UID FETCH", refuse)
        for number in range(5):
            imap.deliver("joe", mail(f"mail {number}"))
        await eventually(lambda: _true(len(refused) > 25))
        seen = await world.value("SELECT count(*) FROM messages")
        is_over.set()
        await until_outcomes(world, {uid: "delivered" for uid in range(6, 11)})

    assert seen == 0
    assert await world.value("SELECT count(*) FROM deliveries") == 5


@pytest.mark.parametrize("fault", [no, disconnect], ids=lambda each: each.__name__)
async def test_a_mail_alone_in_its_mailbox_is_tried_until_it_can_be_read_and_delays_no_new_mail(
    world, imap, fault
):
    """No other mail can prove that this one is at fault, so that nothing counts against it."""
    await set_up(world, imap)
    poison = Fault(imap, fault)
    async with idler(world, IMPATIENT):
        await idling(imap)
        imap.deliver("joe", mail("poison"))
        await until_outcomes(world, {1: "deferred"})
        await eventually(lambda: world.value("SELECT bool_or(attempts > 5) FROM deferred_mails"))
        assert await world.value("SELECT failing_seconds FROM deferred_mails") == 0
        assert await world.value("SELECT status FROM users") == "watching"
        poison.is_on = False
        await until_outcomes(world, {1: "delivered"})


async def test_a_mail_without_mail_behind_it_is_deferred_after_an_older_mail_was_read_as_a_proof(world, imap):
    await set_up(world, imap)
    Fault(imap, disconnect)
    imap.deliver("joe", mail("old"), internal_date=datetime.now(UTC) - timedelta(days=900))
    async with idler(world, LATER):
        await idling(imap)
        imap.deliver("joe", mail("poison"))
        await until_outcomes(world, {2: "deferred"})
        await eventually(lambda: world.value("SELECT status = 'watching' FROM users"))

    row = (await world.rows("SELECT status, status_reason FROM users"))[0]
    assert tuple(row) == ("watching", "1 mail could not be read yet; it is tried again")


@pytest.mark.parametrize("fault", [no, disconnect], ids=lambda each: each.__name__)
async def test_a_search_by_date_defers_mails_too(world, imap, fault):
    await set_up(world, imap)
    poison = Fault(imap, fault)
    later = datetime.now(UTC) + timedelta(minutes=5)
    for subject in ("first", "poison", "third"):
        imap.deliver("joe", mail(subject), internal_date=later)
    async with idler(world, LATER):
        await until_outcomes(world, {1: "delivered", 2: "deferred", 3: "delivered"})
        await eventually(lambda: world.value("SELECT last_uid = 3 FROM mailboxes"))
    poison.is_on = False
    await world.rows("UPDATE deferred_mails SET next_attempt_at = now()")
    async with idler(world, LATER):
        await until_outcomes(world, {1: "delivered", 2: "delivered", 3: "delivered"})


async def test_an_old_mail_deferred_by_a_search_by_date_is_still_before_the_connection(world, imap):
    await set_up(world, imap)
    poison = Fault(imap, nothing)
    old = datetime.now(UTC) - timedelta(hours=1)
    for subject in ("first", "poison"):
        imap.deliver("joe", mail(subject), internal_date=old)
    async with idler(world):
        await until_outcomes(world, {1: "before_connect", 2: "deferred"})
        poison.is_on = False
        await until_outcomes(world, {1: "before_connect", 2: "before_connect"})


@pytest.mark.parametrize("fault", [no, disconnect], ids=lambda each: each.__name__)
async def test_a_mail_that_only_fails_for_days_is_unreadable_and_an_event_says_so(world, imap, fault):
    """Two days of proven failure, shortened to a moment here."""
    await set_up(world, imap)
    Fault(imap, fault)
    async with idler(world, IMPATIENT):
        await idling(imap)
        for subject in ("poison", "good"):
            imap.deliver("joe", mail(subject))
        await until_outcomes(world, {1: "unreadable", 2: "delivered"})

    assert await world.value("SELECT count(*) FROM deferred_mails") == 0
    row = (await world.rows("SELECT d.*, m.id AS message FROM deliveries d JOIN messages m ON m.id = d.message_id"
                            " AND m.partner_id = d.partner_id WHERE d.kind = 'events'"))[0]  # fmt: skip
    place = Place("deliveries", "content", row["partner_id"], str(row["id"]))
    content = json.loads(world.vault.open(row["content"], place))
    assert content["event"] == "mail_unreadable"
    assert (content["message"], content["uid"], content["user_tag"]) == (row["message"], 1, "joe")


async def test_a_mail_announced_as_too_large_each_time_is_too_big(world, imap):
    await set_up(world, imap)
    Fault(imap, endless_literal)
    async with idler(world, IMPATIENT):
        await idling(imap)
        for subject in ("poison", "good"):
            imap.deliver("joe", mail(subject))
        await until_outcomes(world, {1: "too_big", 2: "delivered"})

    row = (await world.rows("SELECT size, detail FROM messages WHERE uid = 1"))[0]
    assert row["size"] == 4_000_000_000
    assert "4000000000" in row["detail"]


async def test_an_outage_does_not_count_against_a_deferred_mail(world, imap):
    """While no mail can be read, attempts fail and none of them counts."""
    await set_up(world, imap)
    poison = Fault(imap, no)
    async with idler(world, LATER):
        await idling(imap)
        for subject in ("poison", "good"):
            imap.deliver("joe", mail(subject))
        await until_outcomes(world, {1: "deferred", 2: "delivered"})
    await world.rows("UPDATE deferred_mails SET next_attempt_at = now()")
    poison.is_on = False
    tried = []

    async def refuse(session: Any, command: Any) -> bytes:
        tried.append(command)
        return command.tag + b" NO System Error\r\n"

    stop = imap.on("UID FETCH", refuse)
    async with idler(world, IMPATIENT):
        await eventually(lambda: _true(len(tried) > 10))
        assert await world.value("SELECT failing_seconds FROM deferred_mails") == 0
        stop()
        await until_outcomes(world, {1: "delivered", 2: "delivered"})


async def test_a_deferred_mail_that_its_owner_deletes_is_gone(world, imap):
    await set_up(world, imap)
    Fault(imap, disconnect)
    async with idler(world):
        await idling(imap)
        for subject in ("poison", "good"):
            imap.deliver("joe", mail(subject))
        await until_outcomes(world, {1: "deferred", 2: "delivered"})
        imap.accounts["joe"].inbox.expunge(1)
        await until_outcomes(world, {1: "gone", 2: "delivered"})


async def test_a_deferred_mail_is_found_again_under_the_uid_of_another_numbering(world, imap):
    """However long ago it arrived: it is looked for by its own date."""
    await set_up(world, imap)
    poison = Fault(imap, no_body)
    imap.deliver("joe", mail("old"), internal_date=datetime.now(UTC) - timedelta(days=900))
    async with idler(world, LATER):
        await idling(imap)
        imap.deliver("joe", mail("poison"), internal_date=datetime.now(UTC) - timedelta(days=40))
        imap.deliver("joe", mail("good"))
        await until_outcomes(world, {2: "deferred", 3: "delivered"})
    imap.accounts["joe"].inbox.set_uidvalidity(77)
    poison.is_on = False
    async with idler(world, LATER):
        await eventually(lambda: world.value("SELECT count(*) = 0 FROM deferred_mails"))

    rows = await world.rows("SELECT uid_validity, uid, outcome, detail FROM messages ORDER BY id")
    assert [(row["uid"], row["outcome"]) for row in rows] == [
        (2, "gone"), (3, "delivered"), (2, "delivered"), (3, "duplicate"),
    ]  # fmt: skip
    assert "renumbered" in rows[0]["detail"]
    assert await world.value("SELECT count(*) FROM deliveries WHERE kind = 'new_mail'") == 2


async def test_a_restart_of_the_idler_keeps_deferred_mails_and_their_proof(world, imap):
    await set_up(world, imap)
    poison = Fault(imap, disconnect)
    async with idler(world, LATER):
        await idling(imap)
        for subject in ("poison", "good"):
            imap.deliver("joe", mail(subject))
        await until_outcomes(world, {1: "deferred", 2: "delivered"})
    await world.rows(
        "UPDATE deferred_mails SET last_attempt_at = now() - interval '90 s', next_attempt_at = now()"
    )
    async with idler(world, LATER):
        await eventually(lambda: world.value("SELECT attempts = 2 FROM deferred_mails"))
        assert 85 < await world.value("SELECT failing_seconds FROM deferred_mails") < 100
    await world.rows("UPDATE deferred_mails SET next_attempt_at = now()")
    poison.is_on = False
    async with idler(world, LATER):
        await until_outcomes(world, {1: "delivered", 2: "delivered"})


async def test_a_mailbox_is_read_no_further_while_too_many_mails_are_deferred(world, imap, monkeypatch):
    monkeypatch.setattr("superimap.idler.mailbox.MAX_DEFERRED_MAILS", 3)
    monkeypatch.setattr("superimap.idler.deferred_mails.MAX_DEFERRED_MAILS", 3)
    await set_up(world, imap)
    poison = Fault(imap, no)
    async with idler(world):
        await idling(imap)
        for subject in ("good", "poison 2", "poison 3", "poison 4", "poison 5", "behind"):
            imap.deliver("joe", mail(subject))
        await until_outcomes(world, {1: "delivered", 2: "deferred", 3: "deferred", 4: "deferred"})
        await eventually(lambda: world.value("SELECT status = 'backing_off' FROM users"))
        poison.is_on = False
        await eventually(lambda: world.value("SELECT count(*) = 6 FROM messages"))
        await eventually(lambda: world.value("SELECT count(*) = 0 FROM deferred_mails"))

    found = await outcomes(world)
    assert (found[2], found[6]) == ("delivered", "delivered")


async def _true(value: bool) -> bool:
    return value


async def retry(world: World, uid: int) -> None:
    async with engine.sessions(world.database_url) as sessions, sessions.begin() as db:
        user = (await db.scalars(select(User))).one()
        message = (await db.scalars(select(Message.id).where(Message.uid == uid))).one()
        await mail_retries.retry_message(db, user, message)


async def test_a_mail_that_was_given_up_is_read_again_at_the_partners_request(world, imap):
    await set_up(world, imap)
    poison = Fault(imap, disconnect)
    world.overrides["reconcile_interval"] = 600
    async with idler(world, IMPATIENT):
        await idling(imap)
        for subject in ("poison", "good"):
            imap.deliver("joe", mail(subject))
        await until_outcomes(world, {1: "unreadable", 2: "delivered"})
        poison.is_on = False
        await retry(world, 1)
        await until_outcomes(world, {1: "delivered", 2: "delivered"})


async def test_each_time_that_a_mail_is_given_up_an_event_says_so(world, imap):
    await set_up(world, imap)
    Fault(imap, no_body)
    world.overrides["reconcile_interval"] = 600
    async with idler(world, IMPATIENT):
        await idling(imap)
        for subject in ("poison", "good"):
            imap.deliver("joe", mail(subject))
        for events in (1, 2):
            await until_outcomes(world, {1: "unreadable", 2: "delivered"})
            assert await world.value("SELECT count(*) FROM deliveries WHERE kind = 'events'") == events
            if events == 1:
                await retry(world, 1)


async def test_a_mail_that_was_gone_and_is_there_again_is_delivered(world, imap):
    """A replica that lags behind had denied it, and had counted one mail less."""
    await set_up(world, imap)
    async with idler(world):
        await idling(imap)
        for subject in ("one", "two"):
            imap.deliver("joe", mail(subject))
        await until_outcomes(world, {1: "delivered", 2: "delivered"})
    await world.rows("DELETE FROM deliveries")
    await world.rows("UPDATE messages SET outcome = 'gone', sha1 = NULL, fingerprint = NULL WHERE uid = 1")
    async with idler(world):
        await until_outcomes(world, {1: "delivered", 2: "delivered"})


async def test_without_a_search_no_cursor_moves_past_mails_that_an_answer_leaves_out(world, imap):
    """A list of UIDs that is shorter than the mailbox proves nothing about the mails that it lacks."""
    await set_up(world, imap)
    is_well = False

    async def refuse(_session: Any, command: Any) -> bytes | None:
        return command.tag + b" NO not now\r\n"

    async def claim(session: Any, command: Any) -> bytes | None:
        usual = session.usual_answer(command)
        if is_well or b"FETCH (" not in usual:
            return None
        return b"* 1 FETCH (UID 4000000000 RFC822.SIZE 2)\r\n" + command.tag + b" OK done\r\n"

    imap.on("UID SEARCH", refuse)
    for name in ("FETCH", "UID FETCH"):
        imap.on(name, claim)
    for subject in ("first", "second"):
        imap.deliver("joe", mail(subject), internal_date=datetime.now(UTC) + timedelta(minutes=5))
    async with idler(world):
        await eventually(lambda: world.value("SELECT status = 'backing_off' FROM users"))
        is_well = True
        await until_outcomes(world, {1: "delivered", 2: "delivered"})


class LaggingServer:
    """A server whose FETCH and SEARCH deny UID 2, which EXISTS counts."""

    def __init__(self, imap: ImapServer) -> None:
        self.is_on = False
        self.has_been_searched = False
        for name in ("UID FETCH", "FETCH", "UID SEARCH"):
            imap.on(name, self._hook)

    async def _hook(self, session: Any, command: Any) -> bytes | None:
        usual = session.usual_answer(command)
        if not self.is_on:
            return None
        if usual.startswith(b"* SEARCH"):
            is_first, self.has_been_searched = not self.has_been_searched, True
            has_star = ":*" in str(command.arguments)
            return None if is_first else usual.replace(b" 2", b" 1" if has_star else b"", 1)
        lines = usual.split(b"* 2 FETCH")
        return usual if len(lines) == 1 else lines[0] + command.tag + b" OK done\r\n"


async def test_a_mail_that_a_lagging_replica_denies_is_not_gone_while_exists_counts_it(world, imap):
    await set_up(world, imap)
    server = LaggingServer(imap)
    async with idler(world):
        await idling(imap)
        imap.deliver("joe", mail("one"))
        await until_outcomes(world, {1: "delivered"})
        server.is_on = True
        imap.deliver("joe", mail("two"))
        await until_outcomes(world, {1: "delivered", 2: "deferred"})
        await eventually(lambda: world.value("SELECT bool_or(attempts > 2) FROM deferred_mails"))
        server.is_on = False
        await until_outcomes(world, {1: "delivered", 2: "delivered"})


async def test_a_mail_that_is_denied_for_long_while_others_are_read_is_gone(world, imap):
    await set_up(world, imap)
    server = LaggingServer(imap)
    async with idler(world, dataclasses.replace(TIMING, gone_after=0.3)):
        await idling(imap)
        imap.deliver("joe", mail("one"))
        await until_outcomes(world, {1: "delivered"})
        server.is_on = True
        imap.deliver("joe", mail("two"))
        await until_outcomes(world, {1: "delivered", 2: "gone"})


async def test_an_outage_in_which_every_answer_is_empty_ends_no_deferred_mail(world, imap):
    await set_up(world, imap)
    poison = Fault(imap, no)
    is_out = False

    async def answer_nothing(_session: Any, command: Any) -> bytes | None:
        return command.tag + b" OK done\r\n" if is_out else None

    async with idler(world, dataclasses.replace(TIMING, gone_after=0.0)):
        await idling(imap)
        for subject in ("poison", "good"):
            imap.deliver("joe", mail(subject))
        await until_outcomes(world, {1: "deferred", 2: "delivered"})
        for name in ("UID FETCH", "FETCH", "UID SEARCH"):
            imap.on(name, answer_nothing)
        is_out = True
        commands = len(imap.log)
        await eventually(lambda: _true(len(imap.log) > commands + 30))
        assert await outcomes(world) == {1: "deferred", 2: "delivered"}
        is_out = poison.is_on = False
        await until_outcomes(world, {1: "delivered", 2: "delivered"})


async def test_a_mail_whose_fetch_is_refused_because_it_is_expunged_is_gone(world, imap):
    await set_up(world, imap)
    is_expunged = False

    async def refuse(session: Any, command: Any) -> bytes | None:
        usual = session.usual_answer(command)
        if POISON in usual or (is_expunged and not usual.startswith(b"* ")):
            return command.tag + b" NO [EXPUNGEISSUED] no such message\r\n"
        return None

    imap.on("UID FETCH", refuse)
    async with idler(world):
        await idling(imap)
        imap.deliver("joe", mail("good"))
        imap.deliver("joe", mail("poison"))
        await until_outcomes(world, {1: "delivered", 2: "deferred"})
        is_expunged = True
        imap.accounts["joe"].inbox.expunge(2)
        await until_outcomes(world, {1: "delivered", 2: "gone"})


async def test_a_stalled_attempt_at_a_deferred_mail_delays_new_mail_by_a_part_of_the_timeout(world, imap):
    await set_up(world, imap)
    timeouts = dataclasses.replace(TIMING.timeouts, fetch=6.0)
    poison = Fault(imap, no_body)
    async with idler(world, dataclasses.replace(TIMING, timeouts=timeouts, retry_longest=60.0)):
        await idling(imap)
        for subject in ("poison", "good"):
            imap.deliver("joe", mail(subject))
        await until_outcomes(world, {1: "deferred", 2: "delivered"})
        BODY_ONLY.add(stall)
        poison._break, strikes = stall, poison.strikes
        try:
            await eventually(lambda: _true(poison.strikes > strikes))
            imap.deliver("joe", mail("new"))
            await until_outcomes(world, {1: "deferred", 2: "delivered", 3: "delivered"}, within=2.5)
        finally:
            BODY_ONLY.discard(stall)

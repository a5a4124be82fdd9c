"""Identities of mails: UIDs used again are noticed by what there is, and unsteady servers are not renumbered."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fixtures.world import World, eventually
from superimap.domain.numbering import RESTART_INTERVAL_SECONDS
from superimap.idler.entry import HELD_BACK
from superimap.idler.timing import SessionTiming
from superimap.testing import ImapServer
from superimap.testing.imap.mailbox import FakeMailbox, FakeMessage
from superimap.testing.imap.session import Hook
from tests.integration.idler.test_announcements import watching
from tests.integration.idler.test_watching import mail, set_up

TIMING = SessionTiming(backoff_first=0.02, backoff_longest=0.05, poll=0.2)
COUNTS = """
    SELECT u.tag, count(m.id) FILTER (WHERE m.outcome = 'delivered') AS delivered, max(b.restarts) AS restarts,
           max(b.last_uid) AS last_uid
    FROM users u LEFT JOIN messages m ON m.user_id = u.id LEFT JOIN mailboxes b ON b.user_id = u.id
    GROUP BY u.tag
"""
NOW = datetime.now(UTC).replace(microsecond=0)


def plain(text: str, message_id: str | None = None) -> bytes:
    """A mail with this Message-ID, or without any."""
    header = f"Message-ID: <{message_id}>\r\n" if message_id else ""
    return f"From: cam@example.com\r\nSubject: {text}\r\n{header}\r\n{text}\r\n".encode()


def scanned(*texts: str, at: int = 60) -> list[FakeMessage]:
    """Mails with one constant Message-ID, a minute apart, from `at` minutes after now on."""
    return [numbered(i, plain(text, "scan@x"), at + i) for i, text in enumerate(texts, 1)]


def numbered(uid: int, raw: bytes, minutes: float = 60.0) -> FakeMessage:
    return FakeMessage(uid, NOW + timedelta(minutes=minutes), raw)


@dataclass
class Reuse:
    """What a mailbox holds before its UIDs are used again, and after; `unseen` mails are not delivered before."""

    before: list[FakeMessage]
    after: list[FakeMessage]
    unseen: int = 0
    has_uid_next: bool = True


REUSES = {
    "constant-id": Reuse(scanned("a", "b", "c"), scanned("dd", "eee", "ffff", "g", at=65)),
    "constant-id-and-size": Reuse(scanned("a", "b"), scanned("c", "d", "e", at=65)),
    "no-id": Reuse([numbered(1, plain("a"))], [numbered(1, plain("bb"), 61), numbered(2, plain("c"))]),
    "none-recorded": Reuse(
        [numbered(i, mail(f"old {i}"), -43_200) for i in (1, 2, 3)],
        [numbered(i, mail(f"new {i}")) for i in (1, 2, 4, 5)],
        unseen=3,
    ),
    "no-uidnext": Reuse(
        [numbered(500, mail("old"), -43_200)], [numbered(i, mail(f"new {i}")) for i in (1, 2)],
        unseen=1, has_uid_next=False,
    ),
    "last-deleted": Reuse(
        [numbered(i, mail(f"a {i}")) for i in (1, 2, 3)], [numbered(i, mail(f"b {i}")) for i in (1, 2, 4)]
    ),
}  # fmt: skip


async def without_uid_next(session: Any, command: Any) -> bytes | None:
    """Report no UIDNEXT, as Winmail does."""
    usual: bytes = session.usual_answer(command)
    if REUSES.get(session.username, Reuse([], [])).has_uid_next:
        return None
    return re.sub(rb"\* OK \[UIDNEXT[^\r]*\r\n| ?UIDNEXT \d+", b"", usual)


async def counts(world: World) -> dict[str, tuple[int, int, int]]:
    return {row["tag"]: tuple(row)[1:] for row in await world.rows(COUNTS)}


async def register(world: World, imap: ImapServer, names: list[str]) -> None:
    partner = await set_up(world, imap)
    for name in names:
        if name not in imap.accounts:
            imap.add_account(name, "pw")
        await world.user(partner, name, login=name, password="pw")


async def all_idle(imap: ImapServer, users: int) -> None:
    await imap.wait_for(lambda: sum(session.idling for session in imap.sessions) == users)


async def reconnect(imap: ImapServer, users: int) -> None:
    await all_idle(imap, users)
    before = imap.logins
    imap.drop_all()
    await imap.wait_for(lambda: imap.logins >= before + users)
    await all_idle(imap, users)


def fill(mailbox: FakeMailbox, messages: list[FakeMessage]) -> None:
    """Let the mailbox hold these mails from now on, without a word."""
    mailbox.messages[:] = messages
    mailbox._uidnext = max(message.uid for message in messages) + 1


async def test_uids_used_again_are_noticed_whatever_tells_the_mails_apart(world, imap):
    await register(world, imap, list(REUSES))
    for command in ("EXAMINE", "STATUS"):
        imap.on(command, without_uid_next)
    for name, reuse in REUSES.items():
        fill(imap.accounts[name].inbox, reuse.before)
    delivered = {name: len(each.before) - each.unseen for name, each in REUSES.items()}

    async with watching(world, imap, TIMING):

        async def is_delivered() -> bool:
            found = await counts(world)
            return all(found[name][0] == n and found[name][2] for name, n in delivered.items())

        await eventually(is_delivered)
        # A look of these sessions would take a new mail at its UID for an arrival.
        await all_idle(imap, len(REUSES))
        for name, reuse in REUSES.items():
            fill(imap.accounts[name].inbox, reuse.after)
            delivered[name] += len(reuse.after)
        await reconnect(imap, len(REUSES))
        await eventually(is_delivered)

    assert {restarts for _, restarts, _ in (await counts(world)).values()} == {1}


def per_look(pattern: bytes, make: Callable[[int], bytes]) -> Hook:
    """Replace what matches by another text at each look."""
    looks = 0

    async def hook(session: Any, command: Any) -> bytes:
        nonlocal looks
        looks += 1
        number = looks
        return re.sub(pattern, lambda _: make(number), session.usual_answer(command))

    return hook


def per_session(pattern: bytes, make: Callable[[int], bytes]) -> Hook:
    """Replace what matches by another text in each session."""

    async def hook(session: Any, command: Any) -> bytes:
        return re.sub(pattern, lambda _: make(session.id), session.usual_answer(command))

    return hook


MESSAGE_ID = rb"<(?:one|two)@example\.com>(?=\r\n\r\n\))"  # in the answer that has no content
UNSTEADY: dict[str, Hook] = {
    "id-per-look": per_look(MESSAGE_ID, lambda n: b"<%015d>" % n),
    "unread-id-per-look": per_look(MESSAGE_ID, lambda n: b"<%015d>" % n),
    "id-per-session": per_session(MESSAGE_ID, lambda n: b"<%015d>" % n),
    "date-per-look": per_look(rb"\d\d \+0000\"", lambda n: b'%02d +0000"' % (n % 60)),
    "size-per-session": per_session(rb"RFC822\.SIZE \d+", lambda n: b"RFC822.SIZE %d" % (180 + n)),
    "hour-per-session": per_session(rb"\+0000\"", lambda n: b'-%02d00"' % (n % 12)),
}


async def unsteady(session: Any, command: Any) -> bytes | None:
    hook = UNSTEADY.get(session.username)
    return None if hook is None else await hook(session, command)


async def test_a_mail_whose_identity_is_unsteady_is_no_other_mail(world, imap):
    """From look to look, or from session to session, as behind a load balancer."""
    await register(world, imap, list(UNSTEADY))
    imap.on("UID FETCH", unsteady)
    for name in UNSTEADY:
        raws = [mail(each) if "id" in name else plain(each) for each in ("one", "two")]
        minutes = -60.0 if name.startswith("unread") else 60.0  # from before the connection
        fill(imap.accounts[name].inbox, [numbered(i, raw, minutes) for i, raw in enumerate(raws, 1)])
    expected = {name: (0 if name.startswith("unread") else 2, 0, 2) for name in UNSTEADY}
    async with watching(world, imap, TIMING):

        async def are_delivered() -> bool:
            return await counts(world) == expected

        await eventually(are_delivered)
        for _ in range(3):
            await reconnect(imap, len(UNSTEADY))

    assert await counts(world) == expected


async def test_restarts_that_follow_one_another_are_held_back_and_mail_is_delivered_meanwhile(world, imap):
    await register(world, imap, ["joe"])
    joe = imap.accounts["joe"].inbox
    pay = "UPDATE mailboxes SET restarts_paid_at = now() + make_interval(hours => $1)"

    async def fulfilled(life: int, mails: int, expected: tuple[int, int]) -> None:
        await all_idle(imap, 1)
        fill(joe, [numbered(uid, mail(f"life {life} mail {uid}")) for uid in range(1, mails + 1)])
        await reconnect(imap, 1)

        async def is_so() -> bool:
            return (await counts(world))["joe"][:2] == expected

        await eventually(is_so)

    async with watching(world, imap, TIMING):
        await fulfilled(0, 1, (1, 0))
        await fulfilled(1, 1, (2, 1))
        debt = "SELECT extract(epoch FROM restarts_paid_at - now())::float8 FROM mailboxes"
        assert await world.value(debt) == pytest.approx(RESTART_INTERVAL_SECONDS, abs=60)
        await world.rows(pay, 21)
        await fulfilled(2, 2, (3, 1))  # the second mail is new by its UID
        assert HELD_BACK in await world.value("SELECT status_reason FROM users")
        await world.rows(pay, 20)
        await fulfilled(2, 2, (4, 2))
        assert await world.value("SELECT status_reason FROM users") is None

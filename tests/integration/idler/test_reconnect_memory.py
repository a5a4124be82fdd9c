"""A connection that has ended is freed at once, not by the next full garbage collection."""

from __future__ import annotations

import functools
import gc
from collections.abc import Iterator

import pytest

from fixtures.world import World, eventually, running
from superimap.idler import main
from superimap.idler.watch import MailboxWatch
from superimap.imap.protocol import Protocol
from superimap.testing import ImapServer
from superimap.testing.imap.session import FakeSession
from tests.integration.idler.test_watching import QUICK, idling, mail, recorded, set_up


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive(kind: type) -> int:
    return sum(type(each) is kind for each in gc.get_objects())


def end(session: FakeSession, number: int) -> None:
    """End a session in one of the ways of servers and networks."""
    match number % 4:
        case 0:
            session.transport.abort()
        case 1:
            session.reset()
        case 2:
            session.send(b"* BYE Autologout\r\n")
            session.close()
        case 3:
            session.send(b"B7 OK An answer to nothing\r\n")


async def test_a_connection_that_has_ended_is_freed_without_the_garbage_collector(
    world: World, imap: ImapServer, no_collector: None
):
    partner = await set_up(world, imap)
    await world.user(partner, "joe-tag", login="joe", password="pw")
    before = alive(Protocol), alive(MailboxWatch)

    async with running(functools.partial(main.serve, timing=QUICK), world.settings):
        for number in range(8):
            await idling(imap)
            imap.deliver("joe", mail(f"number {number}"))
            await recorded(world, number + 1)
            await idling(imap)
            (session,) = imap.sessions
            end(session, number)
            await imap.wait_for(lambda old=session: old not in imap.sessions)
        await idling(imap)
        await eventually(lambda: has_more(before, 1))
    assert await has_more(before, 0)


async def has_more(before: tuple[int, int], count: int) -> bool:
    """Whether so many more connections than before are in memory."""
    return (alive(Protocol) - before[0], alive(MailboxWatch) - before[1]) == (count, count)

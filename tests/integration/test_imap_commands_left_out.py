"""Servers that offer a command and end the session with it: later sessions do the same without."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import date, timedelta
from typing import Any

import pytest

from superimap.imap import command_memory, idle, search
from superimap.imap.client import ImapClient
from superimap.imap.command_memory import MAX_ENDED_SESSIONS, MAX_PAUSES, SILENCE, CommandMemory
from superimap.imap.connection import connect
from superimap.imap.errors import Disconnected, ImapError, LimitExceeded, Refused, TimedOut
from superimap.imap.types import Limits, Login, ServerAddress, Timeouts
from superimap.testing import ImapServer
from superimap.testing.imap.hooks import answering, ending, hanging, only, rewriting
from superimap.testing.imap.session import FakeSession, Hook
from superimap.testing.imap.syntax import ClientCommand

TIMEOUTS = Timeouts(command=0.15, done=0.1, logout=0.05)
Use = Callable[[ImapClient], Coroutine[Any, Any, object]]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle, "MIN_IDLE_SECONDS", 0.03)


@pytest.fixture
def short_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_memory, "MIN_SILENCE_SECONDS", 0.1)
    monkeypatch.setattr(command_memory, "SHORTEST_WAIT_SECONDS", 0.15)


@contextlib.asynccontextmanager
async def server(*, mails: int = 3) -> AsyncIterator[ImapServer]:
    async with ImapServer() as imap:
        imap.add_account("joe", "pw").create("Sent", special_use="\\Sent")
        for number in range(mails):
            imap.deliver("joe", b"Subject: %d\r\n\r\n" % number)
        yield imap


async def attempt(imap: ImapServer, memory: CommandMemory, use: Use, limits: Limits | None = None) -> object:
    where = ServerAddress(imap.host, imap.port, "none")
    async with connect(
        where, Login("joe", "pw"), timeouts=TIMEOUTS, command_memory=memory, limits=limits
    ) as client:
        return await use(client)


async def find(client: ImapClient) -> list[int]:
    await client.examine("INBOX")
    return [*await client.search_uids(after=1)]


async def find_all_ways(client: ImapClient) -> list[object]:
    await client.examine("INBOX")
    client.mailbox.settle()
    since = date(2020, 1, 1)
    return [
        [*await client.search_uids()], [*await client.search_uids(since=since)],
        [*await client.search_uids(after=2, since=since)], await client.highest_uid(),
        await client.still_there([1, 3, 9]), await client.uids_at(2, 3),
    ]  # fmt: skip


FOUND = [[1, 2, 3], [1, 2, 3], [3], 3, {1, 3}, [2, 3]]


async def name_folders(client: ImapClient) -> set[str]:
    return {folder.name for folder in await client.list_folders()}


async def check(client: ImapClient) -> bool:
    await client.examine("INBOX")
    await client.noop()
    return True


BASE = ["IMAP4rev1"]
OPTIONAL: dict[str, tuple[str, list[str], Use, object]] = {
    "SEARCH": ("UID SEARCH", BASE, find, [2, 3]),
    "EXAMINE": ("EXAMINE", BASE, find, [2, 3]),
    "NOOP": ("NOOP", BASE, check, True),
    "CAPABILITY": ("CAPABILITY", BASE, check, True),
    "XLIST": ("XLIST", [*BASE, "XLIST"], name_folders, {"INBOX", "Sent"}),
}


@pytest.mark.parametrize("hook", [ending(), hanging(), answering(b"T9 OK what")], ids=["end", "hang", "tag"])
@pytest.mark.parametrize(("name", "capabilities", "use", "result"), OPTIONAL.values(), ids=OPTIONAL)
async def test_a_command_that_ends_two_sessions_in_a_row_is_left_out(name, capabilities, use, result, hook):
    memory = CommandMemory()
    async with server() as imap:
        imap.capabilities = capabilities
        imap.greeting = b"* OK hello\r\n"
        imap.on(name, hook)
        for _ in range(MAX_ENDED_SESSIONS):
            with pytest.raises(ImapError):
                await attempt(imap, memory, use)

        assert await attempt(imap, memory, use) == result
        assert sum(event.name == name for event in imap.log) == MAX_ENDED_SESSIONS


async def test_lists_that_end_sessions_are_replaced_by_smaller_ones():
    async def refuse_star(session, command):
        if b"%" not in command.arguments:
            session.close()
            return b""
        return None

    memory = CommandMemory()
    async with server() as imap:
        imap.capabilities = [*BASE, "LIST-EXTENDED", "SPECIAL-USE"]
        imap.on("LIST", refuse_star)
        for _ in range(2 * MAX_ENDED_SESSIONS):
            with pytest.raises(Disconnected):
                await attempt(imap, memory, name_folders)

        assert await attempt(imap, memory, name_folders) == {"INBOX", "Sent"}


async def test_a_session_that_the_command_survives_forgets_earlier_ends():
    memory = CommandMemory()
    async with server() as imap:
        for _ in range(3):
            imap.on("UID SEARCH", only(ending(), times=MAX_ENDED_SESSIONS - 1))
            with pytest.raises(Disconnected):
                await attempt(imap, memory, find)
            assert await attempt(imap, memory, find) == [2, 3]

        assert sum(event.name == "UID SEARCH" for event in imap.log) == 6


async def test_a_connection_that_was_lost_before_a_command_is_not_its_fault():
    memory = CommandMemory()

    async def lose(client: ImapClient) -> None:
        await client.examine("INBOX")
        client._protocol.fail(Disconnected("lost"))
        await client.search_uids(after=1)

    async with server() as imap:
        for _ in range(MAX_ENDED_SESSIONS):
            with pytest.raises(Disconnected):
                await attempt(imap, memory, lose)

    assert memory.is_usable("UID SEARCH", 0.0)


async def test_an_answer_beyond_the_limits_does_not_lead_to_a_larger_one():
    memory = CommandMemory()
    async with server() as imap:
        imap.on("UID SEARCH", answering(b"* SEARCH " + b"7 " * 100_000, b"%(tag)s OK done"))
        for _ in range(MAX_ENDED_SESSIONS):
            with pytest.raises(LimitExceeded):
                await attempt(imap, memory, find, Limits(line=1000, literal=1000, response=1000))

    assert memory.is_usable("UID SEARCH", 0.0)


async def test_search_refused_for_good_with_a_request_for_a_pause_is_left_out_after_three():
    memory = CommandMemory()
    async with server() as imap:
        imap.on("UID SEARCH", answering(b"%(tag)s NO [LIMIT] too many searches"))
        for _ in range(MAX_PAUSES - 1):
            with pytest.raises(Refused):
                await attempt(imap, memory, find)

        assert await attempt(imap, memory, find) == [2, 3]
        assert await attempt(imap, memory, find) == [2, 3]


async def _refuse_star(_session, command):
    return command.tag + b" BAD no\r\n" if b"*" in repr(command.arguments).encode() else None


async def _want_flags(_session, command):
    return None if b"FLAGS" in repr(command.arguments).encode() else command.tag + b" BAD no\r\n"


BAD = answering(b"%(tag)s BAD no")
EMPTY = answering(b"%(tag)s OK done")
NO_SEARCH: dict[str, list[tuple[str, Any]]] = {
    "SEARCH": [("UID SEARCH", BAD)],
    "SEARCH empty": [("UID SEARCH", EMPTY)],
    "SEARCH in part": [("UID SEARCH", rewriting(rb"\* SEARCH( \d+)?", rb"* SEARCH\1 x"))],
    "SEARCH always none": [("UID SEARCH", rewriting(rb"\* SEARCH[^\r]*", b"* SEARCH"))],
    "SEARCH and FETCH": [("UID SEARCH", BAD), ("FETCH", BAD)],
    "SEARCH, FETCH and the star": [("UID SEARCH", BAD), ("FETCH", BAD), ("UID FETCH", _refuse_star)],
    "all without FLAGS": [("UID SEARCH", BAD), ("FETCH", BAD), ("UID FETCH", _want_flags)],
    "dates": [("UID SEARCH", BAD), ("FETCH", rewriting(rb'INTERNALDATE "[^"]*"', b"INTERNALDATE NIL"))],
}


@pytest.mark.parametrize("hooks", NO_SEARCH.values(), ids=NO_SEARCH)
async def test_uids_are_found_by_whatever_the_server_takes(hooks):
    async with server() as imap:
        for name, hook in hooks:
            imap.on(name, hook)

        found = await attempt(imap, CommandMemory(), find_all_ways)

    assert found == FOUND
    assert imap.connects == 1


async def test_a_server_that_lists_messages_in_no_way_is_reported():
    async with server() as imap:
        for name in ("UID SEARCH", "FETCH", "UID FETCH"):
            imap.on(name, BAD)
        with pytest.raises(Refused, match="neither by SEARCH nor by FETCH"):
            await attempt(imap, CommandMemory(), find)


async def test_new_mail_without_a_search_takes_a_small_fetch(monkeypatch):
    monkeypatch.setattr(search, "FIRST_MESSAGES", 2)

    async def news(client: ImapClient) -> list[int]:
        await client.examine("INBOX")
        return [*await client.search_uids(after=11)]

    async with server(mails=12) as imap:
        imap.on("UID SEARCH", BAD)

        assert await attempt(imap, CommandMemory(), news) == [12]
        (fetched,) = [event.line for event in imap.log if event.name == "FETCH"]

    assert "FETCH 11:12 (UID)" in fetched


def naming(choose: Callable[[list[bytes]], list[bytes]]) -> Hook:
    """Name only the UIDs of each search that `choose` takes."""

    def cut(match: re.Match[bytes]) -> bytes:
        return b" ".join([b"* SEARCH", *choose(match[1].split())]) + b"\r\n"

    async def hook(session: FakeSession, command: ClientCommand) -> bytes:
        return re.sub(rb"\* SEARCH ([^\r]*)\r\n", cut, session.usual_answer(command))

    return hook


@pytest.mark.parametrize("most", [1, 2, 5, 7])
@pytest.mark.parametrize("is_last", [True, False])
@pytest.mark.parametrize("by_date", [True, False])
async def test_a_search_that_names_only_the_first_or_last_so_many_hides_no_mail(most, is_last, by_date):
    async def news(client: ImapClient) -> list[int]:
        await client.examine("INBOX")
        client.mailbox.settle()
        since = date.today() - timedelta(days=1) if by_date else None
        return [*await client.search_uids(after=4, since=since, in_full=True)]

    async with server(mails=12) as imap:
        imap.on("UID SEARCH", naming(lambda uids: uids[-most:] if is_last else uids[:most]))

        assert await attempt(imap, CommandMemory(), news) == [*range(5, 13)]


async def test_a_search_that_finds_as_many_as_were_announced_takes_one_command():
    async def news(client: ImapClient) -> list[int]:
        await client.examine("INBOX")
        client.mailbox.settle()
        imap.deliver("joe", b"Subject: new\r\n\r\n")
        await client.noop()
        return [*await client.search_uids(after=3, in_full=True)]

    async with server() as imap:
        assert await attempt(imap, CommandMemory(), news) == [4]
        assert not [event for event in imap.log if event.name == "FETCH"]


async def rounds(client: ImapClient, *, renew: float = 30.0, most: int = 6) -> str:
    """Wait some rounds long; return how the client waited last."""
    await client.examine("INBOX")
    each = client.idle(renew=renew, poll=0.02)
    for _ in range(most):
        await anext(each)
        await client.search_uids(after=0)
    return "IDLE" if client.takes_idle else "poll"


async def test_a_done_that_is_never_answered_leads_to_polling():
    memory = CommandMemory()
    async with server() as imap:
        imap.on("DONE", hanging())
        for _ in range(idle.MAX_IDLE_FAILURES):
            with pytest.raises(TimedOut, match="DONE"):
                await attempt(imap, memory, lambda client: rounds(client, renew=0.02))

        assert await attempt(imap, memory, rounds) == "poll"


def cutting(seconds: float):
    """End the connection after some seconds of each IDLE."""

    async def hook(session, command):
        number = session.commands

        def cut() -> None:
            if session.commands == number and session.idling:
                session.close()

        session.send(session.usual_answer(command))
        asyncio.get_running_loop().call_later(seconds, cut)
        return b""

    return hook


@pytest.mark.usefixtures("short_silence")
async def test_an_idle_that_is_cut_each_time_is_renewed_sooner():
    memory = CommandMemory()
    async with server() as imap:
        imap.on("IDLE", cutting(0.3))
        for _ in range(MAX_ENDED_SESSIONS):
            with pytest.raises(Disconnected):
                await attempt(imap, memory, rounds)

        assert await attempt(imap, memory, functools.partial(rounds, most=2)) == "IDLE"
        assert imap.connects == MAX_ENDED_SESSIONS + 1


@pytest.mark.usefixtures("short_silence")
async def test_an_idle_that_is_cut_however_short_leads_to_polling():
    memory = CommandMemory()
    async with server() as imap:
        imap.on("IDLE", cutting(0.12))
        ends = 0
        for _ in range(10):
            with contextlib.suppress(Disconnected):
                assert await attempt(imap, memory, rounds) == "poll"
                break
            ends += 1

        assert ends <= MAX_ENDED_SESSIONS + idle.MAX_IDLE_FAILURES
        assert SILENCE in memory.left_out(0.0)

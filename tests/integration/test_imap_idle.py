"""IDLE on servers that offer it and do not take it: the session goes on, and polls after a few failures."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from superimap.imap import idle
from superimap.imap.client import ImapClient
from superimap.imap.command_memory import CommandMemory
from superimap.imap.connection import connect
from superimap.imap.errors import Disconnected, Refused, TimedOut
from superimap.imap.idle import MAX_IDLE_FAILURES, MAX_SHORT_IDLES
from superimap.imap.types import Login, ServerAddress, Timeouts
from superimap.testing import ImapServer
from superimap.testing.imap.hooks import answering, ending, hanging, only
from superimap.testing.imap.script import TAG, ScriptedServer, expect, send

TIMEOUTS = Timeouts(command=0.5, done=0.1, logout=0.05)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle, "MIN_IDLE_SECONDS", 0.05)


@contextlib.asynccontextmanager
async def opened(imap: ImapServer, memory: CommandMemory | None = None) -> AsyncIterator[ImapClient]:
    where = ServerAddress(imap.host, imap.port, "none")
    async with connect(where, Login("joe", "pw"), timeouts=TIMEOUTS, command_memory=memory) as client:
        await client.examine("INBOX")
        yield client


@contextlib.asynccontextmanager
async def server() -> AsyncIterator[ImapServer]:
    async with ImapServer() as imap:
        imap.add_account("joe", "pw")
        yield imap


def names(imap: ImapServer) -> list[str]:
    return [entry.name for entry in imap.log if entry.name in ("IDLE", "NOOP", "DONE")]


REFUSALS = {
    "bad": (answering(b"%(tag)s BAD Unknown command"), MAX_IDLE_FAILURES),
    "no": (answering(b"%(tag)s NO [SERVERBUG] Internal error"), MAX_IDLE_FAILURES),
    "ok": (answering(b"%(tag)s OK IDLE completed"), MAX_SHORT_IDLES),
    "plus and ok": (answering(b"+ idling", b"%(tag)s OK IDLE terminated"), MAX_SHORT_IDLES),
    "plus without text, and bad": (answering(b"+", b"%(tag)s BAD no"), MAX_IDLE_FAILURES),
}


@pytest.mark.parametrize(("hook", "most"), REFUSALS.values(), ids=REFUSALS)
async def test_a_mailbox_whose_idle_fails_each_time_is_polled_on_the_same_connection(hook, most):
    async with server() as imap, opened(imap) as client:
        imap.on("IDLE", hook)
        rounds = client.idle(renew=30.0, poll=0.02)
        for _ in range(most + 2):
            await anext(rounds)
            await client.search_uids(after=0)
        imap.deliver("joe", b"Subject: x\r\n\r\n")
        await anext(rounds)

        assert await client.search_uids(after=0) == [1]
        assert names(imap)[: most + 2] == ["IDLE"] * most + ["NOOP"] * 2
        assert imap.connects == 1


async def test_an_idle_that_never_begins_is_ended_by_done_and_the_session_goes_on():
    opening = [
        send(b"* OK [CAPABILITY IMAP4rev1] hello\r\n"), expect(rb"\S+ LOGIN"),
        send(TAG, b" OK [CAPABILITY IMAP4rev1 IDLE] in\r\n"), expect(rb"\S+ EXAMINE"),
        send(b"* 2 EXISTS\r\n* OK [UIDVALIDITY 7] v\r\n", TAG, b" OK done\r\n"),
    ]  # fmt: skip
    silent = [expect(rb"\S+ IDLE"), expect(b"DONE"), send(TAG, b" OK IDLE terminated\r\n")]
    polled = [expect(rb"\S+ NOOP"), send(TAG, b" OK done\r\n")]
    async with ScriptedServer(*opening, *silent * MAX_IDLE_FAILURES, *polled) as scripted:
        where = ServerAddress("127.0.0.1", scripted.port, "none")
        async with connect(where, Login("joe", "pw"), timeouts=TIMEOUTS) as client:
            await client.examine("INBOX")
            rounds = client.idle(renew=30.0, poll=0.02)
            for _ in range(MAX_IDLE_FAILURES + 1):
                await anext(rounds)


@pytest.mark.parametrize(("hook", "error"), [(ending(), Disconnected), (hanging(), TimedOut)])
async def test_an_idle_that_ends_the_connection_each_time_is_not_used_on_the_next(hook, error):
    memory = CommandMemory()
    async with server() as imap:
        imap.on("IDLE", hook)
        for _ in range(MAX_IDLE_FAILURES):
            async with opened(imap, memory) as client:
                with pytest.raises(error):
                    await anext(client.idle(renew=30.0, poll=0.02))
        async with opened(imap, memory) as client:
            await anext(client.idle(renew=30.0, poll=0.02))

        assert names(imap) == ["IDLE"] * MAX_IDLE_FAILURES + ["NOOP"]


async def test_a_few_failures_between_idles_that_last_change_nothing():
    async with server() as imap, opened(imap) as client:
        rounds = client.idle(renew=0.06, poll=0.02)
        for _ in range(3):
            imap.on("IDLE", only(answering(b"%(tag)s BAD no"), times=MAX_IDLE_FAILURES - 1))
            for _ in range(MAX_IDLE_FAILURES):
                await anext(rounds)

        assert "NOOP" not in names(imap)


async def test_idle_that_is_refused_with_a_request_for_a_pause_ends_the_session():
    async with server() as imap, opened(imap) as client:
        imap.on(
            "IDLE", answering(b"%(tag)s NO Request is throttled. Suggested Backoff Time: 9000 milliseconds")
        )
        with pytest.raises(Refused, match="throttled"):
            await anext(client.idle())


@pytest.mark.parametrize("answer", [b"NO not idle", b"BAD what"])
async def test_a_done_that_is_answered_by_no_or_bad_ends_the_idle(answer):
    async with server() as imap, opened(imap) as client:
        imap.on("DONE", answering(b"%(tag)s " + answer))
        rounds = client.idle(renew=0.06, poll=0.02)
        for _ in range(3):
            await anext(rounds)

        assert names(imap)[:6] == ["IDLE", "DONE"] * 3

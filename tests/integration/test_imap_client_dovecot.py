"""The client against Dovecot, a real server, over each kind of transport."""

import asyncio
import contextlib
from datetime import UTC, date, datetime, timedelta

import pytest

from superimap.imap.connection import connect
from superimap.imap.errors import AuthenticationFailed, Disconnected, Refused, TlsFailed
from superimap.imap.types import Login, ServerAddress

RAW = (
    b'From: Ann <ann@x.org>\r\nTo: bob@y.org\r\nSubject: * a :( \\ "{42}\r\nMessage-ID: <%d@x.org>\r\n'
    b"Date: Mon, 1 Jan 2024 00:00:00 +0000\r\n\r\n* 9 EXISTS\r\n\xff\x00\r\n"
)


def where(dovecot, tls="tls"):
    return ServerAddress("localhost", dovecot.tls_port if tls == "tls" else dovecot.port, tls)


async def user_of(dovecot, password="secret"):
    """A new user who can log in. Dovecot reads its users once a second."""
    user = dovecot.add_user(password=password)
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(AuthenticationFailed):
                async with connect(where(dovecot, "none"), Login(user, password)):
                    return user


@pytest.mark.parametrize("tls", ["tls", "starttls", "none"])
async def test_a_mail_is_announced_and_fetched_without_being_marked_as_seen(dovecot, tls):
    user = await user_of(dovecot, 'p"ä\\ss')
    names = [dovecot.deliver(user, RAW % 1)]
    context = dovecot.ssl_context()
    async with connect(where(dovecot, tls), Login(user, 'p"ä\\ss'), tls_context=context) as client:
        selected = await client.examine("INBOX")
        assert (selected.exists, selected.uid_next) == (1, 2)
        assert await client.search_uids(since=date.today() - timedelta(days=2)) == [1]
        assert await client.search_uids(after=1) == []

        rounds = client.idle(renew=20)
        waiting = asyncio.ensure_future(anext(rounds))
        while not client._protocol.idling:
            await asyncio.sleep(0.001)
        names.append(dovecot.deliver(user, RAW % 2, date=datetime(2024, 1, 2, tzinfo=UTC)))
        await waiting

        assert await client.search_uids(after=1) == [2]
        (meta,) = await client.fetch_meta([2, 77])
        assert meta.message_id == "<2@x.org>"
        assert (meta.size, meta.internal_date) == (len(RAW % 2), datetime(2024, 1, 2, tzinfo=UTC))
        assert await client.fetch_raw(2) == (RAW % 2).replace(b"\0", b"\x80")  # Dovecot replaces NUL
        assert await client.fetch_raw(77) is None

    assert dovecot.flags(user) == dict.fromkeys(names, "")


async def test_folders_are_listed_with_their_special_use(dovecot):
    user = await user_of(dovecot)
    async with connect(where(dovecot), Login(user, "secret"), tls_context=dovecot.ssl_context()) as client:
        folders = {folder.name: folder for folder in await client.list_folders()}
        await client.status("INBOX", "UIDNEXT")

        assert "\\Sent" in folders["Sent"].attributes
        assert folders["INBOX"].delimiter == "/"
        with pytest.raises(Refused):
            await client.examine("Entwürfe [x]")


async def test_refusals_raise_different_errors(dovecot):
    user = await user_of(dovecot)
    with pytest.raises(AuthenticationFailed) as caught:
        async with connect(where(dovecot), Login(user, "wrong"), tls_context=dovecot.ssl_context()):
            pass
    assert caught.value.code == "AUTHENTICATIONFAILED"

    with pytest.raises(TlsFailed):
        async with connect(where(dovecot), Login(user, "secret")):
            pass


async def test_a_kick_ends_an_idle_at_once(dovecot):
    user = await user_of(dovecot)
    async with connect(where(dovecot), Login(user, "secret"), tls_context=dovecot.ssl_context()) as client:
        await client.examine("INBOX")
        waiting = asyncio.ensure_future(anext(client.idle()))
        while not client._protocol.idling:
            await asyncio.sleep(0.001)

        dovecot.kick(user)

        async with asyncio.timeout(5):
            with pytest.raises(Disconnected):
                await waiting

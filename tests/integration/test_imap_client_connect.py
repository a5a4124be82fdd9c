"""Connecting: addresses, timeouts, the guard, login by token."""

import asyncio
import socket
import time

import pytest

from superimap.imap.connection import connect
from superimap.imap.errors import AuthenticationFailed, TimedOut, Unreachable
from superimap.imap.types import Login, OAuth, ServerAddress, Timeouts
from superimap.testing.imap.server import ImapServer

USER = Login("ann", "secret")


@pytest.fixture
async def server():
    async with ImapServer() as server:
        server.add_account("ann", "secret")
        yield server


def resolving_to(monkeypatch, *addresses):
    async def resolve(_loop, _host, port, **_options):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve)


async def test_the_guard_sees_each_concrete_address_and_may_forbid_it(server, monkeypatch):
    resolving_to(monkeypatch, "127.0.0.2", "127.0.0.1")
    asked = []

    def guard(address):
        asked.append(address[0])
        if address[0] == "127.0.0.2":
            raise PermissionError("not there")

    async with connect(ServerAddress("mail.example", server.port, "none"), USER, guard=guard) as client:
        assert "IDLE" in client.capabilities
    assert asked == ["127.0.0.2", "127.0.0.1"]

    def forbid(_address):
        raise PermissionError("nowhere")

    with pytest.raises(Unreachable, match="nowhere"):
        async with connect(ServerAddress("mail.example", server.port, "none"), USER, guard=forbid):
            pass
    assert server.connects == 1


async def test_dead_addresses_leave_time_for_a_live_one(server, monkeypatch):
    resolving_to(monkeypatch, *["127.0.0.9"] * 3, "127.0.0.1")

    really = type(asyncio.get_running_loop()).sock_connect

    async def connect_socket(loop, sock, address):
        if address[0] == "127.0.0.9":
            await loop.create_future()
        await really(loop, sock, address)

    monkeypatch.setattr(type(asyncio.get_running_loop()), "sock_connect", connect_socket)

    timeouts = Timeouts(connect=0.4)
    async with connect(ServerAddress("mail.example", server.port, "none"), USER, timeouts=timeouts) as client:
        await client.noop()


async def test_a_name_that_does_not_resolve_is_unreachable(monkeypatch):
    async def resolve(*_arguments, **_options):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve)
    with pytest.raises(Unreachable, match="resolve"):
        async with connect(ServerAddress("no.example", 993), USER):
            pass


async def test_a_server_without_a_greeting_times_out():
    silent = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    began = time.monotonic()

    for tls in ("none", "tls"):
        with pytest.raises(TimedOut):
            async with connect(ServerAddress("127.0.0.1", port, tls), USER, timeouts=Timeouts(connect=0.1)):
                pass

    assert time.monotonic() - began < 1
    silent.close()


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
async def test_h19_h20_a_token_opens_the_mailbox_or_does_not(server, mechanism):
    server.accounts["ann"].tokens.add("good")
    where = ServerAddress("127.0.0.1", server.port, "none")

    async with connect(where, OAuth("ann", "good", mechanism)) as client:
        await client.examine("INBOX")
    with pytest.raises(AuthenticationFailed):
        async with connect(where, OAuth("ann", "bad", mechanism)):
            pass


async def test_gmail_labels_are_fetched_with_the_metadata():
    async with ImapServer() as server:
        server.add_account("ann", "secret", gmail=True)
        uid = server.deliver("ann", b"Subject: x\r\n\r\n", labels=["\\Sent", "Entwürfe"])
        async with connect(ServerAddress("127.0.0.1", server.port, "none"), USER) as client:
            await client.examine("INBOX")
            (meta,) = await client.fetch_meta([uid])

    assert {"\\Sent", "Entwürfe"} <= set(meta.labels)

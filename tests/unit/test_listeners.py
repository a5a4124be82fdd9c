"""Listening sockets: what a response needs of them."""

from __future__ import annotations

import asyncio
import socket

import pytest

from superimap.core.listeners import open_listeners


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_an_accepted_connection_does_not_hold_back_the_body_of_a_response(host):
    """Nagle's algorithm would: until the client acknowledges the head, which takes 40 ms on Linux."""
    accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = writer.get_extra_info("socket")
        accepted.set_result(found.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    (listener,) = open_listeners(host, 0, variables="HOST and PORT")
    async with await asyncio.start_server(accept, sock=listener):
        _, writer = await asyncio.open_connection(*listener.getsockname()[:2])
        assert await asyncio.wait_for(accepted, 5) == 1
        writer.close()

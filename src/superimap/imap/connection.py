"""How does a connection become a session that has signed in, and how does it end?"""

import asyncio
import contextlib
import ssl

from superimap.imap import sasl, transport
from superimap.imap.errors import Disconnected, ImapError, TimedOut
from superimap.imap.protocol import AUTH, NONAUTH, SELECTED, Protocol
from superimap.imap.transport import Guard
from superimap.imap.types import Credentials, ServerAddress, Timeouts


async def reach(
    protocol: Protocol,
    server: ServerAddress,
    timeouts: Timeouts,
    tls_context: ssl.SSLContext | None,
    guard: Guard | None,
) -> None:
    """TCP, TLS, greeting, capabilities. Raises any ImapError but AuthenticationFailed."""
    try:
        async with asyncio.timeout(timeouts.connect):
            sock = await transport.dial(server, guard=guard, within=timeouts.connect)
            await transport.attach(protocol, sock, server, tls_context)
            await protocol.greet(timeouts.connect)
    except TimeoutError:
        raise TimedOut(f"connecting to {server.host}", timeouts.connect) from None
    if not protocol.capabilities:
        await _ask_capabilities(protocol, timeouts)
    if server.tls == "starttls":
        await transport.start_tls(protocol, server, tls_context, within=timeouts.connect)
        await _ask_capabilities(protocol, timeouts)


async def log_in(protocol: Protocol, credentials: Credentials, timeouts: Timeouts) -> None:
    """Sign in, and know what is offered afterwards. Raises any ImapError."""
    before = protocol.capabilities
    await sasl.authenticate(protocol, credentials, within=timeouts.login)
    if protocol.capabilities == before:  # not told with the OK; many offer more to whom they know
        await _ask_capabilities(protocol, timeouts)


async def _ask_capabilities(protocol: Protocol, timeouts: Timeouts) -> None:
    await protocol.run("CAPABILITY", within=timeouts.command)


async def leave(protocol: Protocol, timeouts: Timeouts) -> None:
    """LOGOUT, if the connection is in step, and close the socket. Raises nothing."""
    if protocol.transport is None:
        return
    try:
        if protocol.lost is None and protocol.state in (NONAUTH, AUTH, SELECTED):
            with contextlib.suppress(ImapError, TimeoutError):
                async with asyncio.timeout(timeouts.logout):
                    await protocol.run("LOGOUT", within=timeouts.logout)
    finally:
        protocol.fail(Disconnected("closed by us"))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await protocol.closed.wait()

"""Life of a connection: open it, log in, hand out a client, log out, close it."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping

from superimap.imap import redaction, sasl, transport
from superimap.imap.client import ImapClient
from superimap.imap.command_memory import CommandMemory
from superimap.imap.encoding import quote_text
from superimap.imap.errors import Disconnected, IdRefused, ImapError, Refused, TimedOut
from superimap.imap.login_methods import LoginMemory
from superimap.imap.peer import ALONE, Peer
from superimap.imap.protocol import Protocol
from superimap.imap.state import AUTH, NONAUTH, SELECTED
from superimap.imap.transcript import Sink
from superimap.imap.transport import Guard
from superimap.imap.types import Credentials, Limits, ServerAddress, Timeouts

_CLOSE_SECONDS = 1.0


@contextlib.asynccontextmanager
async def connect(
    server: ServerAddress,
    credentials: Credentials,
    *,
    timeouts: Timeouts | None = None,
    limits: Limits | None = None,
    tls_context: ssl.SSLContext | None = None,
    guard: Guard | None = None,
    login_memory: LoginMemory | None = None,
    command_memory: CommandMemory | None = None,
    peer: Peer = ALONE,
    client_id: Mapping[str, str] | None = None,
    trace: Sink | None = None,
) -> AsyncIterator[ImapClient]:
    """Open an authenticated session. On exit it logs out, in bounded time, and always closes the socket.

    `client_id` is what the server is told by ID, if it offers that (RFC 2971); None or empty: nothing.
    `guard` is called with each resolved socket address before it is dialled, and may raise to forbid it.
    `peer` has what the connection shares with others. `tls_context` replaces the verifying context that
    all sessions share. `login_memory` and `command_memory` are what earlier connections of this
    user found out. `trace` takes the lines of the connection, without secrets and mails.

    Raises any ImapError, without the secret of the credentials even if the server echoes it; ValueError if the
    credentials contain CR, LF or NUL.
    """
    timeouts = timeouts or Timeouts()
    protocol = Protocol(limits or Limits(), peer, redaction.Redactor(credentials))
    protocol.trace(trace)
    if protocol.peer.room is not None:
        protocol.peer.room.open(protocol.give_up_room)
    memory = command_memory or CommandMemory()
    try:
        await _open(protocol, server, timeouts, memory, tls_context, guard)
        offered = protocol.capabilities
        if protocol.greeting == "OK":  # PREAUTH needs no login
            await _log_in(protocol, server.host, credentials, timeouts, login_memory or LoginMemory(), memory)
        if client_id and "ID" in offered | protocol.capabilities:
            await _identify(protocol, client_id, timeouts)
        yield ImapClient(protocol, memory, timeouts)
    except ImapError as error:
        if (safe := redaction.redacted(error, credentials)) is error:
            raise
        raise safe from None
    finally:
        try:
            await _close(protocol, timeouts)
        finally:
            _release(protocol)


async def _open(
    protocol: Protocol,
    server: ServerAddress,
    timeouts: Timeouts,
    memory: CommandMemory,
    tls_context: ssl.SSLContext | None,
    guard: Guard | None,
) -> None:
    """TCP, TLS, greeting, capabilities. Raises any ImapError but AuthenticationFailed."""
    try:
        async with asyncio.timeout(timeouts.connect):
            sock = await transport.dial(
                server, guard=guard, within=timeouts.connect, look_up=protocol.peer.look_up
            )
            await transport.attach(protocol, sock, server, tls_context)
            await protocol.greet(timeouts.connect)
    except TimeoutError:
        raise TimedOut(f"connecting to {server.host}", timeouts.connect) from None
    if not protocol.capabilities:
        await _ask_capabilities(protocol, timeouts, memory)
    if server.tls == "starttls":
        if (
            "STARTTLS" not in protocol.capabilities
        ):  # greetings of some servers list less than CAPABILITY does
            await _ask_capabilities(protocol, timeouts, memory)
        await transport.start_tls(protocol, server, tls_context, within=timeouts.connect)
        await _ask_capabilities(protocol, timeouts, memory)


async def _log_in(
    protocol: Protocol,
    host: str,
    credentials: Credentials,
    timeouts: Timeouts,
    login_memory: LoginMemory,
    memory: CommandMemory,
) -> None:
    """Authenticate, and learn the capabilities that hold afterwards. Raises any ImapError."""
    before = protocol.capabilities
    await sasl.authenticate(protocol, credentials, login_memory, within=timeouts.login, host=host)
    if protocol.capabilities == before:  # the OK listed none; many servers offer more after login
        await _ask_capabilities(protocol, timeouts, memory)


async def _identify(protocol: Protocol, client_id: Mapping[str, str], timeouts: Timeouts) -> None:
    """Say ID (RFC 2971). Servers of NetEase open no mailbox before it. A refusal is ignored.

    Raises IdRefused if the connection does not survive it. Never said before login, which some servers do not
    tolerate, nor where it is not offered.
    """
    words = " ".join(f"{quote_text(key)} {quote_text(value)}" for key, value in client_id.items())
    try:
        await protocol.run("ID", f"({words})", within=timeouts.command)
    except Refused:
        return
    except Disconnected as error:
        raise IdRefused(error.reason, error.bye) from None
    except ImapError as error:
        raise IdRefused(str(error)) from None


async def _ask_capabilities(protocol: Protocol, timeouts: Timeouts, memory: CommandMemory) -> None:
    """Learn the capabilities; a server that refuses to list any, or does not bear it, is assumed to have none."""
    if memory.is_usable("CAPABILITY", protocol.loop.time()):
        with contextlib.suppress(Refused), memory.attempt("CAPABILITY", protocol):
            await protocol.run("CAPABILITY", within=timeouts.command)


def _release(protocol: Protocol) -> None:
    """Break the reference cycles of a connection that has ended, or it stays until a full garbage collection.

    The error that ended it was raised in frames that hold the connection, and the room can end the connection.
    """
    if protocol.lost is not None:
        protocol.lost.__traceback__ = None
    if protocol.peer.room is not None:
        protocol.peer.room.close()


async def _close(protocol: Protocol, timeouts: Timeouts) -> None:
    """Send LOGOUT if the connection is still usable, and close the socket. Raises nothing."""
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
            async with asyncio.timeout(_CLOSE_SECONDS):
                await protocol.closed.wait()

"""Opening, securing and keeping alive a connection to a mail server.

Addresses are dialled in turn, each only after the guard has accepted it. All sessions of the process share one TLS
context: a context of its own would cost each session 1.1 MiB and 45 ms of CPU.
"""

import asyncio
import functools
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any, cast

from superimap.core.resolver import AddressInfo
from superimap.imap.errors import Disconnected, ImapError, TimedOut, TlsFailed, Unreachable
from superimap.imap.peer import LookUp
from superimap.imap.protocol import Protocol
from superimap.imap.stream import Stream
from superimap.imap.types import ServerAddress

Guard = Callable[[tuple[Any, ...]], None]
"""Called with a resolved socket address just before it is dialled; raises to forbid it."""

_OPTIONS = (
    (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
    (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 60),  # seconds without traffic before the first probe
    (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 15),
    (socket.IPPROTO_TCP, "TCP_KEEPCNT", 4),
    (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", 90_000),  # milliseconds that sent data may stay unacknowledged
    (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
)


@functools.cache
def shared_tls_context() -> ssl.SSLContext:
    """Return the verifying context that all sessions share."""
    return new_tls_context()


def new_tls_context() -> ssl.SSLContext:
    """Return a new context like the shared one, to which a caller can add a certificate authority."""
    return ssl.create_default_context()


async def dial(
    server: ServerAddress, *, guard: Guard | None, within: float, look_up: LookUp | None = None
) -> socket.socket:
    """Return a connected socket. The time left is shared among the addresses. Raises Unreachable, TimedOut."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    try:
        async with asyncio.timeout_at(deadline):
            found = await (look_up or _look_up)(server.host, server.port)
    except TimeoutError:
        raise TimedOut(f"resolving {server.host}", within) from None
    except (OSError, UnicodeError) as error:
        raise Unreachable(f"cannot resolve {server.host}: {error}") from error
    failure: Exception = Unreachable("no address")
    for index, (family, kind, proto, _, address) in enumerate(found):
        share = max(0.0, deadline - loop.time()) / (len(found) - index)
        try:
            async with asyncio.timeout(share):
                return await _dial_one(family, kind, proto, address, guard)
        except TimeoutError:
            failure = TimeoutError("no answer")
        except OSError as error:
            failure = (
                OSError(os.strerror(error.errno)) if error.errno else error
            )  # asyncio's own text says less
        except (ImapError, ValueError) as error:
            failure = error
    raise Unreachable(f"cannot connect to {server.host}:{server.port}: {failure}") from failure


async def _look_up(host: str, port: int) -> Sequence[AddressInfo]:
    """Resolve by the event loop's own threads, which are few: for processes that connect to few servers."""
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


async def _dial_one(
    family: int, kind: int, proto: int, address: tuple[Any, ...], guard: Guard | None
) -> socket.socket:
    if guard is not None:
        guard(address)
    sock = socket.socket(family, kind, proto)
    try:
        sock.setblocking(False)
        keep_alive(sock)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def keep_alive(sock: socket.socket) -> None:
    """Let the kernel detect a dead peer within two minutes, where it has these options."""
    for level, name, value in _OPTIONS:
        if (option := getattr(socket, name, None)) is not None:
            sock.setsockopt(level, option, value)


async def attach(
    protocol: Protocol, sock: socket.socket, server: ServerAddress, tls_context: ssl.SSLContext | None
) -> None:
    """Connect `protocol` to `sock`, with TLS if `server` requires it. Raises TlsFailed, Disconnected."""
    stream = Stream(protocol, sock, protocol.peer.shares)
    if server.tls == "tls":
        try:
            await stream.secure(tls_context or shared_tls_context(), server.host)
        except ssl.SSLError as error:  # CertificateError among them
            raise TlsFailed(_reason(error)) from error
        except OSError as error:
            raise Disconnected(f"connection lost in the TLS handshake: {error}") from error
    stream.start()


async def start_tls(
    protocol: Protocol, server: ServerAddress, tls_context: ssl.SSLContext | None, *, within: float
) -> None:
    """Upgrade by STARTTLS (RFC 9051 section 6.2.1), or raise TlsFailed: nothing may follow unencrypted."""
    if protocol.greeting == "PREAUTH":
        raise TlsFailed("the server greets with PREAUTH, so STARTTLS is not possible")
    if "STARTTLS" not in protocol.capabilities:
        raise TlsFailed("the server does not offer STARTTLS")
    try:
        await protocol.run("STARTTLS", within=within)
    except ImapError as error:
        raise TlsFailed(f"STARTTLS failed: {error}") from error
    stream = cast(Stream, protocol.transport)
    try:
        async with asyncio.timeout(within):
            await stream.secure(tls_context or shared_tls_context(), server.host)
    except TimeoutError:
        raise TlsFailed("the TLS handshake after STARTTLS took too long") from None
    except ssl.SSLError as error:
        raise TlsFailed(_reason(error)) from error
    except OSError as error:
        raise TlsFailed(f"connection lost in the TLS handshake: {error}") from error
    finally:
        if stream.is_closing():
            protocol.fail(TlsFailed("no TLS after STARTTLS"))
    protocol.forget_clear_text()
    stream.resume_reading()


def _reason(error: ssl.SSLError) -> str:
    return getattr(error, "verify_message", "") or error.reason or str(error)
